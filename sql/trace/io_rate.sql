-- How many bytes did each process move in each second, by kind?
-- column: amount, bytes in that second
-- column: rate, calls in that second
select 'counter' as event, kind || ' bytes/s' as name, kind, tgid as pid,
       second * 1e6 as timestamp, sum(amount)::bigint as amount, count(*) as rate
from (
    select *, (timestamp::bigint - $origin) // 1000000000 as second
    from chosen($labels, $command, $buildid, $pid, $thread, $cgroup, $span, $begin, $end)
    where kind in ('vfs_read', 'vfs_write', 'blk_read', 'blk_write',
                   'tcp_send', 'tcp_recv', 'udp_send', 'udp_recv')
)
group by kind, tgid, second
