-- How long did the spans take that were closed, by sixteenths of powers of two?
-- $begin: ns since the Unix epoch
-- $end: ns since the Unix epoch, exclusive
-- column: tgid
-- column: name
-- column: bin, 16 × the power of two, and the sixteenth
-- column: count
-- column: total, ns
-- column: longest, ns
-- column: since_seen, of count: begun before they were listened to
select tgid, name,
       16 * power + (((16 * took) >> power) - 16) as bin,
       count(*)::bigint as count, sum(duration)::bigint as total, max(duration)::bigint as longest,
       count(*) filter (since_seen)::bigint as since_seen
from (
    select tgid, trace_name as name, duration, since_seen, greatest(duration, 1)::bigint as took,
           floor(log2(greatest(duration, 1)))::integer as power
    from events
    where kind = 'trace_close' and not coalesce(open, false) and span_id is not null
      and timestamp >= $begin::ubigint and timestamp < $end::ubigint
)
group by all
