-- How long did threads run at a stretch, seen from where each stretch ended?
-- column: count, stretches
-- column: slice_ns, on a CPU
select [kstack, ustack] as stack, count(*) as count, sum(duration)::bigint as slice_ns, labels
from chosen($labels, $command, $buildid, $pid, $thread, $cgroup, $span, $begin, $end)
where kind = 'switch'
group by kstack, ustack, labels
