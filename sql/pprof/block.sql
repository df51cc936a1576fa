-- Which code read and wrote how much on block devices?
-- column: count, requests
-- column: block_bytes, both directions
-- column: read_bytes, from devices
-- column: write_bytes, to devices
select [kstack, ustack] as stack, count(*) as count, sum(amount)::bigint as block_bytes,
       coalesce(sum(amount) filter (kind = 'blk_read'), 0)::bigint as read_bytes,
       coalesce(sum(amount) filter (kind = 'blk_write'), 0)::bigint as write_bytes, labels
from chosen($labels, $command, $buildid, $pid, $thread, $cgroup, $span, $begin, $end)
where kind in ('blk_read', 'blk_write')
group by kstack, ustack, labels
