-- All rows of stacks, from whole files and from elsewhere.
create view all_stacks as
select id, frames, complete, truncated, status, native, python from stack_files
union all by name
select id, frames, complete, truncated, status, native, python from stack_rows;
