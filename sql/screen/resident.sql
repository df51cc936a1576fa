-- How much memory did processes hold at the end of each step?
-- $begin: ns since the Unix epoch
-- $end: ns since the Unix epoch, exclusive
-- $step: ns
-- column: step, counts from 0; -1: before
-- column: tgid
-- column: bytes
select greatest(-1, floor((timestamp::bigint - $begin) / $step))::bigint as step, tgid,
       arg_max(amount, timestamp)::bigint as bytes
from events
where kind = 'rss' and timestamp < $end::ubigint
group by all
order by step
