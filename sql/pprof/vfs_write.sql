-- Which code wrote how much through system calls, and how long did the calls take?
-- column: count, calls
-- column: write_bytes, really written
-- column: write_time_ns, time in the calls
select [kstack, ustack] as stack, count(*) as count, sum(amount)::bigint as write_bytes,
       sum(duration)::bigint as write_time_ns, labels
from chosen($labels, $command, $buildid, $pid, $thread, $cgroup, $span, $begin, $end)
where kind = 'vfs_write'
group by kstack, ustack, labels
