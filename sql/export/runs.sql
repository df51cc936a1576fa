-- Was an executable with this build id recorded?
-- $buildid: of the executable, hexadecimal
-- column: found
select 1 as found
from events
where buildid = unhex($buildid)
limit 1
