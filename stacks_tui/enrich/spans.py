"""What an event's span is: its parent, id, name and amount, joined from the record that told of it.

Comes in: the records of the events ring in the ring's order. Goes out: the events among them, and
columns for them. A span is told before anything bears it, and tells itself from an earlier one of
the same id by the time of its first enter: so a label is right, or null.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol, TypeVar

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from stacks_tui.columns import EventColumns, Events, by_column
from stacks_tui.enrich.processes import readable
from stacks_tui.enrich.timeline import dictionary_array
from stacks_tui.kinds import Kind
from stacks_tui.records import EVENT, EventFlag, RecordCode

MOST_OPEN = 1 << 20
"""Open spans that are kept (64 MB); beyond, the oldest are evicted."""
MOST_CLOSED = 1 << 15
"""Closed ones that are kept: a wait that a span's close did not end comes after that."""
MOST_NAMES = 1 << 16
"""Names at which those that no span has any more are forgotten."""
NAME_BYTES = 63
"""What the kernel side keeps of a name."""

_FIRST_CODE = int(RecordCode.SPAN)
SPAN = np.dtype(
    [
        ("first", "<u8"),  # enter, ns, CLOCK_MONOTONIC
        ("span_id", "<u8"),
        ("parent_id", "<u8"),
        ("id", "<u8"),
        ("amount", "<u8"),
        ("tgid", "<u4"),
        ("born", "<u4"),
        ("pid", "<u4"),
        ("image", "<u4"),  # how often its process has exec'd
        ("name", "<i4"),
        ("seen", "?"),
        ("open", "?"),
    ]
)
"""A span as it was told when it was entered first."""
_NONE = np.zeros(0, EVENT)
_WORDS = 8
_NAMELESS = 0

_NAME = pa.dictionary(pa.int32(), pa.string())

T = TypeVar("T", bound=np.generic)
Closes = npt.NDArray[np.void]
"""`records.EVENT`s."""
Places = npt.NDArray[np.int64]


class State(Protocol):
    """What the kernel side knows of a span (`capture.spans.SpanState`)."""

    @property
    def first(self) -> int:
        """When it was entered first, ns, CLOCK_MONOTONIC."""

    @property
    def busy(self) -> int:
        """ns entered."""

    @property
    def amount(self) -> int:
        """As told last."""

    @property
    def enters(self) -> int:
        """How often it was entered."""

    @property
    def pid(self) -> int:
        """The thread that did last."""


@dataclass(frozen=True, slots=True)
class SpanColumns:
    """Columns of a batch of events, of its length; null: no span, or not known."""

    parent_id: pa.Array
    id: pa.Array
    trace_name: pa.DictionaryArray
    """int32 → string."""


@dataclass(frozen=True, slots=True)
class Opened:
    """Spans that were told for the first time, in the order of that."""

    spans: npt.NDArray[np.void]
    """dtype `SPAN`."""
    names: pa.DictionaryArray

    def __len__(self) -> int:
        return len(self.spans)


