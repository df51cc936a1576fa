-- What are the names and addresses of the frames of each stack?
-- column: id
-- column: names, leaf first
-- column: addresses, starts of symbols
-- column: offsets, from there on
select id, list_transform(frames, lambda f: f.name) as names,
       list_transform(frames, lambda f: f.address) as addresses,
       list_transform(frames, lambda f: f."offset") as offsets
from stacks
