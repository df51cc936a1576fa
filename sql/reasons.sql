-- Why threads waited, as the screen names it.
-- stacks_tui/reasons.py has made macros of reasons.toml: function_tells and call_tells.

-- What each function of the kernel says by itself, and what the system call says that it enters.
create view kernel_functions as
select name, function_tells(plain) as told, call_tells(call) as entered
from (
    select name, plain,
           regexp_extract(
               plain, '^(?:__(?:x64|arm64|ia32|do|se)_)?(?:compat_)?sys_([a-z0-9_]+)$', 1
           ) as call
    from (
        select distinct name,
               regexp_replace(name, '\.(isra|constprop|part|cold|llvm)[.0-9a-z]*.*$', '') as plain
        from (
            select unnest(frames).name as name from all_stacks
            where id in (select kstack from all_events where kind in ('wait', 'switch'))
        )
    )
);

-- The reason that each kernel stack of a wait tells: the first frame that is known, from the leaf on.
create view stack_reasons as
select id as kstack,
       case
           when firm_at <= coalesce(entered_at, firm_at) then firm
           when entered_at is null then coalesce(late, 'other wait')
           when late_at <= entered_at then late
           else entered
       end as reason
from (
    select id,
           min(place) filter (not told.late) as firm_at,
           arg_min(told.says, place) filter (not told.late) as firm,
           min(place) filter (told.late) as late_at,
           arg_min(told.says, place) filter (told.late) as late,
           min(place) filter (entered is not null) as entered_at,
           arg_min(entered, place) filter (entered is not null) as entered
    from (
        select id, unnest(frames).name as name, generate_subscripts(frames, 1) as place
        from all_stacks
        where id in (select kstack from all_events where kind in ('wait', 'switch'))
    )
    join kernel_functions using (name)
    group by id
);

-- The reason of a wait with this kernel stack, left in this state.
create macro reason_of(p_kstack, p_state) as
case
    when p_state = 'preempted' then 'preempted'
    else coalesce(
        (select r.reason from stack_reasons r where r.kstack = p_kstack),
        case p_state
            when 'disk' then 'disk'
            when 'exiting' then 'exit'
            when 'stopped' then 'signal'
            when 'traced' then 'signal'
            else 'asleep (no kernel stack)'
        end
    )
end;

-- Every wait, and why the thread waited.
create view waits as
select *, reason_of(kstack, state) as reason from events where kind = 'wait';
