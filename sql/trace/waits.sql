-- When was each thread off the CPU, why, and which thread woke it?
-- column: stack, where it left the CPU
-- column: runnable, µs at the end of it, waiting for a CPU
-- column: waker, the thread that woke it
-- column: waker_stack, from where
select 'complete' as event,
       case when state is null then 'off CPU'
            when state in ('preempted', 'running') then 'waits for a CPU'
            else 'blocked: ' || state end as name,
       'wait' as kind, tgid as pid, pid as tid, cpu,
       ((timestamp - duration)::bigint - $origin) / 1000.0 as start, duration / 1000.0 as duration,
       [kstack, ustack] as stack, state, runnable / 1000.0 as runnable, waker,
       [wstack] as waker_stack, open
from chosen_waits($labels, $command, $buildid, $pid, $thread, $cgroup, $span, $begin, $end)
