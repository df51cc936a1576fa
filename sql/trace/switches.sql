-- When was each thread on a CPU, and from where did it leave it?
-- column: end_stack, where it left
-- column: state, why it left
select 'complete' as event, 'on CPU' as name, kind, tgid as pid, pid as tid, cpu,
       ((timestamp - duration)::bigint - $origin) / 1000.0 as start, duration / 1000.0 as duration,
       [kstack, ustack] as end_stack, state
from chosen($labels, $command, $buildid, $pid, $thread, $cgroup, $span, $begin, $end)
where kind = 'switch'
