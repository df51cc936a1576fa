-- How is each thread called, at last?
-- column: pid, of the process
-- column: tid, of the thread; null: events of no known thread
-- column: command
-- column: thread
select tgid as pid, pid as tid, arg_max(command, timestamp) as command,
       arg_max(thread, timestamp) as thread
from events
group by tgid, pid
