-- Where did threads wait for something other than a CPU: a lock, IO, a timer, another thread?
-- column: count, waits that blocked at all
-- column: blocked_ns, off the CPU and not runnable
select [kstack, ustack] as stack, count(*) as count,
       sum(duration - runnable)::bigint as blocked_ns, labels
from chosen_waits($labels, $command, $buildid, $pid, $thread, $cgroup, $span, $begin, $end)
where duration > runnable
group by kstack, ustack, labels
