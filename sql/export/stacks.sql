-- What are the frames of these stacks, and what tells each frame from others?
-- $ids: ids; null: all
-- $shown: which frames of Python programs, as shown_frames has it
-- column: id
-- column: frames, leaf first
-- column: keys, a hash of each frame
select id, frames, list_transform(frames, lambda f: hash(f)) as keys
from (select id, shown_frames(frames, native, $shown) as frames from stacks)
where $ids is null or list_contains($ids, id)
