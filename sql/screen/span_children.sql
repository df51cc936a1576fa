-- What did spans cost in a time, by process and name, with all that lay in them?
-- $begin: ns since the Unix epoch
-- $end: ns since the Unix epoch, exclusive
-- column: tgid
-- column: name
-- column: spans, that lay in them or were they: those that were closed in it, or open at its end
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
    select tgid, span_id, use, name, begin, "end" from spans
),
costs as (
    select tgid, span_id, use, span_sums(kind, duration, amount, delta) as costs
    from span_events
    where timestamp >= $begin::ubigint and timestamp < $end::ubigint
    group by tgid, span_id, use
),
-- What lies in two instances of one name, one within the other, is one name's cost.
lines as materialized (
    select distinct a.tgid, p.name, a.span_id, a.use
    from span_ancestors a
    join instances p on p.tgid = a.tgid and p.span_id = a.above_id and p.use = a.above_use
)
select tgid, name, spans, costs.samples as samples, costs.cpu_ns as cpu,
       costs.blocked_ns as blocked, costs.runnable_ns as runnable, costs.read_bytes as read,
       costs.written_bytes as written, costs.blk_read_bytes as block_read,
       costs.blk_written_bytes as block_written, costs.sent_bytes as sent,
       costs.received_bytes as received, costs.growth_bytes as growth
from (
    select l.tgid, l.name,
           count(*) filter (
               ("end" >= $begin::ubigint and "end" < $end::ubigint)
               or (begin < $end::ubigint and ("end" is null or "end" >= $end::ubigint))
           ) as spans,
           sums_of_sums(c.costs) as costs
    from lines l
    join instances s using (tgid, span_id, use)
    left join costs c using (tgid, span_id, use)
    group by l.tgid, l.name
)
order by tgid, name
