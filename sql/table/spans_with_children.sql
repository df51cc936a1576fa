-- What did spans cost, by name, with all that lay in them?
-- column: span, its name
-- column: count, of instances
-- column: children, instances of other names that lay in them
-- column: total_ns, first entering to closing (or to the end); one within another of its name counts once
-- column: samples
-- column: cpu_ns, samples × their period
-- column: blocked_ns, off the CPU and not able to run
-- column: runnable_ns, able to run, without a CPU
-- column: read_bytes, by system calls
-- column: written_bytes, by system calls
-- column: blk_read_bytes, from block devices
-- column: blk_written_bytes, to block devices
-- column: sent_bytes, on sockets
-- column: received_bytes, on sockets
-- column: growth_bytes, of resident memory
with picked as materialized (
    select * from chosen_spans($command, $buildid, $pid, $thread, $cgroup, $span, $begin, $end)
),
-- What lies in two instances of one name, one within the other, is one name's cost.
lines as materialized (
    select p.name, a.tgid, a.span_id, a.use, count(*) filter (a.depth > 0) as above
    from span_ancestors a
    join picked p on p.tgid = a.tgid and p.span_id = a.above_id and p.use = a.above_use
    group by all
),
outermost as (
    select s.name, count(*) as count,
           coalesce(sum(s.duration) filter (coalesce(l.above, 0) = 0), 0)::bigint as total_ns
    from picked s
    left join lines l
      on l.name is not distinct from s.name and l.tgid = s.tgid and l.span_id = s.span_id
     and l.use = s.use
    group by s.name
)
select span, count, children, total_ns, unnest(costs)
from (
    select l.name as span, any_value(o.count) as count,
           count(*) - any_value(o.count) as children, any_value(o.total_ns) as total_ns,
           sums_of_sums(c) as costs
    from lines l
    join outermost o on o.name is not distinct from l.name
    left join span_costs c using (tgid, span_id, use)
    group by l.name
)
order by total_ns desc, span
