"""Puts nearly sorted batches in order of time, copying only where they overlap.

Comes in: batches in the order they were read, each nearly sorted, each reaching back a little
behind the one before. Goes out: sorted pieces, none reaching into the next.
"""

from __future__ import annotations

from collections import deque

import numpy as np
import numpy.typing as npt
import pyarrow as pa


class OrderedPieces:
    """Rows that wait, as sorted pieces.

    `key` names a u64 column; None: the rows stay in the order of arrival.
    """

    def __init__(self, schema: pa.Schema, key: str | None) -> None:
        self.rows = 0
        self._schema = schema
        self._column = None if key is None else schema.get_field_index(key)
        self._pieces: deque[pa.RecordBatch] = deque()

    def add(self, batch: pa.RecordBatch) -> None:
        """Put a batch (at least one row) in its place."""
        self.rows += batch.num_rows
        if self._column is None:
            self._pieces.append(batch)
            return
        batch = self._sorted(batch)
        times = self._times(batch)
        late: list[pa.RecordBatch] = []
        newest = times[0]
        while self._pieces and self._times(self._pieces[-1])[-1] > times[0]:
            piece = self._pieces.pop()
            known = self._times(piece)
            newest = max(newest, known[-1])
            split = int(np.searchsorted(known, times[0], "right"))
            late.append(piece.slice(split))
            if split:
                self._pieces.append(piece.slice(0, split))
        if late:
            split = int(np.searchsorted(times, newest, "left"))
            overlapping = [*reversed(late), batch.slice(0, split)]
            table = pa.Table.from_batches(overlapping, self._schema).unify_dictionaries()
            merged = table.combine_chunks().to_batches()
            self._pieces.extend(self._sorted(piece) for piece in merged)
            batch = batch.slice(split)
        if batch.num_rows:
            self._pieces.append(batch)

    def newest(self) -> int:
        """The latest time that waits; there is at least one row."""
        return int(self._times(self._pieces[-1])[-1])

    def rows_up_to(self, time: int) -> int:
        """How many rows are at most this late."""
        rows = self.rows
        for piece in reversed(self._pieces):
            inside = int(np.searchsorted(self._times(piece), np.uint64(max(time, 0)), "right"))
            rows -= piece.num_rows - inside
            if inside:
                break
        return rows

    def take(self, rows: int) -> pa.Table:
        """Remove the first `rows` rows; the dictionaries of the table are unified."""
        taken: list[pa.RecordBatch] = []
        lacking = rows
        while lacking:
            piece = self._pieces.popleft()
            if piece.num_rows > lacking:
                self._pieces.appendleft(piece.slice(lacking))
                piece = piece.slice(0, lacking)
            taken.append(piece)
            lacking -= piece.num_rows
        self.rows -= rows
        return pa.Table.from_batches(taken, self._schema).unify_dictionaries()

    def clear(self) -> None:
        """Drop all."""
        self._pieces.clear()
        self.rows = 0

    def _times(self, batch: pa.RecordBatch) -> npt.NDArray[np.uint64]:
        times: npt.NDArray[np.uint64] = batch.column(self._column).to_numpy()
        return times

    def _sorted(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        times = self._times(batch)
        if bool(np.all(times[1:] >= times[:-1])):
            return batch
        # A stable sort of nearly sorted numbers takes linear time.
        return batch.take(pa.array(np.argsort(times, kind="stable")))


def sorted_table(batches: list[pa.RecordBatch], schema: pa.Schema, key: str | None) -> pa.Table:
    """All batches as one table in order of `key`."""
    pieces = OrderedPieces(schema, key)
    for batch in batches:
        pieces.add(batch)
    return pieces.take(pieces.rows)
