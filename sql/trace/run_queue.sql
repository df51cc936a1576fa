-- How many threads waited for each CPU, at each moment?
-- column: amount, threads that could have run and did not; the CPU is the one each got in the end
with changes as (
    select cpu, unnest([timestamp - runnable, timestamp]) as moment, unnest([1, -1]) as step
    from chosen_waits($labels, $command, $buildid, $pid, $thread, $cgroup, $span, $begin, $end)
    where runnable > 0 and cpu is not null
),
moments as (
    select cpu, moment, sum(step) as step from changes group by cpu, moment
)
select 'counter' as event, 'run queue of CPU ' || cpu as name, 'wait' as kind, 0 as pid, cpu,
       (moment::bigint - $origin) / 1000.0 as timestamp,
       sum(step) over (partition by cpu order by moment)::bigint as amount, 'threads' as unit
from moments
