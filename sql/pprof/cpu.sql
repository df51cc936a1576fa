-- Where was CPU time spent?
-- column: count, samples
-- column: cpu_ns, samples × their period
select [kstack, ustack] as stack, count(*) as count, sum(duration)::bigint as cpu_ns, labels
from chosen($labels, $command, $buildid, $pid, $thread, $cgroup, $span, $begin, $end)
where kind = 'profile'
group by kstack, ustack, labels
