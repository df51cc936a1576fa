-- Which stacks account for most of a kind: of its time, its bytes, or its growth of memory?
-- $kind: a kind, such as profile
-- $limit: how many stacks
-- column: stack, names of its frames, leaf first: the kernel's, then the user's
-- column: count, events
-- column: value, sum of what the kind measures
-- column: unit, of value: ns or bytes
-- column: complete, whether the user stack reaches a start
with top as (
    select ustack, kstack,
           count(*) as count,
           case
               when $kind in ('profile', 'switch', 'wait', 'trace_exit', 'trace_close')
                   then sum(duration)::bigint
               when $kind = 'rss' then coalesce(sum(delta), 0)::bigint
               else sum(amount)::bigint
           end as value
    from events
    where kind = $kind
    group by ustack, kstack
    order by value desc, count desc, ustack, kstack
    limit $limit
)
select list_transform(
           list_concat(coalesce(k.frames, []), coalesce(u.frames, [])), lambda f: f.name
       ) as stack,
       t.count, t.value,
       case
           when $kind in ('profile', 'switch', 'wait', 'trace_exit', 'trace_close') then 'ns'
           else 'bytes'
       end as unit,
       u.complete
from top t
left join stacks u on u.id = t.ustack
left join stacks k on k.id = t.kstack
order by t.value desc, t.count desc, t.ustack, t.kstack
