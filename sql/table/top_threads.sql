-- Which threads used most: CPU, and waits of both sorts?
-- column: command
-- column: thread
-- column: tgid
-- column: tid
-- column: samples
-- column: cpu_ns, on a CPU: slices, or samples × their period where no slices were recorded
-- column: blocked_ns
-- column: runnable_ns
-- column: waits
select command, thread, tgid, pid as tid,
       count(*) filter (kind = 'profile') as samples,
       coalesce(sum(duration) filter (kind = 'switch'),
                sum(duration) filter (kind = 'profile'), 0)::bigint as cpu_ns,
       coalesce(sum(duration::bigint - amount::bigint) filter (kind = 'wait'), 0)::bigint
           as blocked_ns,
       coalesce(sum(amount) filter (kind = 'wait'), 0)::bigint as runnable_ns,
       count(*) filter (kind = 'wait') as waits
from chosen($labels, $command, $buildid, $pid, $thread, $cgroup, $span, $begin, $end)
where kind in ('profile', 'switch', 'wait')
group by command, thread, tgid, pid
order by cpu_ns desc, tgid, tid, command, thread
