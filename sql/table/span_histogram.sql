-- How long did spans take, by name, in powers of two?
-- column: span, its name
-- column: from_ns, lower bound of the bucket
-- column: below_ns, upper bound
-- column: count, closed
-- column: total_ns, sum
select trace_name as span,
       case when duration = 0 then 0 else 1::bigint << floor(log2(duration))::integer end as from_ns,
       case when duration = 0 then 1 else 2::bigint << floor(log2(duration))::integer end as below_ns,
       count(*) as count, sum(duration)::bigint as total_ns
from chosen($labels, $command, $buildid, $pid, $thread, $cgroup, $span, $begin, $end)
where kind = 'trace_close' and not coalesce(open, false)
group by all
order by span, from_ns
