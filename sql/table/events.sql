-- What was recorded, event by event, with the names of frames?
-- names: ustack, kstack, wstack
-- slices: time
-- column: timestamp, of its end; ns since the Unix epoch
-- column: ustack, names of frames, leaf first
-- column: kstack, names of frames, leaf first
-- column: wstack, of the waker
select * exclude (labels)
from chosen($labels, $command, $buildid, $pid, $thread, $cgroup, $span, $begin, $end)
order by timestamp, tgid, pid, kind
