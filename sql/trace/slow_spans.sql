-- Which stretches between entering and leaving a span kept a CPU busy for long?
-- $minimum: ns on a CPU from which on a stretch is slow; 10 ms unless it is given
-- column: name, of the span
-- column: oncpu, µs on a CPU: the stretch without the waits that the thread had in it
-- column: end_stack, where it was left
with stretches as (
    select *, timestamp - duration as entered, row_number() over () as row
    from chosen($labels, $command, $buildid, $pid, $thread, $cgroup, $span, $begin, $end)
    where kind = 'trace_exit' and duration >= coalesce($minimum, 10000000)
),
off as (
    select s.row,
           sum(least(s.timestamp, w.timestamp)::bigint
               - greatest(s.entered, w.timestamp - w.duration)::bigint) as off_ns
    from stretches s
    join chosen_waits($labels, $command, $buildid, $pid, $thread, $cgroup, null, null, null) w
      on w.tgid = s.tgid and w.pid = s.pid
     and w.timestamp > s.entered and w.timestamp - w.duration < s.timestamp
    group by s.row
)
select 'complete' as event, trace_name as name, kind, tgid as pid, pid as tid, cpu,
       (entered::bigint - $origin) / 1000.0 as start, duration / 1000.0 as duration,
       [kstack, ustack] as end_stack, span_id::varchar as span_id,
       (duration::bigint - coalesce(off_ns, 0)) / 1000.0 as oncpu
from stretches s
left join off o on o.row = s.row
where duration::bigint - coalesce(off_ns, 0) >= coalesce($minimum, 10000000)
