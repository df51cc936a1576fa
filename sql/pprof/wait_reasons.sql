-- What did threads wait for: a lock, a disk, a pipe, another thread, a CPU?
-- column: count, waits
-- column: offcpu_ns, the whole time off the CPU
-- column: blocked_ns, of it not runnable
-- column: runnable_ns, of it able to run
-- column: reason, as the screen names it, by the kernel's stack
with left_by as (
    select kstack, ustack, labels, state, count(*) as count, sum(duration) as offcpu_ns,
           sum(greatest(duration::bigint - coalesce(runnable, 0)::bigint, 0)) as blocked_ns,
           sum(runnable) as runnable_ns
    from chosen_waits($labels, $command, $buildid, $pid, $thread, $cgroup, $span, $begin, $end)
    group by all
),
named as (
    select *, reason_of(kstack, state) as reason from left_by
)
select [kstack, ustack] as stack, sum(count)::bigint as count, sum(offcpu_ns)::bigint as offcpu_ns,
       sum(blocked_ns)::bigint as blocked_ns, coalesce(sum(runnable_ns), 0)::bigint as runnable_ns,
       labels, reason
from named
group by kstack, ustack, labels, reason
