-- Which events are alike in all that a screen distinguishes, and what do they add up to?
-- $every: all kinds, whatever the four
-- $kind_a: a kind
-- $kind_b: a kind
-- $kind_c: a kind
-- $kind_d: a kind
-- $begin: ns since the Unix epoch
-- $end: ns since the Unix epoch, exclusive
-- $tgid: null, or of the span
-- $span: null, or a span: only its events
-- $since: ns since the Unix epoch: its beginning; ids are used again
-- $until: ns since the Unix epoch: its end
-- $step: ns; events are told apart by steps of this length from $begin on
-- column: step, counts from 0
-- column: kind
-- column: tgid
-- column: pid
-- column: ustack
-- column: kstack
-- column: wstack
-- column: waker
-- column: state
-- column: span, its name
-- column: duration_bin, floor(log2(ns)), 0 for 0; waits: of the blocked time; null where times don't differ
-- column: amount_bin, floor(log2(bytes)); waits: of the runnable time
-- column: count, events
-- column: duration, ns
-- column: amount, bytes; wait: ns runnable; rss: the change; trace_*: 0, for spans' amounts are any numbers
select ((timestamp - $begin::ubigint) // $step::ubigint)::bigint as step,
       kind, tgid, pid, ustack, kstack, wstack, waker, state, trace_name as span,
       case
           when kind = 'wait'
               then floor(log2(greatest(duration - least(amount, duration), 1)))::tinyint
           when kind not in ('profile', 'rss', 'tcp_send', 'tcp_recv', 'udp_send', 'udp_recv')
               then floor(log2(greatest(duration, 1)))::tinyint
       end as duration_bin,
       case
           when kind not in ('profile', 'switch', 'rss', 'trace_exit', 'trace_close')
               then floor(log2(greatest(amount, 1)))::tinyint
       end as amount_bin,
       count(*)::bigint as count,
       sum(duration)::bigint as duration,
       sum(case
           when kind = 'rss' then coalesce(delta, 0)
           when kind in ('trace_exit', 'trace_close') then 0
           else amount::bigint
       end)::bigint as amount
from events
where timestamp >= $begin::ubigint and timestamp < $end::ubigint
  and ($every or kind in ($kind_a, $kind_b, $kind_c, $kind_d))
  and ($span is null or (
      tgid = $tgid::uinteger and span_id = $span::ubigint
      -- a request to a block device may end later than the span
      and timestamp - if(starts_with(kind, 'blk_'), duration, 0)
          between $since::ubigint and $until::ubigint
  ))
group by all
