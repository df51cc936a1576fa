-- When did the first event begin, and the last one end?
-- column: first, ns since the Unix epoch
-- column: last, ns since the Unix epoch
select min(timestamp - duration)::bigint as first, max(timestamp)::bigint as last
from all_events
