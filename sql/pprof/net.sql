-- Which code sent and received how much on TCP and UDP sockets?
-- column: count, calls
-- column: net_bytes, both directions
-- column: sent_bytes, by the process
-- column: received_bytes, by the process
select [kstack, ustack] as stack, count(*) as count, sum(amount)::bigint as net_bytes,
       coalesce(sum(amount) filter (kind in ('tcp_send', 'udp_send')), 0)::bigint as sent_bytes,
       coalesce(sum(amount) filter (kind in ('tcp_recv', 'udp_recv')), 0)::bigint
           as received_bytes,
       labels
from chosen($labels, $command, $buildid, $pid, $thread, $cgroup, $span, $begin, $end)
where kind in ('tcp_send', 'tcp_recv', 'udp_send', 'udp_recv')
group by kstack, ustack, labels
