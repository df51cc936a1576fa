-- What a filter of the screen looks at, for queries that say the same (live/filter_sql.py).
-- A text is sought by regular expression: (?i)text for a part of a name, ^text$ for all of it.

-- What processes and threads were called last.
create view process_names as
select tgid, arg_max(command, timestamp) as name from all_events group by tgid;

create view thread_names as
select pid, arg_max(thread, timestamp) as name from all_events group by pid;

create view process_cgroups as
select tgid, arg_max(coalesce(cgroup, ''), coalesce(start, 0)) as cgroup from processes group by tgid;

-- Whether a frame of one of these stacks has such a name, or is of such a module (p_what: 'frame', 'module').
create macro in_stacks(p_what, p_ustack, p_kstack, p_regex, p_shown) as coalesce((
    p_ustack in (
        select id from all_stacks
        where len(list_filter(
            shown_frames(frames, native, p_shown),
            lambda f: regexp_matches(case p_what when 'module' then f.module else f.name end, p_regex)
        )) > 0
    )
), false) or coalesce((
    p_kstack in (
        select id from all_stacks
        where len(list_filter(
            frames,
            lambda f: regexp_matches(case p_what when 'module' then f.module else f.name end, p_regex)
        )) > 0
    )
), false);

create macro in_process(p_tgid, p_regex) as
p_tgid in (select tgid from process_names where regexp_matches(name, p_regex));

create macro in_thread(p_pid, p_regex) as
p_pid in (select pid from thread_names where regexp_matches(name, p_regex));

-- What the rows of the screen are called.
create macro cgroup_of(p_tgid) as
coalesce((select nullif(c.cgroup, '') from process_cgroups c where c.tgid = p_tgid), '[no cgroup known]');

create macro process_of(p_tgid) as
coalesce((select nullif(n.name, '') from process_names n where n.tgid = p_tgid), '?');

create macro thread_of(p_pid) as
coalesce((select nullif(n.name, '') from thread_names n where n.pid = p_pid), '?');

-- Frames as the screen tells them apart.
create macro plain_frames(p_frames) as list_transform(
    p_frames, lambda f: {'name': f.name, 'module': coalesce(f.module, '')}
);

-- All stacks, with no frames in those of the other side.
create view user_stacks as
select * replace (case when id in (select kstack from all_events) then [] else frames end as frames)
from all_stacks;

create view kernel_stacks as
select * replace (
    case when id in (select ustack from all_events) then [] else frames end as frames,
    null as native
)
from all_stacks;
