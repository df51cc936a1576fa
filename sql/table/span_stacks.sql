-- Which stacks cost each span most, the five heaviest of each sort of cost?
-- column: span, its name
-- column: cost, of which sort: CPU, blocked, runnable, growth, or the kind of IO
-- column: value, ns or bytes
-- column: events
-- column: stack, names of frames, leaf first
with costs as (
    select trace_name as span,
           case kind when 'profile' then 'cpu' when 'rss' then 'growth' else kind end as cost,
           case kind when 'profile' then duration::bigint when 'rss' then coalesce(delta, 0)
                     else amount::bigint end as value,
           kstack, ustack
    from chosen($labels, $command, $buildid, $pid, $thread, $cgroup, $span, $begin, $end)
    where span_id is not null and kind not in ('wait', 'switch', 'trace_exit', 'trace_close')
    union all
    select trace_name, unnest(['blocked', 'runnable']),
           unnest([duration::bigint - least(amount, duration)::bigint, amount::bigint]),
           kstack, ustack
    from chosen($labels, $command, $buildid, $pid, $thread, $cgroup, $span, $begin, $end)
    where span_id is not null and kind = 'wait'
),
heaviest as (
    select span, cost, kstack, ustack, sum(value)::bigint as value, count(*) as events
    from costs
    where value <> 0
    group by span, cost, kstack, ustack
    qualify row_number() over (
        partition by span, cost order by abs(sum(value)) desc, kstack, ustack
    ) <= 5
)
select span, cost, value, events,
       list_transform(list_concat(k.frames, u.frames), lambda f: f.name) as stack
from heaviest h
left join stacks k on k.id = h.kstack
left join stacks u on u.id = h.ustack
order by span, cost, abs(value) desc, stack
