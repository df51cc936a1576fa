-- What was recorded of each kind, and how good are its stacks?
-- column: kind
-- column: count, events
-- column: duration_ns, sum
-- column: amount, sum
-- column: stackless, events with no stack at all
-- column: truncated, events with a stack that was cut
-- column: incomplete, events with a user stack that does not reach a start
-- column: unresolved, events with a stack in which a frame has no symbol
-- column: python_whole, events with a stack in which Python's frames stand in place of the interpreter's
-- column: python_partial, events with a stack of Python where these were not certain
-- column: python_none, events of Python processes with a stack that has no Python frames
with marked as (
    select id, truncated, complete, python,
           len(list_filter(
               frames, lambda f: regexp_full_match(f.name, '\[(.*\+)?0x[0-9a-f]+\]')
           )) > 0 as unresolved
    from stacks
),
grouped as (
    select kind, ustack, kstack, count(*) as count, sum(duration) as duration_ns,
           sum(amount) as amount
    from events
    group by all
)
select g.kind,
       sum(g.count)::bigint as count,
       sum(g.duration_ns)::bigint as duration_ns,
       least(sum(g.amount), 9223372036854775807)::bigint as amount,  -- of spans: any numbers
       coalesce(sum(g.count) filter (g.ustack is null and g.kstack is null), 0)::bigint as stackless,
       coalesce(sum(g.count) filter (u.truncated or k.truncated), 0)::bigint as truncated,
       coalesce(sum(g.count) filter (not u.complete), 0)::bigint as incomplete,
       coalesce(sum(g.count) filter (u.unresolved or k.unresolved), 0)::bigint as unresolved,
       coalesce(sum(g.count) filter (u.python = 'whole'), 0)::bigint as python_whole,
       coalesce(sum(g.count) filter (u.python = 'partial'), 0)::bigint as python_partial,
       coalesce(sum(g.count) filter (u.python = 'none'), 0)::bigint as python_none
from grouped g
left join marked u on u.id = g.ustack
left join marked k on k.id = g.kstack
group by g.kind
order by g.kind
