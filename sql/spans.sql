-- The ledger: views of span instances and of what each cost, over `events`.
-- Ids are those of a process, and some tracers give one again once it was closed: `use` counts how
-- often that was so before. An event belongs to the use in which it happened; a request to a block
-- device, which may end later, to that in which it began.

create view reused_spans as
select tgid, span_id from events
where kind = 'trace_close' and span_id is not null
group by all
having count(*) > 1;

create view span_events as
select *, 0::bigint as use
from events anti join reused_spans using (tgid, span_id)
where span_id is not null
union all by name
select e.* exclude (moment), coalesce(c.uses, 0) as use
from (
    select *, case when starts_with(kind, 'blk_') then timestamp - duration else timestamp end
                  as moment
    from events semi join reused_spans using (tgid, span_id)
) e
asof left join (
    select tgid, span_id, timestamp,
           row_number() over (partition by tgid, span_id order by timestamp) as uses
    from events semi join reused_spans using (tgid, span_id)
    where kind = 'trace_close'
) c on c.tgid = e.tgid and c.span_id = e.span_id and e.moment > c.timestamp;

-- One row per instance. Times in ns; "end" is null for one that was never closed, its duration goes
-- up to the end of the recording or of its process. Where a recording was cut short, nobody told of
-- what was open: its sums are then of what was seen.
create view spans as
select tgid, span_id, parent_id, id, name, amount, command, begin::ubigint as begin,
       ended as "end", duration::ubigint as duration, busy::ubigint as busy,
       greatest(duration - busy, 0)::ubigint as idle, enters::uinteger as enters,
       ended is null as open, since_seen, last_pid, greatest(last_seen, begin)::ubigint as last_seen,
       last_stack, use, thread, buildid
from (
    select * replace (coalesce(close_duration, recorded_until - begin) as duration)
    from (
        select tgid, span_id, use, max(parent_id) as parent_id, max(id) as id,
               max(trace_name) as name,
               coalesce(max(amount) filter (kind in ('trace_exit', 'trace_close')), 0) as amount,
               arg_max(command, timestamp) as command, arg_max(thread, timestamp) as thread,
               any_value(buildid) as buildid,
               coalesce(
                   min(timestamp - duration) filter (kind = 'trace_close'),
                   least(min(timestamp - duration) filter (kind = 'trace_exit'), min(timestamp))
               )::bigint as begin,
               max(timestamp) filter (kind = 'trace_close' and not coalesce(open, false)) as ended,
               max(duration) filter (kind = 'trace_close')::bigint as close_duration,
               0::bigint as duration,
               coalesce(max(busy), sum(duration) filter (kind = 'trace_exit'), 0)::bigint as busy,
               coalesce(max(enters), count(*) filter (kind = 'trace_exit')) as enters,
               coalesce(bool_or(since_seen), false) as since_seen,
               arg_max(pid, timestamp) filter (kind <> 'trace_close' or not coalesce(open, false))
                   as last_pid,
               -- A wait that was still open at the end was seen last when it began.
               coalesce(max(if(coalesce(open, false), timestamp - duration, timestamp))
                            filter (kind <> 'trace_close' or not coalesce(open, false)),
                        0)::bigint as last_seen,
               arg_max(coalesce(ustack, kstack), timestamp)
                   filter (kind = 'trace_exit' and coalesce(ustack, kstack) is not null)
                   as last_stack
        from span_events
        group by tgid, span_id, use
    ), (select max(timestamp)::bigint as recorded_until from events)
);

-- Instances that pass all filters; one belongs to the time up to which its duration goes.
create macro chosen_spans(
    p_command, p_buildid, p_pid, p_thread, p_cgroup, p_span, p_begin, p_end
) as table
select * from spans
where passes(
    p_command, p_buildid, p_pid, p_thread, p_cgroup, p_span, p_begin, p_end,
    command, buildid, tgid, last_pid, thread, name, span_id, begin + duration
);

