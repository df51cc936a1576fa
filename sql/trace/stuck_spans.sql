-- Which spans were never closed, and since when were they left, or stayed entered?
-- column: name, of the span
-- column: stack, where it was left, or seen last
-- column: state, left: nobody entered it again; entered: nobody left it again
-- column: span_id, of the span
with stuck as materialized (
    select *, begin + duration as until
    from chosen_spans($command, $buildid, $pid, $thread, $cgroup, $span, $begin, $end)
    where open
),
exits as (
    select tgid, span_id, use,
           count(*) filter (kind = 'trace_exit') as exits,
           coalesce(sum(duration) filter (kind = 'trace_exit'), 0)::bigint as busy,
           max(timestamp) filter (kind = 'trace_exit') as last_exit,
           arg_max([kstack, ustack], timestamp)
               filter (kstack is not null or ustack is not null) as stack
    from span_events semi join stuck using (tgid, span_id, use)
    group by tgid, span_id, use
),
since as (
    select s.*, e.stack, s.enters > e.exits or e.last_exit is null as entered,
           case when s.enters > e.exits then s.until::bigint - greatest(s.busy::bigint - e.busy, 0)
                when e.last_exit is null then s.begin::bigint
                else e.last_exit::bigint end as since
    from stuck s join exits e using (tgid, span_id, use)
)
select 'complete' as event, name, 'stuck' as kind, tgid as pid, last_pid as tid,
       (since - $origin) / 1000.0 as start,
       (greatest(until::bigint, $recorded_end::bigint * (not entered)::bigint) - since) / 1000.0
           as duration,
       stack, if(entered, 'entered', 'left') as state, span_id::varchar as span_id
from since
