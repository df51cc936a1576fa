-- How is each thread called, at last?
-- column: pid, of the process
-- column: tid, of the thread
-- column: command
-- column: thread
select tgid as pid, pid as tid, arg_max(command, timestamp) as command,
       arg_max(thread, timestamp) as thread
from events
where pid is not null
group by tgid, pid
