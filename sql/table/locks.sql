-- Which locks were held longest, and how long did whom wait for them?
-- column: lock, its address
-- column: tgid, the process
-- column: holds, times it was held
-- column: held_ns, sum
-- column: longest_hold_ns
-- column: longest_holder, the span that held it for so long
-- column: waits, times somebody waited for it
-- column: waited_ns, sum
-- column: longest_wait_ns
-- column: longest_waiter, the span that waited so long
-- column: held_now, at the end by this span
-- column: waiting_now, spans that wait for it at the end
with instances as materialized (
    select * from spans
),
picked as materialized (
    select s.tgid, s.name = 'lock.hold' as held, s.id as lock, s.duration::bigint as duration,
           s.open, coalesce(p.name, 'span ' || s.parent_id) as owner
    from instances s
    asof left join (select tgid, span_id, begin, name from instances) p
      on p.tgid = s.tgid and p.span_id = s.parent_id and s.begin >= p.begin
    where s.name in ('lock.wait', 'lock.hold')
      and passes($command, $buildid, $pid, $thread, $cgroup, null, $begin, $end, s.command, s.buildid,
                 s.tgid, s.last_pid, s.thread, s.name, s.span_id, s.begin + s.duration)
      and ($span is null or p.name = $span or s.parent_id::varchar = $span)
)
select '0x' || lower(ltrim(hex(lock), '0')) as lock, tgid,
       count(*) filter (held) as holds,
       coalesce(sum(duration) filter (held), 0)::bigint as held_ns,
       max(duration) filter (held) as longest_hold_ns,
       arg_max(owner, duration) filter (held) as longest_holder,
       count(*) filter (not held) as waits,
       coalesce(sum(duration) filter (not held), 0)::bigint as waited_ns,
       max(duration) filter (not held) as longest_wait_ns,
       arg_max(owner, duration) filter (not held) as longest_waiter,
       max(owner) filter (held and open) as held_now,
       list(owner order by owner) filter (not held and open) as waiting_now
from picked
group by lock, tgid
order by waited_ns desc, held_ns desc, tgid, lock
