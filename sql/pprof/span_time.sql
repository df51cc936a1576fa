-- In which spans, left from where, was time spent between entering and leaving them?
-- column: count, times left
-- column: span_ns, entering to leaving
-- column: span, its name
select [kstack, ustack] as stack, count(*) as count, sum(duration)::bigint as span_ns, labels,
       trace_name as span
from chosen($labels, $command, $buildid, $pid, $thread, $cgroup, $span, $begin, $end)
where kind = 'trace_exit'
group by kstack, ustack, labels, trace_name
