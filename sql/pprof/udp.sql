-- Which code sent and received how much on UDP sockets?
-- column: count, calls
-- column: udp_bytes, both directions
-- column: sent_bytes, by the process
-- column: received_bytes, by the process
select [kstack, ustack] as stack, count(*) as count, sum(amount)::bigint as udp_bytes,
       coalesce(sum(amount) filter (kind = 'udp_send'), 0)::bigint as sent_bytes,
       coalesce(sum(amount) filter (kind = 'udp_recv'), 0)::bigint as received_bytes, labels
from chosen($labels, $command, $buildid, $pid, $thread, $cgroup, $span, $begin, $end)
where kind in ('udp_send', 'udp_recv')
group by kstack, ustack, labels
