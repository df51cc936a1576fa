-- From when to when are there events?
-- column: begin, ns since the Unix epoch
-- column: end
-- column: count, events
select min(timestamp) as "begin", max(timestamp) as "end", count(*) as count from events
