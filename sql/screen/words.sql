-- What are the views, their columns and the macros called?
-- column: word
select distinct word
from (
    select view_name as word from duckdb_views() where not internal
    union all
    select column_name from duckdb_columns() where not internal
    union all
    select function_name from duckdb_functions() where not internal and macro_definition is not null
)
where not regexp_full_match(word, '(event|stack|process)_(files|rows)')
order by word