class Spans:
    """The spans of a recording that are open, and those lately closed. Used by one thread."""

    def __init__(self, take: Callable[[int, int, int, int], State | None]) -> None:
        """`take`: the kernel side's state, forgotten there with that.

        It is asked for by tgid, image (how often the process has exec'd), span_id and born.
        """
        self._take = take
        self.evicted = 0
        """Spans that gave way to others before they closed: their busy time is not known."""
        self.unknown_close = 0
        """Closes of spans that were never seen to be entered."""
        self._table: npt.NDArray[np.void] = np.zeros(1024, SPAN)
        self._keys = np.zeros(1024, np.uint64)
        self._count = 0
        self._closed = 0
        self._told = 0
        """How many of the newest `opened` is to tell."""
        self._factors = _odd(3)
        self._names = _Names()

    def take_in(self, records: Events) -> tuple[EventColumns, Closes]:
        """The events among records in the ring's order; what tells of spans is taken in.

        The second part: closes of spans that a process left open when it ended, and those that the
        kernel side could not tell whole.
        """
        self._told = 0
        records = by_column(records)
        kinds = records["kind"]
        special = kinds >= _FIRST_CODE
        if not special.any():
            self._close(records, kinds)
            return records, _NONE
        opened = np.flatnonzero(kinds == RecordCode.SPAN)
        if len(opened):
            self._open(records[opened], records[opened + 1])
        events = records[~special]
        self._close(events, kinds[~special])
        added = [self._unknown(records[kinds == RecordCode.UNKNOWN_CLOSE])]
        ends = records[kinds == RecordCode.PROCESS_ENDED]
        added += [
            self._abandoned(tgid, time)
            for tgid, time in zip(ends["tgid"].tolist(), ends["time"].tolist(), strict=True)
        ]
        return events, np.concatenate(added)

    def opened(self) -> Opened:
        """Those that the records taken in last have told of."""
        spans = self._table[self._count - self._told : self._count].copy()
        return Opened(spans, self._names.array(spans["name"]))

    def columns(self, events: Events) -> SpanColumns:
        """Parents, ids and names of the spans of a batch of records.EVENT."""
        count = len(events)
        found = self._find(events)
        valid = found >= 0
        if not valid.any():
            nothing = pa.nulls(count, pa.uint64())
            return SpanColumns(nothing, nothing, pa.nulls(count, _NAME))
        spans = self._table[: max(self._count, 1)]
        names = np.where(valid, spans["name"].take(found, mode="clip"), np.int32(_NAMELESS))
        return SpanColumns(
            _words(spans["parent_id"].take(found, mode="clip"), valid),
            _words(spans["id"].take(found, mode="clip"), valid),
            self._names.array(names.astype(np.int32)),
        )

    def drop_old(self) -> None:
        """Forget closed spans that nothing bears any more; after each batch."""
        self._told = 0
        if self._closed > 2 * MOST_CLOSED or self._count - self._closed > MOST_OPEN:
            self._compact()

    def unfinished(self, now: int) -> Closes:
        """Closes (flag OPEN) at `now` of all open spans, which the kernel side knows no longer."""
        places = np.flatnonzero(self._table["open"][: self._count])
        self._mark_closed(places)
        self.evicted += len(places)
        closes = _closes(self._table[places], now)
        closes["flags"] |= np.uint8(EventFlag.OPEN)
        return closes

    # ---- coming in

    def _open(self, told: EventColumns, names: EventColumns) -> None:
        count, new = self._count, len(told)
        if count + new > len(self._table):
            size = max(2 * len(self._table), count + new)
            self._table = _grown(self._table, size)
            self._keys = _grown(self._keys, size)
        spans = self._table[count : count + new]
        for name, source in (
            ("first", "time"),
            ("span_id", "span_id"),
            ("parent_id", "word1"),
            ("id", "word0"),
            ("amount", "amount"),
            ("tgid", "tgid"),
            ("born", "span_born"),
            ("pid", "pid"),
            ("image", "waker"),
        ):
            spans[name] = told[source]
        # told again where the first time found no room: it began at the first enter all the same
        first = (spans["first"] & ~np.uint64(0xFFFFFFFF)) | spans["born"]
        spans["first"] = first - np.where(first > spans["first"], np.uint64(1 << 32), np.uint64(0))
        spans["seen"] = told["flags"] & np.uint8(EventFlag.SINCE_SEEN) != 0
        spans["open"] = True
        spans["name"] = self._names.codes(np.ascontiguousarray(names.words[:_WORDS].T))
        self._keys[count : count + new] = self._key(spans["span_id"], spans["tgid"], spans["born"])
        self._count = count + new
        self._told = new

    def _close(self, events: Events, kinds: npt.NDArray[np.uint8]) -> None:
        closes = kinds == Kind.TRACE_CLOSE
        if closes.any():
            self._mark_closed(self._find(events[closes]))

    def _mark_closed(self, places: Places) -> None:
        places = places[places >= 0]
        places = places[self._table["open"][places]]
        self._table["open"][places] = False
        self._closed += len(places)

    def _unknown(self, closes: EventColumns) -> Closes:
        """Closes of spans that the kernel side doesn't know: evicted there, or never entered."""
        if not len(closes):
            return _NONE
        open_places = np.flatnonzero(self._table["open"][: self._count])
        spans = self._table[open_places]
        none = np.zeros(1, np.uint32)
        found = _index(
            self._key(closes["span_id"], closes["tgid"], none),
            self._key(spans["span_id"], spans["tgid"], none),
        )
        places = open_places[found[found >= 0]]
        closes = closes[found >= 0]
        self.unknown_close += int((found < 0).sum())
        self.evicted += len(places)
        self._mark_closed(places)
        ended = _closes(self._table[places], closes["time"])
        for name in ("pid", "cpu"):
            ended[name] = closes[name]
        return ended

    def _abandoned(self, tgid: int, time: int) -> Closes:
        """Closes of what a process had open when it ended."""
        table = self._table[: self._count]
        places = np.flatnonzero(
            table["open"] & (table["tgid"] == tgid) & (table["first"] <= np.uint64(time))
        )
        if not len(places):
            return _NONE
        self._mark_closed(places)
        spans = table[places]
        closes = _closes(spans, time)
        closes["flags"] |= np.uint8(EventFlag.OPEN)
        for at, key in enumerate(spans[["image", "span_id", "born"]].tolist()):
            state = self._take(tgid, *key)
            if state is None:
                self.evicted += 1
                continue
            closes[at]["duration"] = time - state.first
            closes[at]["word0"], closes[at]["state"] = state.busy, state.enters
            closes[at]["amount"], closes[at]["pid"] = state.amount, state.pid
        return closes

    # ---- looking up

    def _key(
        self,
        span_id: npt.NDArray[np.uint64],
        tgid: npt.NDArray[np.uint32],
        born: npt.NDArray[np.uint32],
    ) -> npt.NDArray[np.uint64]:
        first, second, third = self._factors
        keys: npt.NDArray[np.uint64] = span_id * first + tgid * second + born * third
        return keys

    def _find(self, events: Events) -> Places:
        """The place of each event's span in the table; -1: it has none, or it isn't known."""
        span_id = np.ascontiguousarray(events["span_id"])
        places = np.full(len(events), -1, np.int64)
        if not self._count or not span_id.any():
            return places
        labelled = np.flatnonzero(span_id)
        if len(labelled) < len(events):
            span_id = span_id[labelled]
        tgid = events["tgid"][labelled]
        born = events["span_born"][labelled]
        found = _index(self._key(span_id, tgid, born), self._keys[: self._count])
        table = self._table
        right = (
            (found >= 0)
            & (table["span_id"][found] == span_id)
            & (table["tgid"][found] == tgid)
            & (table["born"][found] == born)
        )
        places[labelled] = np.where(right, found, -1)
        return places

    def _compact(self) -> None:
        table = self._table[: self._count]
        open_places = np.flatnonzero(table["open"])
        excess = len(open_places) - MOST_OPEN
        if excess > 0:
            table["open"][open_places[:excess]] = False
            self.evicted += excess
            open_places = open_places[excess:]
        closed = np.flatnonzero(~table["open"])[-MOST_CLOSED:]
        kept = np.sort(np.concatenate([open_places, closed]))
        self._table = _grown(table[kept], max(1024, len(kept)))
        self._keys = _grown(self._keys[kept], len(self._table))
        self._count, self._closed = len(kept), len(closed)
        self._names.forget_others(self._table["name"][: self._count])


