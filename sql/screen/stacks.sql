-- What are the frames of these stacks?
-- $ids: of stacks
-- column: id
-- column: frames, leaf first
-- column: native, with the interpreter's frames, where frames has Python's in their place
-- column: complete, the outermost frame is a start of a thread or program
-- column: truncated
select id, frames, native, complete, truncated
from stacks
where id in (select unnest($ids)::ubigint)
