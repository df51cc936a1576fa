-- What were processes and threads called last?
-- column: tgid
-- column: pid
-- column: time, of its last event, ns since the Unix epoch
-- column: command
-- column: thread
select tgid, pid, max(timestamp) as time, arg_max(command, timestamp) as command,
       arg_max(thread, timestamp) as thread
from events
group by tgid, pid
