-- Which code read how much through system calls, and how long did the calls take?
-- column: count, calls
-- column: read_bytes, really read
-- column: read_time_ns, time in the calls
select [kstack, ustack] as stack, count(*) as count, sum(amount)::bigint as read_bytes,
       sum(duration)::bigint as read_time_ns, labels
from chosen($labels, $command, $buildid, $pid, $thread, $cgroup, $span, $begin, $end)
where kind = 'vfs_read'
group by kstack, ustack, labels
