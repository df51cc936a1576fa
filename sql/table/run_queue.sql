-- Under which pressure was each CPU: how long did threads that could run have to wait for it?
-- column: cpu
-- column: waits, for this CPU
-- column: runnable_ns, sum
-- column: median_ns
-- column: p99_ns
-- column: longest_ns
-- column: pressure, threads that waited at a time, on average over the recording
with span as (
    select (max(timestamp) - min(timestamp - duration))::double as ns from events
)
select cpu, count(*) as waits, sum(runnable)::bigint as runnable_ns,
       quantile_disc(runnable, 0.5)::bigint as median_ns,
       quantile_disc(runnable, 0.99)::bigint as p99_ns,
       max(runnable)::bigint as longest_ns, sum(runnable) / nullif(any_value(ns), 0) as pressure
from chosen_waits($labels, $command, $buildid, $pid, $thread, $cgroup, $span, $begin, $end), span
where runnable > 0
group by cpu
order by cpu
