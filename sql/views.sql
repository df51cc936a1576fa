-- The views of a recording, over what the reader binds: whole Parquet files (*_files), rows from journals or elsewhere (*_rows).

create view events as
select timestamp, duration, kind, cpu, tgid, pid, command, thread, span_id, parent_id, id, amount,
       trace_name, buildid, state, delta, waker, open, ustack, kstack, wstack
from event_files
union all by name
select timestamp, duration, kind, cpu, tgid, pid, command, thread, span_id, parent_id, id, amount,
       trace_name, buildid, state, delta, waker, open, ustack, kstack, wstack
from event_rows;

create view stacks as
select id, frames, complete, truncated, status from all_stacks;

create view processes as
select tgid, start, "end", parent, comm, cmdline, exe, buildid, cgroup, container from process_files
union all by name
select tgid, start, "end", parent, comm, cmdline, exe, buildid, cgroup, container from process_rows;

-- Every event with its frames in place of ids; null where none was taken.
create view samples as
select e.* exclude (ustack, kstack, wstack),
       u.frames as ustack, k.frames as kstack, w.frames as wstack
from events e
left join stacks u on u.id = e.ustack
left join stacks k on k.id = e.kstack
left join stacks w on w.id = e.wstack;
