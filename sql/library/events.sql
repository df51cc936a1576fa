-- What was recorded, event by event?
-- $kind: a kind; null: all
select * exclude (labels)
from chosen($labels, $command, $buildid, $pid, $thread, $cgroup, $span, $begin, $end)
where $kind is null or kind = $kind
order by timestamp, tgid, pid, kind
