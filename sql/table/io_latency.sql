-- How long did reads and writes take, in powers of two?
-- column: kind
-- column: from_ns, lower bound of the bucket
-- column: below_ns, upper bound
-- column: count
-- column: total_ns, sum
select kind,
       case when duration = 0 then 0 else 1::bigint << floor(log2(duration))::integer end as from_ns,
       case when duration = 0 then 1 else 2::bigint << floor(log2(duration))::integer end as below_ns,
       count(*) as count, sum(duration)::bigint as total_ns
from chosen($labels, $command, $buildid, $pid, $thread, $cgroup, $span, $begin, $end)
where kind in ('blk_read', 'blk_write', 'vfs_read', 'vfs_write')
group by all
order by kind, from_ns
