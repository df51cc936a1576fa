-- Which code's requests kept block devices busy for how long?
-- column: count, requests
-- column: block_ns, issue to completion, both directions
-- column: read_ns, of reads
-- column: write_ns, of writes
select [kstack, ustack] as stack, count(*) as count, sum(duration)::bigint as block_ns,
       coalesce(sum(duration) filter (kind = 'blk_read'), 0)::bigint as read_ns,
       coalesce(sum(duration) filter (kind = 'blk_write'), 0)::bigint as write_ns, labels
from chosen($labels, $command, $buildid, $pid, $thread, $cgroup, $span, $begin, $end)
where kind in ('blk_read', 'blk_write')
group by kstack, ustack, labels
