-- What did spans cost, by name: how many, how long, and what of it on a CPU, blocked, in IO, in memory?
-- column: span, its name
-- column: count, closed
-- column: open, not closed by the end of the recording or of their process
-- column: total_ns, first entering to closing, of the closed ones
-- column: busy_ns, entered
-- column: idle_ns, open and not entered
-- column: samples
-- column: cpu_ns, samples × their period
-- column: blocked_ns, off the CPU and not able to run
-- column: runnable_ns, able to run, without a CPU
-- column: read_bytes, by system calls
-- column: written_bytes, by system calls
-- column: blk_read_bytes, from block devices
-- column: blk_written_bytes, to block devices
-- column: sent_bytes, on sockets
-- column: received_bytes, on sockets
-- column: growth_bytes, of resident memory
-- column: p50_ns, of total_ns by span, exact
-- column: p90_ns
-- column: p99_ns
-- column: max_ns
-- column: since_seen, of count and open: begun before they were listened to; their times are too short
with labelled as (
    select *, kind = 'trace_close' and not coalesce(open, false) as closed
    from chosen($labels, $command, $buildid, $pid, $thread, $cgroup, $span, $begin, $end)
    where span_id is not null
),
-- Of a recording that was cut short nobody told what was open.
untold as (
    select trace_name, count(distinct (tgid, span_id)) as open
    from (select tgid, span_id, trace_name from labelled)
    anti join (select tgid, span_id from events where kind = 'trace_close') c using (tgid, span_id)
    group by trace_name
)
select span, count, open, total_ns, busy_ns, idle_ns, unnest(costs), p50_ns, p90_ns, p99_ns, max_ns,
       since_seen
from (
    select l.trace_name as span, count(*) filter (closed) as count,
           count(*) filter (kind = 'trace_close' and not closed) + coalesce(max(u.open), 0) as open,
           coalesce(sum(duration) filter (closed), 0)::bigint as total_ns,
           coalesce(sum(busy) filter (kind = 'trace_close'),
                    sum(duration) filter (kind = 'trace_exit'), 0)::bigint as busy_ns,
           coalesce(
               sum(greatest(duration::bigint - busy::bigint, 0)) filter (kind = 'trace_close'), 0
           )::bigint as idle_ns,
           span_sums(kind, duration, amount, delta) as costs,
           quantile_disc(duration, 0.5) filter (closed)::bigint as p50_ns,
           quantile_disc(duration, 0.9) filter (closed)::bigint as p90_ns,
           quantile_disc(duration, 0.99) filter (closed)::bigint as p99_ns,
           max(duration) filter (closed)::bigint as max_ns,
           count(*) filter (kind = 'trace_close' and since_seen) as since_seen
    from labelled l
    left join untold u on u.trace_name is not distinct from l.trace_name
    group by l.trace_name
)
order by total_ns desc, busy_ns desc, span
