-- How many rows of stacks are there too many, of an id that is there already?
select count(*) - count(distinct id) as repeated from all_stacks
