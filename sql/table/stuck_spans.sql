-- Which spans were never closed: where were they seen last, and who woke them last?
-- column: span, its name
-- column: span_id
-- column: parent, name of the span that it lay in
-- column: id, as the span reports it; of a lock's span: its address
-- column: tgid, its process
-- column: open_ns, first entering to the end
-- column: quiet_ns, last sign of life to the end
-- column: busy_ns, entered
-- column: enters, how often it was entered
-- column: last_pid, the thread that was seen in it last
-- column: stack, where it was seen last: names of frames, leaf first; of a task the awaits
-- column: waker, the thread that ended its last wait
-- column: waker_span, the span in which that thread was
-- column: since_seen, begun before it was listened to
with instances as materialized (
    select * from spans
),
stuck as materialized (
    select *, begin + duration as until
    from instances
    where open
      and passes($command, $buildid, $pid, $thread, $cgroup, $span, $begin, $end,
             command, buildid, tgid, last_pid, thread, name, span_id, begin + duration)
),
signs as (
    select e.tgid, e.span_id, e.use,
           arg_max({'k': e.kstack, 'u': e.ustack}, e.timestamp)
               filter (e.kstack is not null or e.ustack is not null) as place,
           arg_max({'pid': waker, 'span': waker_span, 'time': e.timestamp}, e.timestamp)
               filter (e.waker > 0) as woken
    from span_events e semi join stuck s using (tgid, span_id, use)
    group by e.tgid, e.span_id, e.use
),
threads as (
    select pid, arg_max(coalesce(thread, command), timestamp) as name, max(tgid) as tgid
    from events
    where pid in (select woken.pid from signs)
    group by pid
)
select s.name as span, s.span_id, p.name as parent, s.id, s.command, s.tgid,
       s.duration::bigint as open_ns, greatest(s.until::bigint - s.last_seen::bigint, 0) as quiet_ns,
       s.busy::bigint as busy_ns, s.enters, s.last_pid,
       list_transform(list_concat(k.frames, u.frames), lambda f: f.name) as stack,
       coalesce(t.name, 'thread') || ' ' || g.woken.pid as waker,
       coalesce(w.name, 'span ' || g.woken.span) as waker_span, s.since_seen
from stuck s
left join signs g using (tgid, span_id, use)
left join stacks k on k.id = g.place.k
left join stacks u on u.id = g.place.u
left join threads t on t.pid = g.woken.pid
asof left join (select tgid, span_id, begin, name from instances) p
  on p.tgid = s.tgid and p.span_id = s.parent_id and s.begin >= p.begin
asof left join (select tgid, span_id, begin, name from instances) w
  on w.tgid = t.tgid and w.span_id = g.woken.span and g.woken.time >= w.begin
order by quiet_ns desc, open_ns desc, s.tgid, s.span_id
