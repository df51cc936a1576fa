-- Where were spans left, and how long did they lie until they were entered again or closed?
-- column: count, times left
-- column: wait_ns, leaving to being entered again or closed; one that never was counts to the end of the recording
-- column: span, its name
-- column: ended, how the wait ended: entered, closed, or open
with ends as (
    select greatest(max(timestamp), $recorded_end::ubigint) as last from events
),
-- A thread and a window choose among waits, not among what ends them.
marks as (
    select *, kind = 'trace_close' as closes,
           case when kind = 'trace_exit' then duration else 0 end as stretch
    from chosen($labels, $command, $buildid, $pid, null, $cgroup, $span, null, null)
    where kind in ('trace_exit', 'trace_close') and span_id is not null
),
-- Ids are given again: what was since the close before is of this use.
used as (
    select *, coalesce(sum(closes::bigint) over (
        partition by tgid, span_id order by timestamp, closes
        rows between unbounded preceding and 1 preceding
    ), 0) as use
    from marks
),
counted as (
    select *, sum(stretch) over spans as seen,
           count(*) filter (not closes) over spans as exits
    from used
    window spans as (partition by tgid, span_id, use)
),
-- One that is still entered at the end was entered for what its exits don't account for.
entered as (
    select *, coalesce(closes and open and enters > exits, false) as again,
           case when not closes then timestamp - stretch
                when open and enters > exits
                    then (timestamp::bigint - greatest(busy::bigint - seen::bigint, 0))::ubigint
                else timestamp end as entered
    from counted
),
parked as (
    select *, lead(entered) over spans as next_at,
           case when lead(closes) over spans is null then 'open'
                when not lead(closes) over spans or lead(again) over spans then 'entered'
                when lead(open) over spans then 'open' else 'closed' end as ended
    from entered
    window spans as (partition by tgid, span_id, use order by timestamp, closes)
)
select [kstack, ustack] as stack, count(*) as count,
       sum(greatest(coalesce(next_at, last)::bigint - timestamp::bigint, 0))::bigint as wait_ns,
       labels, trace_name as span, ended
from parked, ends
where not closes
  and ($thread is null or thread = $thread or pid::varchar = $thread)
  and ($begin is null or timestamp >= $begin)
  and ($end is null or timestamp < $end)
group by kstack, ustack, labels, trace_name, ended
