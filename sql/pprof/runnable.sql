-- Where did threads stand that could have run, but waited for a CPU?
-- column: count, waits for a CPU
-- column: runnable_ns, from being woken or preempted to running again
select [kstack, ustack] as stack, count(*) as count, sum(runnable)::bigint as runnable_ns, labels
from chosen_waits($labels, $command, $buildid, $pid, $thread, $cgroup, $span, $begin, $end)
where runnable > 0
group by kstack, ustack, labels
