-- Which instances of spans took longest, the 20 slowest of each name, and what did each cost?
-- $minimum: ns from which on one is told
-- column: span, its name
-- column: span_id
-- column: parent, name of the span that it lay in
-- column: id, as the span reports it
-- column: tgid, its process
-- column: begin_ns, after the recording began
-- column: duration_ns, first entering to closing; open ones: to the end
-- column: busy_ns, entered
-- column: idle_ns, open and not entered
-- column: cpu_ns, samples × their period; this and what follows: its own, not its children's
-- column: blocked_ns, off the CPU and not able to run
-- column: runnable_ns, able to run, without a CPU
-- column: file_bytes, read and written by system calls
-- column: block_bytes, from and to block devices
-- column: socket_bytes, sent and received
-- column: growth_bytes, of resident memory
-- column: enters, how often it was entered
-- column: open, never closed
-- column: since_seen, begun before it was listened to
with instances as materialized (
    select * from spans
),
slowest as materialized (
    select * from instances
    where passes($command, $buildid, $pid, $thread, $cgroup, $span, $begin, $end,
             command, buildid, tgid, last_pid, thread, name, span_id, begin + duration)
      and duration >= coalesce($minimum, 0)
    qualify row_number() over (partition by name order by duration desc, tgid, span_id, use) <= 20
)
select s.name as span, s.span_id, p.name as parent, s.id, s.command, s.tgid,
       s.begin::bigint - $origin as begin_ns, s.duration::bigint as duration_ns,
       s.busy::bigint as busy_ns, s.idle::bigint as idle_ns, c.cpu_ns, c.blocked_ns, c.runnable_ns,
       c.read_bytes + c.written_bytes as file_bytes,
       c.blk_read_bytes + c.blk_written_bytes as block_bytes,
       c.sent_bytes + c.received_bytes as socket_bytes, c.growth_bytes, s.enters, s.open,
       s.since_seen
from slowest s
left join span_costs c using (tgid, span_id, use)
asof left join (select tgid, span_id, begin, name from instances) p
  on p.tgid = s.tgid and p.span_id = s.parent_id and s.begin >= p.begin
order by s.duration desc, s.tgid, s.span_id, s.use
