-- How many stacks are there more than once? (The kernel forgets which it has told of, and tells again.)
-- column: repeated, rows too many
select count(*) - count(distinct id) as repeated
from (select id from stack_files union all select id from stack_rows)
