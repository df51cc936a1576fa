-- Which stacks were recorded?
select id, frames, complete, truncated, status, native, python from stacks
