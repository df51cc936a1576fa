-- How many events of each kind are there, and how good are their stacks?
-- column: kind
-- column: count, events
-- column: stacked, events with a stack
-- column: user_stacked, events with a user stack
-- column: truncated, events with a stack that was cut
-- column: unresolved, events with a stack in which a frame has no symbol
-- column: complete, events with a user stack that reaches a start of a thread or program
with marked as (
    select id, coalesce(truncated, false) as truncated, coalesce(complete, false) as complete,
           len(list_filter(
               frames, lambda f: regexp_full_match(f.name, '\[(.*\+)?0x[0-9a-f]+\]')
           )) > 0 as unresolved
    from stacks
),
grouped as (
    select kind, ustack, kstack, count(*) as count from events group by all
)
select g.kind,
       sum(g.count)::bigint as count,
       coalesce(sum(g.count) filter (u.id is not null or k.id is not null), 0)::bigint as stacked,
       coalesce(sum(g.count) filter (u.id is not null), 0)::bigint as user_stacked,
       coalesce(sum(g.count) filter (u.truncated or k.truncated), 0)::bigint as truncated,
       coalesce(sum(g.count) filter (u.unresolved or k.unresolved), 0)::bigint as unresolved,
       coalesce(sum(g.count) filter (u.complete), 0)::bigint as complete
from grouped g
left join marked u on u.id = g.ustack
left join marked k on k.id = g.kstack
group by g.kind
