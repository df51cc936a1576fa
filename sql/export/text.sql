-- How are these values written?
-- column: text, null where the value is
select value::varchar as text
from given