class _Names:
    """Names of spans, each once; 0 stands for none."""

    def __init__(self) -> None:
        self._factors = _odd(_WORDS)
        self._words = np.zeros((1, _WORDS), np.uint64)
        self._hashes = np.zeros(1, np.uint64)
        self._texts: list[str | None] = [None]
        self._dictionary: pa.Array | None = None

    def codes(self, words: npt.NDArray[np.uint64]) -> npt.NDArray[np.int32]:
        """The code of each name: (n, 8) u64, its bytes with NULs behind."""
        with np.errstate(over="ignore"):
            hashes = (words * self._factors).sum(axis=1, dtype=np.uint64)
        found = _index(hashes, self._hashes)
        new = np.flatnonzero(found < 0)
        if len(new):
            _, first = np.unique(hashes[new], return_index=True)
            chosen = new[first]
            self._words = np.concatenate([self._words, words[chosen]])
            self._hashes = np.concatenate([self._hashes, hashes[chosen]])
            self._texts += [_text(one.tobytes()) for one in words[chosen]]
            self._dictionary = None
            found[new] = _index(hashes[new], self._hashes)
        wrong = (self._words[found] != words).any(axis=1)
        found[wrong] = _NAMELESS  # two names of one hash: better none
        return found.astype(np.int32)

    def array(self, codes: npt.NDArray[np.int32]) -> pa.DictionaryArray:
        """An Arrow dictionary array (int32) of these codes' names."""
        used = np.array([code for code in np.unique(codes).tolist() if self._texts[code]], np.int32)
        dictionary = pa.array([self._texts[code] for code in used.tolist()], pa.string())
        places = np.searchsorted(used, codes).astype(np.int32)
        valid = np.append(used, np.int32(-1)).take(places) == codes
        return dictionary_array(places, valid, dictionary)

    def forget_others(self, codes: npt.NDArray[np.int32]) -> None:
        """Only these are used any more; `codes` are changed into the new ones."""
        if len(self._texts) < MOST_NAMES:
            return
        used = np.unique(np.append(codes, np.int32(_NAMELESS)))
        codes[:] = np.searchsorted(used, codes)
        self._words = self._words[used]
        self._hashes = self._hashes[used]
        self._texts = [self._texts[code] for code in used.tolist()]


