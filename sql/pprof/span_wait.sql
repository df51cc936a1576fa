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
           case when kind = 'trace_exit' then timestamp - duration else timestamp end as entered
    from chosen($labels, $command, $buildid, $pid, null, $cgroup, $span, null, null)
    where kind in ('trace_exit', 'trace_close') and span_id is not null
),
parked as (
    select *, lead(entered) over spans as next_at, lead(closes) over spans as next_closes
    from marks
    window spans as (partition by tgid, span_id order by timestamp, closes)
)
select [kstack, ustack] as stack, count(*) as count,
       sum(greatest(coalesce(next_at, last)::bigint - timestamp::bigint, 0))::bigint as wait_ns,
       labels, trace_name as span,
       case when next_at is null then 'open' when next_closes then 'closed' else 'entered' end
           as ended
from parked, ends
where not closes
  and ($thread is null or thread = $thread or pid::varchar = $thread)
  and ($begin is null or timestamp >= $begin)
  and ($end is null or timestamp < $end)
group by kstack, ustack, labels, trace_name, ended
