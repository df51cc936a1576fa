-- What happened in each second, by kind?
-- column: second, after the recording began
-- column: kind
-- column: count
-- column: duration_ns, sum
-- column: amount, sum: bytes; of waits, runnable ns; of spans and rss null
-- column: delta_bytes, of rss
select (timestamp::bigint - $origin) // 1000000000 as second, kind, count(*) as count,
       sum(duration)::bigint as duration_ns,
       case when kind not in ('rss', 'trace_exit', 'trace_close') then sum(amount)::bigint end as amount,
       sum(delta)::bigint as delta_bytes
from chosen($labels, $command, $buildid, $pid, $thread, $cgroup, $span, $begin, $end)
group by second, kind
order by second, kind
