-- What was recorded, with frames in each row and nothing null, as other recorders write it?
-- frames: ustack, kstack
-- slices: time
-- column: kind, but no waits: there, they are what lies between the slices of a thread
-- column: cpu, 0 where there is none; so all numbers
-- column: command, empty where there is none; so all text
-- column: ustack, frames, leaf first; an empty list where there is none
-- column: kstack, frames, leaf first
select timestamp, duration, kind, coalesce(cpu, 0)::usmallint as cpu, tgid,
       coalesce(span_id, 0)::ubigint as span_id, coalesce(parent_id, 0)::ubigint as parent_id,
       coalesce(id, 0)::ubigint as id, amount, coalesce(pid, 0)::uinteger as pid,
       coalesce(command, '') as command, coalesce(trace_name, '') as trace_name,
       coalesce(buildid, ''::blob) as buildid, ustack, kstack
from chosen($labels, $command, $buildid, $pid, $thread, $cgroup, $span, $begin, $end)
where kind <> 'wait'
order by timestamp, tgid, pid, kind
