-- What are the frames of these stacks, and what tells each frame from others?
-- $ids: ids; null: all
-- column: id
-- column: frames, leaf first
-- column: keys, a hash of each frame
select id, frames, list_transform(frames, lambda f: hash(f)) as keys
from stacks
where $ids is null or list_contains($ids, id)
