-- Which processes used most: CPU, waits, memory, IO?
-- column: command
-- column: tgid
-- column: cgroup
-- column: samples
-- column: cpu_ns, on a CPU: slices, or samples × their period where no slices were recorded
-- column: blocked_ns
-- column: runnable_ns
-- column: growth_bytes
-- column: read_bytes, by system calls
-- column: write_bytes, by system calls
-- column: sent_bytes
-- column: received_bytes
select e.command, e.tgid, any_value(p.cgroup) as cgroup,
       count(*) filter (kind = 'profile') as samples,
       coalesce(sum(duration) filter (kind = 'switch'),
                sum(duration) filter (kind = 'profile'), 0)::bigint as cpu_ns,
       coalesce(sum(duration::bigint - amount::bigint) filter (kind = 'wait'), 0)::bigint
           as blocked_ns,
       coalesce(sum(amount) filter (kind = 'wait'), 0)::bigint as runnable_ns,
       coalesce(sum(delta) filter (kind = 'rss'), 0)::bigint as growth_bytes,
       coalesce(sum(amount) filter (kind = 'vfs_read'), 0)::bigint as read_bytes,
       coalesce(sum(amount) filter (kind = 'vfs_write'), 0)::bigint as write_bytes,
       coalesce(sum(amount) filter (kind in ('tcp_send', 'udp_send')), 0)::bigint as sent_bytes,
       coalesce(sum(amount) filter (kind in ('tcp_recv', 'udp_recv')), 0)::bigint as received_bytes
from chosen($labels, $command, $buildid, $pid, $thread, $cgroup, $span, $begin, $end) e
left join (
    select tgid, arg_max(cgroup, coalesce(start, 0)) as cgroup from processes group by tgid
) p on p.tgid = e.tgid
group by e.command, e.tgid
order by cpu_ns desc, e.tgid, e.command
