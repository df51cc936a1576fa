-- Was an executable with this build id recorded?
-- $buildid: of the executable, hexadecimal
-- column: found
select 1 as found
from all_events
where hex(buildid) = upper($buildid)
limit 1
