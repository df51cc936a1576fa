-- From which code were blocked threads woken, and how long had they been blocked?
-- column: stack, of the waker, at the moment it woke the other
-- column: count, wake-ups
-- column: blocked_ns, time that those woken had been blocked
-- column: waker, the waking thread
with named as (
    select pid, arg_max(coalesce(thread, command), timestamp) as name from events
    where pid <> 0 group by pid
)
select [wstack] as stack, count(*) as count,
       sum(duration - runnable)::bigint as blocked_ns, labels,
       coalesce(n.name, 'thread') || ' ' || w.waker as waker
from chosen_waits($labels, $command, $buildid, $pid, $thread, $cgroup, $span, $begin, $end) w
left join named n on n.pid = w.waker
where w.waker is not null and duration > runnable
group by wstack, labels, w.waker, n.name
