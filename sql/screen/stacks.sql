-- What are the frames of these stacks?
-- $ids: of stacks
-- column: id
-- column: frames, leaf first
-- column: complete, the outermost frame is a start of a thread or program
-- column: truncated
select id, frames, complete, truncated
from stacks
where id in (select unnest($ids)::ubigint)
