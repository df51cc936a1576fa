-- Which code read and wrote how much through system calls, and how long did the calls take?
-- column: count, calls
-- column: vfs_bytes, really moved, both directions
-- column: vfs_time_ns, time in the calls
-- column: read_bytes, of it read
-- column: write_bytes, of it written
select [kstack, ustack] as stack, count(*) as count, sum(amount)::bigint as vfs_bytes,
       sum(duration)::bigint as vfs_time_ns,
       coalesce(sum(amount) filter (kind = 'vfs_read'), 0)::bigint as read_bytes,
       coalesce(sum(amount) filter (kind = 'vfs_write'), 0)::bigint as write_bytes, labels
from chosen($labels, $command, $buildid, $pid, $thread, $cgroup, $span, $begin, $end)
where kind in ('vfs_read', 'vfs_write')
group by kstack, ustack, labels
