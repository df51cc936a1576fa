-- How much of each kind happened, step by step?
-- $begin: ns since the Unix epoch
-- $end: ns since the Unix epoch, exclusive
-- $step: ns
-- column: step, counts from 0
-- column: kind
-- column: count, events
-- column: duration, ns
-- column: amount, bytes; wait: ns runnable; rss: the change; trace_*: 0, for spans' amounts are any numbers
select ((timestamp - $begin::ubigint) // $step::ubigint)::bigint as step, kind,
       count(*)::bigint as count,
       sum(duration)::bigint as duration,
       sum(case
           when kind = 'rss' then coalesce(delta, 0)
           when kind in ('trace_exit', 'trace_close') then 0
           else amount::bigint
       end)::bigint as amount
from events
where timestamp >= $begin::ubigint and timestamp < $end::ubigint
group by all
