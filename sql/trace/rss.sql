-- How did each process's resident memory change?
-- column: amount, resident bytes
-- column: delta, bytes since the change before
-- column: stack, what changed it
select 'counter' as event, 'rss' as name, kind, tgid as pid,
       (timestamp::bigint - $origin) / 1000.0 as timestamp, amount::bigint as amount,
       'bytes' as unit, delta, [kstack, ustack] as stack
from chosen($labels, $command, $buildid, $pid, $thread, $cgroup, $span, $begin, $end)
where kind = 'rss'
