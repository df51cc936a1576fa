"""The frames of stack ids, for tables: a query's rows stay narrow until they are written.

Comes in: a recording, and batches with columns of ids. Goes out: the batches with lists in their
place: names, or frames (name, address, offset), leaf first. Each name is held once.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from stacks_tui.errors import UsageError
from stacks_tui.export.questions import Question, batches
from stacks_tui.export.task import Task
from stacks_tui.resources import read_sql
from stacks_tui.store.reader import Recording

_STACKS_PER_BATCH = 4_096


class StackLookup:
    """All stacks of one recording."""

    def __init__(self, recording: Recording, task: Task, *, addresses: bool) -> None:
        """`addresses`: `frames` will be asked for, too."""
        self._task = task
        # a stack 0 without frames, which no event has, stands for what is not there
        ids = [np.zeros(1, np.uint64)]
        lengths = [np.zeros(1, np.int32)]
        codes: list[npt.NDArray[np.int32]] = []
        places: list[list[npt.NDArray[np.uint64]]] = [[], []]
        known: dict[str, int] = {}
        relation = recording.sql(read_sql("export/frames.sql"))
        for batch in batches(relation, rows=_STACKS_PER_BATCH):
            ids.append(np.asarray(batch.column("id")))
            lengths.append(np.asarray(pc.list_value_length(batch.column("names"))))
            encoded = batch.column("names").flatten().fill_null("").dictionary_encode()
            renumbered = [
                known.setdefault(one, len(known)) for one in encoded.dictionary.to_pylist()
            ]
            codes.append(np.array(renumbered, np.int32)[np.asarray(encoded.indices)])
            for part, name in zip(places, ("addresses", "offsets"), strict=True):
                if addresses:
                    part.append(np.asarray(batch.column(name).flatten().fill_null(0)))
            task.step("reading stacks")
        found = np.concatenate(ids)
        self._order = np.argsort(found)
        self._ids = found[self._order]
        self._starts = np.concatenate([[0], np.cumsum(np.concatenate(lengths), dtype=np.int64)])
        self._codes = np.concatenate(codes)
        self._places = [np.concatenate(part) for part in places if part]
        self._names = pa.array(known, pa.string())

    def names(self, ids: pa.Array) -> pa.ListArray:
        """[n] lists of names; null for null, and for an id that the recording lacks."""
        at, offsets, lacking = self._gather(ids)
        return pa.ListArray.from_arrays(offsets, self._named(at), mask=lacking)

    def frames(self, ids: pa.Array) -> pa.ListArray:
        """[n] lists of (name, address, offset); empty for null, and for an id that is not there."""
        at, offsets, _ = self._gather(ids)
        fields = [self._named(at), *(pa.array(place[at]) for place in self._places)]
        frames = pa.StructArray.from_arrays(fields, ["name", "address", "offset"])
        return pa.ListArray.from_arrays(offsets, frames)

    def _named(self, at: npt.NDArray[np.int64]) -> pa.StringArray:
        return self._names.take(pa.array(self._codes[at]))

    def _gather(self, ids: pa.Array) -> tuple[npt.NDArray[np.int64], pa.Array, pa.Array]:
        """Places of all frames of these stacks, [n + 1] where each list begins in them, and which
        are not known."""
        wanted = np.asarray(ids.cast(pa.uint64()).fill_null(0))
        near = np.minimum(np.searchsorted(self._ids, wanted), len(self._ids) - 1)
        known = (wanted != 0) & (self._ids[near] == wanted)
        found = self._order[near]
        if (~known & (wanted != 0)).any():
            self._task.note("some stacks are not in the recording; their frames are left out.")
        lengths = np.where(known, self._starts[found + 1] - self._starts[found], 0)
        offsets = np.concatenate([[0], np.cumsum(lengths)])
        at = np.arange(offsets[-1]) + np.repeat(self._starts[found] - offsets[:-1], lengths)
        return at, pa.array(offsets, pa.int32()), pa.array(~known)


def with_stacks(batch: pa.RecordBatch, question: Question, stacks: StackLookup) -> pa.RecordBatch:
    """The batch with lists in place of the ids that the question names.

    Raises:
        UsageError: the query does not return such a column.
    """
    columns = dict(zip(batch.schema.names, batch.columns, strict=True))
    made = [(name, stacks.names) for name in question.names]
    made += [(name, stacks.frames) for name in question.frames]
    for name, make in made:
        given = columns.get(name)
        if given is None or not (pa.types.is_integer(given.type) or pa.types.is_null(given.type)):
            raise UsageError(
                f"{question.name}: its head promises the frames of {name!r}, so the query must "
                f"return ids in that column."
            )
        columns[name] = make(given)
    return pa.RecordBatch.from_arrays(list(columns.values()), list(columns))
