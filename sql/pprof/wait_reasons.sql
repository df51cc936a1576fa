-- Where did threads leave the CPU, and why: asleep, waiting for a disk, preempted?
-- column: count, waits
-- column: offcpu_ns, the whole time off the CPU
-- column: reason, as the kernel had it when the thread left
select [kstack, ustack] as stack, count(*) as count, sum(duration)::bigint as offcpu_ns, labels,
       state as reason
from chosen_waits($labels, $command, $buildid, $pid, $thread, $cgroup, $span, $begin, $end)
group by kstack, ustack, labels, state
