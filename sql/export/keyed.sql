-- What tells each frame from others, in stacks that a query returned as frames?
-- column: frames, leaf first
-- column: keys, a hash of each frame
select frames, list_transform(frames, lambda f: hash(f)) as keys
from given
