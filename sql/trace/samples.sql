-- When did each thread run which code, by samples?
-- column: stack, of the sample
select 'instant' as event, 'sample' as name, kind, tgid as pid, pid as tid, cpu,
       (timestamp::bigint - $origin) / 1000.0 as timestamp, [kstack, ustack] as stack
from chosen($labels, $command, $buildid, $pid, $thread, $cgroup, $span, $begin, $end)
where kind = 'profile'
