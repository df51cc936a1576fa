-- In which cgroup was each process, at last?
-- column: tgid
-- column: cgroup
select tgid, arg_max(cgroup, coalesce(start, 0)) as cgroup
from processes
group by tgid
