-- When did threads read and write files, devices and sockets, how much, and for how long?
-- column: amount, bytes
-- column: stack, of the call; for devices: of the request
select case when regexp_matches(kind, '^(tcp|udp)') then 'instant' else 'complete' end as event,
       kind as name, kind, tgid as pid, pid as tid, cpu,
       ((timestamp - duration)::bigint - $origin) / 1000.0 as start, duration / 1000.0 as duration,
       amount::bigint as amount, [kstack, ustack] as stack
from chosen($labels, $command, $buildid, $pid, $thread, $cgroup, $span, $begin, $end)
where kind in ('vfs_read', 'vfs_write', 'blk_read', 'blk_write',
               'tcp_send', 'tcp_recv', 'udp_send', 'udp_recv')
