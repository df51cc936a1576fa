-- Which spans were open at the end of a time, and which that were closed in it took longest?
-- $begin: ns since the Unix epoch
-- $end: ns since the Unix epoch, exclusive
-- $kept: so many of each name of each process
-- $most: so many open ones at most
-- column: tgid
-- column: last_pid
-- column: span_id
-- column: parent_id
-- column: id
-- column: amount
-- column: begin, ns since the Unix epoch
-- column: until, closed, or the end of its process or of the recording; null: not told
-- column: last, ns since the Unix epoch
-- column: busy
-- column: left, ns entered by its exits
-- column: ustack, where it was seen last
-- column: kstack
-- column: waker_span
-- column: waker, who ended its last wait
-- column: enters
-- column: name
-- column: parent_name
-- column: closed
-- column: since_seen
-- column: samples
-- column: cpu
-- column: blocked
-- column: runnable
-- column: read
-- column: written
-- column: block_read
-- column: block_written
-- column: sent
-- column: received
-- column: growth
with instances as materialized (
    select * from spans
),
picked as materialized (
    select * from (
        select *, false as is_open from instances
        where "end" >= $begin::ubigint and "end" < $end::ubigint
        qualify row_number() over (
            partition by tgid, name order by duration desc, span_id, use
        ) <= $kept
    )
    union all
    select * from (
        select *, true as is_open from instances
        where begin < $end::ubigint and ("end" is null or "end" >= $end::ubigint)
        order by last_seen desc
        limit $most
    )
),
signs as (
    select tgid, span_id, use,
           arg_max({'k': kstack, 'u': ustack}, timestamp)
               filter (kstack is not null or ustack is not null) as place,
           arg_max({'pid': waker, 'span': waker_span}, timestamp) filter (waker > 0)
               as woken,
           bool_or(kind = 'trace_close') as told,
           coalesce(sum(duration) filter (kind = 'trace_exit'), 0)::bigint as "left"
    from span_events semi join picked using (tgid, span_id, use)
    group by tgid, span_id, use
),
parents as (
    select tgid, span_id, arg_max(name, begin) as name
    from instances
    where (tgid, span_id) in (select tgid, parent_id from picked)
    group by tgid, span_id
)
select p.tgid, p.last_pid, p.span_id, p.parent_id, p.id, p.amount, p.begin,
       case when not is_open then p."end" when "end" is null and told then begin + duration end
           as until,
       p.last_seen as last, p.busy, g."left", g.place.u as ustack, g.place.k as kstack,
       g.woken.span as waker_span, g.woken.pid as waker, p.enters, p.name,
       a.name as parent_name, not is_open as closed, p.since_seen,
       samples, cpu_ns as cpu, blocked_ns as blocked, runnable_ns as runnable,
       read_bytes as read, written_bytes as written, blk_read_bytes as block_read,
       blk_written_bytes as block_written, sent_bytes as sent, received_bytes as received,
       growth_bytes as growth
from picked p
left join signs g using (tgid, span_id, use)
left join span_costs c using (tgid, span_id, use)
left join parents a on a.tgid = p.tgid and a.span_id = p.parent_id
order by p.tgid, p.span_id, p.use
