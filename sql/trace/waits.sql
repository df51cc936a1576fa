-- When was each thread off the CPU, and why?
-- column: stack, where it left the CPU
-- column: runnable, µs at the end of it, waiting for a CPU
-- column: waker, number of the thread that woke it (see wakeups); 0: an interrupt, or none
select 'complete' as event,
       case when state is null then 'off CPU'
            when state in ('preempted', 'running') then 'waits for a CPU'
            else 'blocked: ' || state end as name,
       'wait' as kind, tgid as pid, pid as tid, cpu,
       ((timestamp - duration)::bigint - $origin) / 1000.0 as start, duration / 1000.0 as duration,
       [kstack, ustack] as stack, state, runnable / 1000.0 as runnable, waker, open
from chosen_waits($labels, $command, $buildid, $pid, $thread, $cgroup, $span, $begin, $end)
