-- Turns the nested layout (frames in each row, no nulls) into events, stacks and processes.

create table event_rows as
with numbered as (
    select *, kind in ('profile', 'switch', 'trace_exit', 'trace_close') as on_cpu
    from seed_files
)
select timestamp, duration, kind,
       -- These kinds don't carry a CPU, nor always a thread: 0 is no answer there.
       case when on_cpu then cpu end as cpu,
       tgid,
       case when on_cpu then pid else nullif(pid, 0) end as pid,
       nullif(command, '') as command,
       null::varchar as thread,
       nullif(span_id, 0) as span_id,
       nullif(parent_id, 0) as parent_id,
       case when span_id <> 0 then id end as id,
       amount,
       nullif(trace_name, '') as trace_name,
       nullif(buildid, ''::blob) as buildid,
       null::varchar as state,
       case when kind = 'rss' then
           amount::bigint - lag(amount::bigint) over (partition by tgid, kind order by timestamp)
       end as delta,
       null::uinteger as waker,
       null::boolean as open,
       case when len(ustack) > 0 then hash(ustack) end as ustack,
       case when len(kstack) > 0 then hash(kstack) end as kstack,
       null::ubigint as wstack,
       null::ubigint as busy,
       null::uinteger as enters,
       null::ubigint as waker_span,
       null::boolean as since_seen
from numbered;

create table stack_rows as
with taken as (
    select hash(ustack) as id, any_value(ustack) as frames from seed_files where len(ustack) > 0
    group by all
    union all
    select hash(kstack) as id, any_value(kstack) as frames from seed_files where len(kstack) > 0
    group by all
)
select id,
       list_transform(
           any_value(frames),
           lambda f: struct_pack(
               name := f.name, address := f.address, "offset" := f."offset",
               module := null::varchar, buildid := null::blob, file := null::varchar,
               line := null::uinteger, inlined := false
           )
       ) as frames,
       -- Nothing is known of how the walk ended.
       null::boolean as complete, null::boolean as truncated, null::varchar as status,
       null::struct(
           name varchar, address ubigint, "offset" ubigint, module varchar, buildid blob,
           file varchar, line uinteger, inlined boolean
       )[] as native,
       null::varchar as python
from taken
group by id;

create table process_rows as
select tgid, null::ubigint as start, null::ubigint as "end", null::uinteger as parent,
       arg_max(command, timestamp) as comm, null::varchar as cmdline, null::varchar as exe,
       arg_max(buildid, timestamp) as buildid, null::varchar as cgroup, null::varchar as container
from event_rows
group by tgid;
