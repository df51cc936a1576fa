-- How long is the sampling period?
-- column: period, ns
select max(duration)::bigint as period
from all_events
where kind = 'profile'
