"""Events by column: arrays that are quick to work on, made of records that lie one after another.

Comes in: `records.EVENT`s, or their words as the ring has them. Goes out: each field as an array of
its own. A record is transposed once, in blocks that stay in the processor's cache.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, overload

import numpy as np
import numpy.typing as npt

from stacks_tui.records import EVENT

WORDS = EVENT.itemsize // 8
"""Of an event, u64."""

Words = npt.NDArray[np.uint64]
Places = npt.NDArray[np.integer[Any]] | npt.NDArray[np.bool_]


class EventColumns:
    """Events: `events["time"]` is an array, `events[places]` the events at these places."""

    __slots__ = ("_narrow", "words")

    def __init__(self, words: Words) -> None:
        self.words = words
        """(WORDS, n): the words of `records.EVENT`, each contiguous."""
        self._narrow: dict[str, npt.NDArray[Any]] = {}

    def __len__(self) -> int:
        return len(self.words[0])

    @overload
    def __getitem__(self, what: str) -> npt.NDArray[Any]: ...

    @overload
    def __getitem__(self, what: slice | Places) -> EventColumns: ...

    def __getitem__(self, what: str | slice | Places) -> npt.NDArray[Any] | EventColumns:
        if isinstance(what, str):
            return self._field(what)
        if isinstance(what, slice):
            return EventColumns(self.words[:, what])
        places = np.flatnonzero(what) if what.dtype == np.bool_ else what
        return EventColumns(self.words.take(places, axis=1))

    def records(self) -> npt.NDArray[np.void]:
        """The same as `records.EVENT`s."""
        return np.ascontiguousarray(self.words.T).view(EVENT).reshape(-1)

    def _field(self, name: str) -> npt.NDArray[Any]:
        kind, offset = EVENT.fields[name][:2]  # type: ignore[index]
        word: npt.NDArray[Any] = self.words[offset // 8]
        if kind.itemsize == 8:
            return word
        found = self._narrow.get(name)
        if found is None:
            parts = word.view(kind)[offset % 8 // kind.itemsize :: 8 // kind.itemsize]
            found = self._narrow[name] = np.ascontiguousarray(parts)
        return found


Events = EventColumns | npt.NDArray[np.void]
"""By column, or as `records.EVENT`s."""


def by_column(events: Events) -> EventColumns:
    """The same events by column."""
    if isinstance(events, EventColumns):
        return events
    rows = np.ascontiguousarray(events, EVENT).view(np.uint64).reshape(-1, WORDS)
    return EventColumns(np.ascontiguousarray(rows.T))


def joined(parts: Sequence[EventColumns]) -> EventColumns:
    """All of them, one after another; at least one."""
    if len(parts) == 1:
        return parts[0]
    return EventColumns(np.concatenate([part.words for part in parts], axis=1))


class EventBuffer:
    """Room for events that come in parts."""

    def __init__(self, size: int) -> None:
        self.size = size
        self.count = 0
        self._words: Words = np.empty((WORDS, size), np.uint64)

    @property
    def room(self) -> int:
        """How many more there is place for."""
        return self.size - self.count

    def add(self, rows: Words) -> None:
        """Add events, (n, WORDS), at most `room`; best some thousands at a time."""
        end = self.count + len(rows)
        self._words[:, self.count : end] = rows.T
        self.count = end

    def drop_last(self) -> None:
        """Forget the newest one."""
        self.count -= 1

    def newest(self, count: int) -> EventColumns:
        """A view of the last `count` events."""
        return EventColumns(self._words[:, self.count - count : self.count])

    def take(self) -> EventColumns:
        """All events; the buffer is empty then."""
        words = self._words[:, : self.count]
        if 2 * self.count < self.size:
            words = words.copy()  # few: their room is used again
        else:
            self._words = np.empty((WORDS, self.size), np.uint64)
        self.count = 0
        return EventColumns(words)
