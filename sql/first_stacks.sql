-- Keeps one row of each stack, where some are there more than once.
create table first_stacks as
select id, frames, complete, truncated, status, native, python from all_stacks
qualify row_number() over (partition by id) = 1;
create or replace view all_stacks as
select id, frames, complete, truncated, status, native, python from first_stacks;
