-- Which cgroups used most CPU and IO?
-- column: cgroup
-- column: processes
-- column: cpu_ns, on a CPU: slices, or samples × their period where no slices were recorded
-- column: blocked_ns
-- column: runnable_ns
-- column: growth_bytes
-- column: file_bytes, read and written by system calls
-- column: socket_bytes, sent and received
select p.cgroup, count(distinct e.tgid) as processes,
       coalesce(sum(duration) filter (kind = 'switch'),
                sum(duration) filter (kind = 'profile'), 0)::bigint as cpu_ns,
       coalesce(sum(duration::bigint - amount::bigint) filter (kind = 'wait'), 0)::bigint
           as blocked_ns,
       coalesce(sum(amount) filter (kind = 'wait'), 0)::bigint as runnable_ns,
       coalesce(sum(delta) filter (kind = 'rss'), 0)::bigint as growth_bytes,
       coalesce(sum(amount) filter (starts_with(kind, 'vfs_')), 0)::bigint as file_bytes,
       coalesce(sum(amount) filter (starts_with(kind, 'tcp_') or starts_with(kind, 'udp_')),
                0)::bigint as socket_bytes
from chosen($labels, $command, $buildid, $pid, $thread, $cgroup, $span, $begin, $end) e
left join (
    select tgid, arg_max(cgroup, coalesce(start, 0)) as cgroup from processes group by tgid
) p on p.tgid = e.tgid
group by p.cgroup
order by cpu_ns desc, p.cgroup
