-- Which spans wait for locks that they hold against each other, at the end?
-- column: tgid, the process
-- column: cycle, names of the spans, the first again at the end
-- column: says, who waits for which lock, held by whom
-- column: waits, how many spans wait in it
-- column: since_ns, from the last of these waits to the end
with recursive instances as materialized (
    select * from spans
),
locks as materialized (
    select tgid, name, id as lock, parent_id as owner, begin, begin + duration as until
    from instances
    where passes($command, $buildid, $pid, $thread, $cgroup, $span, $begin, $end,
             command, buildid, tgid, last_pid, thread, name, span_id, begin + duration)
      and open and name in ('lock.wait', 'lock.hold') and parent_id <> 0
),
-- A task waits for one lock at a time, and one holds it. What several hold, a semaphore, is left out:
-- who waits for it does not wait for one of them.
holds as (
    select tgid, lock, max(owner) as owner from locks where name = 'lock.hold'
    group by tgid, lock having count(*) = 1
),
edges as (
    select w.tgid, w.owner as waiter, arg_min(w.lock, w.begin) as lock,
           arg_min(h.owner, w.begin) as holder, min(w.begin) as begin, max(w.until) as until
    from locks w join holds h on h.tgid = w.tgid and h.lock = w.lock
    where w.name = 'lock.wait'
    group by w.tgid, w.owner
),
-- From the smallest id of a circle on, once round.
walk(tgid, first, holder, path, closed) as (
    select tgid, waiter, holder, [struct_pack(waiter, lock, holder, begin, until)],
           holder = waiter
    from edges
    union all
    select w.tgid, w.first, e.holder,
           list_append(w.path, struct_pack(e.waiter, e.lock, e.holder, e.begin, e.until)),
           e.holder = w.first
    from walk w join edges e on e.tgid = w.tgid and e.waiter = w.holder
    where not w.closed and w.holder > w.first and len(w.path) < 256
),
steps as (
    select tgid, first, unnest(path) as step, generate_subscripts(path, 1) as place
    from walk where closed
),
named as (
    select s.tgid, s.first, s.place, s.step, coalesce(n.name, 'span ' || s.step.waiter) as waiter,
           count(*) over (partition by s.tgid, s.first, n.name) as alike
    from steps s
    left join (select tgid, span_id, arg_max(name, begin) as name from instances group by all) n
      on n.tgid = s.tgid and n.span_id = s.step.waiter
),
told as (
    select *, case when alike > 1 then waiter || ' #' || step.waiter else waiter end as label
    from named
),
rounds as (
    select tgid, first, place, step, label,
           coalesce(lead(label) over (partition by tgid, first order by place),
                    first_value(label) over (partition by tgid, first order by place)) as holder
    from told
)
select tgid, list_append(list(label order by place), arg_min(label, place)) as cycle,
       string_agg(
           label || ' waits for lock 0x' || lower(ltrim(hex(step.lock), '0')) || ' held by ' || holder,
           '; ' order by place
       ) || '; cycle: ' || string_agg(label, ' -> ' order by place) || ' -> '
       || arg_min(label, place) as says,
       count(*) as waits, (max(step.until)::bigint - max(step.begin)::bigint) as since_ns
from rounds
group by tgid, first
order by since_ns desc, tgid, first
