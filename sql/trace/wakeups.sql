-- When was each thread woken, by which one, from where, and how long did it then wait for a CPU?
-- column: name, 'runnable' from the wakeup until it ran; on the thread that woke it: whom it woke
-- column: stack, of the thread that woke it
-- column: waker, number of that thread; 0: an interrupt
-- column: flow_out, leads from the wakeup
-- column: flow_in, to what it made runnable
with woken as materialized (
    select *, (timestamp - runnable)::bigint - $origin as moment, row_number() over () as flow
    from chosen_waits($labels, $command, $buildid, $pid, $thread, $cgroup, $span, $begin, $end)
    where runnable is not null and not coalesce(open and runnable = 0, false)
      and (waker <> 0 or (runnable > 0 and state not in ('preempted', 'running')))
),
threads as (
    select pid, any_value(tgid) as tgid
    from events
    where pid <> 0 and pid in (select waker from woken)
    group by pid
)
select 'complete' as event, 'runnable' as name, 'wakeup' as kind, tgid as pid, pid as tid, cpu,
       moment / 1000.0 as start, runnable / 1000.0 as duration, [wstack] as stack, waker,
       null as flow_out, flow as flow_in
from woken
union all
select 'instant', 'wakes ' || coalesce(w.thread, w.pid::varchar), 'wakeup', t.tgid, t.pid, null,
       moment / 1000.0, 0, [wstack], null, flow, null
from woken w
join threads t on t.pid = w.waker
