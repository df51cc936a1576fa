-- Which spans kept which other spans waiting: in which span was the thread that woke them?
-- column: span, that waited; null: none
-- column: waker_span, in which the waking thread was; null: none
-- column: waker, name of the waking thread
-- column: waits
-- column: blocked_ns, off the CPU and not able to run
-- column: longest_ns
-- column: waker_stack, from where most of it was ended: names of frames, leaf first
with waits as (
    select tgid, trace_name as span, waker, waker_span, wstack, timestamp,
           duration::bigint - least(amount, duration)::bigint as blocked
    from chosen($labels, $command, $buildid, $pid, $thread, $cgroup, $span, $begin, $end)
    where kind = 'wait' and waker > 0 and duration > amount
      and (span_id is not null or waker_span is not null)
),
threads as (
    select pid, arg_max(coalesce(thread, command), timestamp) as name, max(tgid) as tgid
    from events
    where pid in (select waker from waits)
    group by pid
),
named as (
    select w.*, coalesce(s.name, 'span ' || w.waker_span) as by_span,
           coalesce(t.name, 'thread') as by_thread
    from waits w
    left join threads t on t.pid = w.waker
    asof left join (select tgid, span_id, begin, name from spans) s
      on s.tgid = coalesce(t.tgid, w.tgid) and s.span_id = w.waker_span and w.timestamp >= s.begin
),
summed as (
    select span, by_span, by_thread, count(*) as waits, sum(blocked)::bigint as blocked_ns,
           max(blocked) as longest_ns, arg_max(wstack, blocked) as wstack
    from named
    group by span, by_span, by_thread
)
select span, by_span as waker_span, by_thread as waker, waits, blocked_ns, longest_ns,
       list_transform(k.frames, lambda f: f.name) as waker_stack
from summed s
left join stacks k on k.id = s.wstack
order by blocked_ns desc, span, waker_span, waker
