-- What do the events of each thread add up to, by kind?
-- $begin: ns since the Unix epoch
-- $end: ns since the Unix epoch, exclusive
-- column: kind
-- column: tgid
-- column: pid
-- column: count, events
-- column: duration, ns
-- column: amount, bytes; wait: ns runnable; rss: the change; trace_*: 0, for spans' amounts are any numbers
select kind, tgid, pid,
       count(*)::bigint as count,
       sum(duration)::bigint as duration,
       sum(case
           when kind = 'rss' then coalesce(delta, 0)
           when kind in ('trace_exit', 'trace_close') then 0
           else amount::bigint
       end)::bigint as amount
from events
where timestamp >= $begin::ubigint and timestamp < $end::ubigint
group by kind, tgid, pid
