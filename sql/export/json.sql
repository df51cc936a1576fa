-- What are these values as JSON text?
-- column: json, null where the value is
select to_json(value)::varchar as json
from given
