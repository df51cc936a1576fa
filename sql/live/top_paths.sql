-- Which call paths account for most of a kind: of its time, its bytes, or its growth of memory?
-- $kind: a kind, such as profile
-- $limit: how many paths
-- column: stack, names of its frames, leaf first: the kernel's, then the user's; stacks that differ only in addresses are one path
-- column: count, events
-- column: value, sum of what the kind measures
-- column: unit, of value: ns or bytes
with by_id as (
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
),
named as (
    select id, list_transform(frames, lambda f: f.name) as names from stacks
)
select list_concat(coalesce(k.names, []), coalesce(u.names, [])) as stack,
       sum(t.count)::bigint as count,
       sum(t.value)::bigint as value,
       case
           when $kind in ('profile', 'switch', 'wait', 'trace_exit', 'trace_close') then 'ns'
           else 'bytes'
       end as unit
from by_id t
left join named u on u.id = t.ustack
left join named k on k.id = t.kstack
group by all
order by value desc, count desc, stack
limit $limit