-- What events cost, added up: the sums of every ledger.
create macro span_sums(p_kind, p_duration, p_amount, p_delta) as struct_pack(
    samples := count(*) filter (p_kind = 'profile'),
    cpu_ns := coalesce(sum(p_duration) filter (p_kind = 'profile'), 0)::bigint,
    blocked_ns := coalesce(
        sum(p_duration - least(p_amount, p_duration)) filter (p_kind = 'wait'), 0
    )::bigint,
    runnable_ns := coalesce(sum(p_amount) filter (p_kind = 'wait'), 0)::bigint,
    read_bytes := coalesce(sum(p_amount) filter (p_kind = 'vfs_read'), 0)::bigint,
    written_bytes := coalesce(sum(p_amount) filter (p_kind = 'vfs_write'), 0)::bigint,
    blk_read_bytes := coalesce(sum(p_amount) filter (p_kind = 'blk_read'), 0)::bigint,
    blk_written_bytes := coalesce(sum(p_amount) filter (p_kind = 'blk_write'), 0)::bigint,
    sent_bytes := coalesce(
        sum(p_amount) filter (p_kind in ('tcp_send', 'udp_send')), 0
    )::bigint,
    received_bytes := coalesce(
        sum(p_amount) filter (p_kind in ('tcp_recv', 'udp_recv')), 0
    )::bigint,
    growth_bytes := coalesce(sum(p_delta) filter (p_kind = 'rss'), 0)::bigint
);

-- The same of several rows that are sums already.
create macro sums_of_sums(p_costs) as struct_pack(
    samples := coalesce(sum(p_costs.samples), 0)::bigint,
    cpu_ns := coalesce(sum(p_costs.cpu_ns), 0)::bigint,
    blocked_ns := coalesce(sum(p_costs.blocked_ns), 0)::bigint,
    runnable_ns := coalesce(sum(p_costs.runnable_ns), 0)::bigint,
    read_bytes := coalesce(sum(p_costs.read_bytes), 0)::bigint,
    written_bytes := coalesce(sum(p_costs.written_bytes), 0)::bigint,
    blk_read_bytes := coalesce(sum(p_costs.blk_read_bytes), 0)::bigint,
    blk_written_bytes := coalesce(sum(p_costs.blk_written_bytes), 0)::bigint,
    sent_bytes := coalesce(sum(p_costs.sent_bytes), 0)::bigint,
    received_bytes := coalesce(sum(p_costs.received_bytes), 0)::bigint,
    growth_bytes := coalesce(sum(p_costs.growth_bytes), 0)::bigint
);

-- What the events that bear an instance's label add up to: its own, not its children's.
create view span_costs as
select tgid, span_id, use, unnest(costs)
from (
    select tgid, span_id, use, span_sums(kind, duration, amount, delta) as costs
    from span_events
    group by tgid, span_id, use
);

-- Every instance with each that it lies in, itself included. A parent is the use of its id that had
-- begun when the child began. What lies deeper than 64 is not followed, nor is a circle twice.
create view span_ancestors as
with recursive placed as materialized (
    select tgid, span_id, use, parent_id, begin from spans
),
parents as materialized (
    select c.tgid, c.span_id, c.use, c.parent_id as above_id, p.use as above_use
    from (select * from placed where parent_id is not null and parent_id <> 0) c
    asof join placed p
      on p.tgid = c.tgid and p.span_id = c.parent_id and c.begin >= p.begin
),
lines(tgid, span_id, use, above_id, above_use, depth) as (
    select tgid, span_id, use, span_id, use, 0 from placed
    union all
    select l.tgid, l.span_id, l.use, p.above_id, p.above_use, l.depth + 1
    from lines l
    join parents p on p.tgid = l.tgid and p.span_id = l.above_id and p.use = l.above_use
    where l.depth < 64
)
select tgid, span_id, use, above_id, above_use, min(depth) as depth
from lines
group by tgid, span_id, use, above_id, above_use;

-- As span_costs, with the costs of all that lies in an instance.
create view span_costs_with_children as
select tgid, span_id, use, children, unnest(costs)
from (
    select a.tgid, a.above_id as span_id, a.above_use as use, count(*) - 1 as children,
           sums_of_sums(c) as costs
    from span_ancestors a join span_costs c using (tgid, span_id, use)
    group by a.tgid, a.above_id, a.above_use
);
