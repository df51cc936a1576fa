-- What was recorded, event by event, with the frames of the stacks?
-- $kind: a kind; null: all
select e.* exclude (labels, ustack, kstack, wstack),
       u.frames as ustack, k.frames as kstack, w.frames as wstack
from chosen($labels, $command, $buildid, $pid, $thread, $cgroup, $span, $begin, $end) e
left join stacks u on u.id = e.ustack
left join stacks k on k.id = e.kstack
left join stacks w on w.id = e.wstack
where $kind is null or e.kind = $kind
order by e.timestamp, e.tgid, e.pid, e.kind
