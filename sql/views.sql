-- The views of a recording, over what the reader binds: whole Parquet files (*_files), rows from journals or elsewhere (*_rows).

-- Files of an earlier schema lack its later columns; the rows, which come from this program, have them all.
create view all_events as
select timestamp, duration, kind, cpu, tgid, pid, command, thread, span_id, parent_id, id, amount,
       trace_name, buildid, state, delta, waker, open, ustack, kstack, wstack,
       busy, enters, waker_span, since_seen
from (
    select * from event_files
    union all by name
    select * from event_rows
);

create view events as select * from all_events;

create view stacks as
select id, frames, complete, truncated, status, native, python from all_stacks;

-- Frames of a stack as they are to be shown: 'merged', 'python' (Python's alone) or 'native'.
create macro shown_frames(p_frames, p_native, p_shown) as
case p_shown
    when 'python' then list_filter(p_frames, lambda f: f.module = '[python]')
    when 'native' then coalesce(p_native, p_frames)
    else p_frames
end;

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

-- Whether something with these names, at this time, passes all filters (null: no filter).
create macro passes(
    p_command, p_buildid, p_pid, p_thread, p_cgroup, p_span, p_begin, p_end,
    f_command, f_buildid, f_tgid, f_pid, f_thread, f_name, f_span_id, f_time
) as (
    (p_command is null or f_command = p_command)
    and (p_buildid is null or hex(f_buildid) = upper(p_buildid))
    and (p_pid is null or list_contains(p_pid, f_tgid))
    and (p_thread is null or f_thread = p_thread or f_pid::varchar = p_thread)
    and (p_cgroup is null or f_tgid in (
        select tgid from processes
        where starts_with(cgroup || '/', rtrim(p_cgroup, '/') || '/')
           or container = p_cgroup
    ))
    and (p_span is null or f_name = p_span or f_span_id::varchar = p_span)
    and (p_begin is null or f_time >= p_begin)
    and (p_end is null or f_time < p_end)
);

-- Events that pass all filters (null: no filter), with the labels that are asked for.
create macro chosen(
    p_labels, p_command, p_buildid, p_pid, p_thread, p_cgroup, p_span, p_begin, p_end
) as table
select e.*,
       struct_pack(
           command := case when list_contains(p_labels, 'command') then command end,
           pid := case when list_contains(p_labels, 'pid') then tgid::bigint end,
           thread := case when list_contains(p_labels, 'thread') then thread end,
           tid := case when list_contains(p_labels, 'tid') then pid::bigint end,
           cpu := case when list_contains(p_labels, 'cpu') then cpu::varchar end,
           kind := case when list_contains(p_labels, 'kind') then kind end,
           state := case when list_contains(p_labels, 'state') then state end,
           span_name := case when list_contains(p_labels, 'span_name') then trace_name end,
           span_id := case when list_contains(p_labels, 'span_id') then span_id::varchar end
       ) as labels
from events e
where passes(
    p_command, p_buildid, p_pid, p_thread, p_cgroup, p_span, p_begin, p_end,
    command, buildid, tgid, pid, thread, trace_name, span_id, timestamp
);

-- Time off the CPU of chosen events: waits; where a recording has none (the nested layout), what lies between two slices of a thread.
create macro chosen_waits(
    p_labels, p_command, p_buildid, p_pid, p_thread, p_cgroup, p_span, p_begin, p_end
) as table
select timestamp, duration, cpu, tgid, pid, command, thread, span_id, trace_name, state,
       case when state is not null then amount end as runnable, waker, open,
       ustack, kstack, wstack, labels
from chosen(p_labels, p_command, p_buildid, p_pid, p_thread, p_cgroup, p_span, p_begin, p_end)
where kind = 'wait'
union all by name
select * exclude (next_start)
         replace (next_start as timestamp, (next_start - timestamp)::ubigint as duration)
from (
    select timestamp, duration, cpu, tgid, pid, command, thread, span_id, trace_name, state,
           null::ubigint as runnable, waker, open, ustack, kstack, wstack, labels,
           lead(timestamp - duration) over (partition by tgid, pid order by timestamp) as next_start
    from chosen(p_labels, p_command, p_buildid, p_pid, p_thread, p_cgroup, p_span, null, null)
    where kind = 'switch' and state is null and pid <> 0
)
where next_start > timestamp
  and (p_begin is null or next_start >= p_begin)
  and (p_end is null or next_start < p_end);
