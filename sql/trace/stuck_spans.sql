-- Which spans were left, and neither entered again nor closed before the recording ended?
-- column: name, of the span
-- column: stack, where it was left
-- column: span_id, of the span
with ends as (
    select greatest(max(timestamp), $recorded_end::ubigint) as last from events
),
lasts as (
    select tgid, span_id, max(timestamp) as timestamp, bool_or(kind = 'trace_close') as closed
    from events
    where kind in ('trace_exit', 'trace_close') and span_id is not null
    group by tgid, span_id
)
select 'complete' as event, trace_name as name, 'stuck' as kind, tgid as pid, pid as tid,
       (timestamp::bigint - $origin) / 1000.0 as start, (last - timestamp) / 1000.0 as duration,
       [kstack, ustack] as stack, span_id::varchar as span_id
from chosen($labels, $command, $buildid, $pid, $thread, $cgroup, $span, $begin, $end) e
semi join (select * from lasts where not closed) l using (tgid, span_id, timestamp), ends
where kind = 'trace_exit'
