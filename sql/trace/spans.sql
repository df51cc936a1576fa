-- When was each span entered and left, by which thread, and when was it closed?
-- column: name, of the span
-- column: end_stack, where it was left; of a task the awaits
-- column: span_id, of the span
-- column: parent_id, of the span that it belongs to
-- column: amount, as the span reports it
-- column: since_seen, it began before it was listened to
select case when kind = 'trace_exit' then 'complete' else 'instant' end as event,
       case when kind = 'trace_exit' then trace_name
            when open then trace_name || ' still open' else trace_name || ' closed' end as name,
       kind, tgid as pid, pid as tid, cpu,
       (timestamp::bigint - $origin - if(kind = 'trace_exit', duration::bigint, 0)) / 1000.0 as start,
       if(kind = 'trace_exit', duration, 0) / 1000.0 as duration,
       [kstack, ustack] as end_stack, span_id::varchar as span_id, parent_id::varchar as parent_id,
       least(amount, 9223372036854775807)::bigint as amount, since_seen
from chosen($labels, $command, $buildid, $pid, $thread, $cgroup, $span, $begin, $end)
where kind in ('trace_exit', 'trace_close')
