-- How many bytes did each process move in each second, by kind?
-- column: amount, bytes in the second that begins there
-- column: rate, calls in that second
with counted as (
    select kind, tgid, second, sum(amount)::bigint as amount, count(*) as calls
    from (
        select *, (timestamp::bigint - $origin) // 1000000000 as second
        from chosen($labels, $command, $buildid, $pid, $thread, $cgroup, $span, $begin, $end)
        where kind in ('vfs_read', 'vfs_write', 'blk_read', 'blk_write',
                       'tcp_send', 'tcp_recv', 'udp_send', 'udp_recv')
    )
    group by kind, tgid, second
),
-- a counter keeps its value until the next one: after a second with no other, it is 0
quiet as (
    select kind, tgid, second + 1 as second, 0::bigint as amount, 0::bigint as calls
    from counted
    anti join (select kind, tgid, second - 1 as second from counted) using (kind, tgid, second)
)
select 'counter' as event, kind || ' bytes/s' as name, kind, tgid as pid,
       second * 1e6 as timestamp, amount, 'bytes' as unit, calls as rate
from (from counted union all by name from quiet)