def _text(raw: bytes) -> str | None:
    """A name as valid UTF-8; a character that the kernel side cut is left out."""
    raw = raw.partition(b"\0")[0]
    if len(raw) >= NAME_BYTES:
        for back in range(1, 4):
            last = raw[-back]
            if last & 0xC0 == 0xC0:  # the first byte of a character of several
                needed = 2 if last < 0xE0 else 3 if last < 0xF0 else 4
                raw = raw[:-back] if back < needed else raw
                break
            if last < 0x80:
                break
    return readable(raw.decode("utf-8", "surrogateescape")) or None


def _closes(spans: npt.NDArray[np.void], time: int | npt.NDArray[np.uint64]) -> Closes:
    """Closes of spans at a time, with what is known without the kernel side."""
    events = np.zeros(len(spans), EVENT)
    events["time"] = time
    events["duration"] = events["time"] - spans["first"]
    events["kind"] = Kind.TRACE_CLOSE
    events["flags"] = spans["seen"] * np.uint8(EventFlag.SINCE_SEEN)
    events["span_born"] = spans["born"]
    for name in ("span_id", "amount", "tgid", "pid"):
        events[name] = spans[name]
    return events


def _index(values: npt.NDArray[np.uint64], among: npt.NDArray[np.uint64]) -> Places:
    """The place of each value among others, -1: it isn't there."""
    found = pc.index_in(pa.array(values), value_set=pa.array(among))
    places: Places = found.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int64)
    return places


def _words(values: npt.NDArray[np.uint64], valid: npt.NDArray[np.bool_]) -> pa.Array:
    return pa.array(values, pa.uint64(), mask=~valid | (values == 0))


def _grown(array: npt.NDArray[T], size: int) -> npt.NDArray[T]:
    larger: npt.NDArray[T] = np.zeros(size, array.dtype)
    larger[: len(array)] = array
    return larger


def _odd(count: int) -> list[np.uint64]:
    return [np.uint64(secrets.randbits(64) | 1) for _ in range(count)]
