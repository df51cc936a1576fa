-- What was recorded, event by event, with the names of frames?
-- column: kstack, names of frames, leaf first
-- column: ustack, names of frames, leaf first
select e.* exclude (labels, ustack, kstack, wstack),
       list_transform(k.frames, lambda f: f.name) as kstack,
       list_transform(u.frames, lambda f: f.name) as ustack,
       list_transform(w.frames, lambda f: f.name) as wstack
from chosen($labels, $command, $buildid, $pid, $thread, $cgroup, $span, $begin, $end) e
left join stacks k on k.id = e.kstack
left join stacks u on u.id = e.ustack
left join stacks w on w.id = e.wstack
order by e.timestamp
