-- Keeps one row for each stack id, where some are there more than once.
create table first_stacks as
select distinct on (id) id, frames, complete, truncated, status
from (
    select id, frames, complete, truncated, status from stack_files
    union all by name
    select id, frames, complete, truncated, status from stack_rows
);
create or replace view stack_files as select * from first_stacks where false;
create or replace view stack_rows as select * from first_stacks;
