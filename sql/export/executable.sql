-- Of which executable are most of the chosen events?
-- column: path, of the executable; the command's name where that is not known
-- column: buildid
with counted as (
    select tgid, command, buildid, count(*) as count
    from chosen($labels, $command, $buildid, $pid, $thread, $cgroup, $span, $begin, $end)
    group by all
),
named as (
    select tgid, buildid, arg_max(exe, coalesce(start, 0)) as exe
    from processes where exe is not null group by all
)
select coalesce(n.exe, c.command) as path, coalesce(c.buildid, n.buildid) as buildid
from counted c
left join named n on n.tgid = c.tgid and (c.buildid is null or c.buildid = n.buildid)
where coalesce(n.exe, c.command) is not null
group by all
order by sum(c.count) desc, path, buildid
limit 1
