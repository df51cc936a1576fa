-- Which code made resident memory grow, after what was given back?
-- column: count, changes
-- column: growth_bytes, growth minus shrinkage; negative where more was freed than taken
select [kstack, ustack] as stack, count(*) as count,
       coalesce(sum(delta), 0)::bigint as growth_bytes, labels
from chosen($labels, $command, $buildid, $pid, $thread, $cgroup, $span, $begin, $end)
where kind = 'rss'
group by kstack, ustack, labels
