-- Was an executable with this build id recorded?
-- $buildid: of the executable
-- column: found
select 1 as found
from events
where buildid = $buildid
limit 1
