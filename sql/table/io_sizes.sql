-- How large were reads and writes, in powers of two?
-- column: kind
-- column: from_bytes, lower bound of the bucket
-- column: below_bytes, upper bound
-- column: count
-- column: bytes, sum
select kind,
       case when amount = 0 then 0 else 1::bigint << floor(log2(amount))::integer end as from_bytes,
       case when amount = 0 then 1 else 2::bigint << floor(log2(amount))::integer end as below_bytes,
       count(*) as count, sum(amount)::bigint as bytes
from chosen($labels, $command, $buildid, $pid, $thread, $cgroup, $span, $begin, $end)
where kind in ('blk_read', 'blk_write', 'vfs_read', 'vfs_write',
               'tcp_send', 'tcp_recv', 'udp_send', 'udp_recv')
group by all
order by kind, from_bytes
