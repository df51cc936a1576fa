-- Where were threads blocked, and which thread woke them?
-- column: count, waits
-- column: blocked_ns, off the CPU and not runnable
-- column: waker, the waking thread; null: none was seen
with named as (
    select pid, arg_max(coalesce(thread, command), timestamp) as name from events
    where pid <> 0 group by pid
)
select [kstack, ustack] as stack, count(*) as count,
       sum(duration - runnable)::bigint as blocked_ns, labels,
       coalesce(n.name, 'thread') || ' ' || w.waker as waker
from chosen_waits($labels, $command, $buildid, $pid, $thread, $cgroup, $span, $begin, $end) w
left join named n on n.pid = w.waker
where duration > runnable
group by kstack, ustack, labels, w.waker, n.name
