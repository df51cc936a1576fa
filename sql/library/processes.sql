-- Who ran?
select tgid, start, "end", parent, comm, cmdline, exe, buildid, cgroup, container
from processes
order by start nulls first, tgid
