-- How many events were recorded?
-- column: count
select count(*) as count
from events
