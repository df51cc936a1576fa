-- Who were the processes, with what they were last?
-- column: tgid
-- column: start
-- column: end
-- column: parent
-- column: comm
-- column: cmdline
-- column: exe
-- column: buildid
-- column: cgroup
-- column: container
select tgid, start, "end", parent, comm, cmdline, exe, buildid, cgroup, container
from processes
order by tgid, coalesce(start, 0)
