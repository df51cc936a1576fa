"""Keys: what makes events alike, each with a number that arrays are indexed by.

Comes in: a batch of records.EVENT. Goes out: for each event the number of its key. A look-up is a
hash of the columns and two places of a table, all on arrays; only keys never met before cost more.
"""

from __future__ import annotations

import secrets

import numpy as np
import numpy.typing as npt

from stacks_tui.columns import EventColumns, Events, by_column
from stacks_tui.kinds import Kind
from stacks_tui.live.cells import NONE, OTHER, OTHER_PID
from stacks_tui.live.stacks import OTHER_ID
from stacks_tui.records import EVENT, EventFlag

Ids = npt.NDArray[np.int32]
Words = npt.NDArray[np.uint64]

KEY = np.dtype(
    [
        ("ustack", "<u8"),
        ("kstack", "<u8"),
        ("wstack", "<u8"),
        ("tgid", "<u4"),
        ("pid", "<u4"),
        ("waker", "<u4"),
        ("state", "<u4"),  # bits of the kernel's; waits and slices only
        ("kind", "u1"),
        ("flags", "u1"),  # EventFlag.PREEMPTED or 0
        ("duration_bin", "i1"),
        ("amount_bin", "i1"),
        ("span", "<i4"),
    ]
)
"""A key: 48 bytes, six words."""

_MINIMUM = 1 << 13
_SLOTS_PER_KEY = 4
_TURNS = 4
"""Slots that a key may have: with this many, as good as every key has one."""

_COLUMNS = {
    name: int(EVENT.fields[name][1]) // 8  # type: ignore[index]  # EVENT has fields
    for name in ("duration", "amount", "ustack", "kstack", "word0", "tgid", "waker", "cpu")
}
"""Places of words in a record; `tgid` has `pid` with it, `waker` `state`, `cpu` all the rest."""


def _of(*kinds: Kind) -> npt.NDArray[np.bool_]:
    mask = np.zeros(256, np.bool_)
    mask[list(kinds)] = True
    return mask


_WAIT = _of(Kind.WAIT)
_OFF = _of(Kind.WAIT, Kind.SWITCH)
_FILES = (Kind.BLK_READ, Kind.BLK_WRITE, Kind.VFS_READ, Kind.VFS_WRITE)
_DURATION = _of(Kind.SWITCH, Kind.WAIT, *_FILES, Kind.TRACE_EXIT, Kind.TRACE_CLOSE)
"""Kinds whose times differ, and those whose amounts do: their powers of two are in the key."""
_AMOUNT = _of(Kind.WAIT, *_FILES, Kind.TCP_SEND, Kind.TCP_RECV, Kind.UDP_SEND, Kind.UDP_RECV)


def _exponents(values: Words) -> Words:
    return np.maximum(values, np.uint64(1)).astype(np.float64).view(np.uint64) >> np.uint64(52)


def binned(values: Words) -> npt.NDArray[np.int8]:
    """floor(log2(value)) of u64 values, 0 for 0."""
    return (_exponents(values).view(np.int64) - 1023).astype(np.int8)


def keys_of(events: Events, spans: npt.NDArray[np.int32] | None = None) -> npt.NDArray[np.void]:
    """The keys (dtype `KEY`) of events; `spans`: the numbers of their spans' names, or NONE."""
    keys = np.empty(len(events), KEY)
    kind = np.ascontiguousarray(events["kind"])
    wait, off = _WAIT[kind], _OFF[kind]
    for name in ("ustack", "kstack", "tgid", "pid"):
        keys[name] = events[name]
    keys["wstack"] = events["word0"] * wait
    keys["waker"] = events["waker"] * wait
    keys["state"] = events["state"] * off
    keys["kind"] = kind
    keys["flags"] = events["flags"] & np.uint8(EventFlag.PREEMPTED)
    duration = np.ascontiguousarray(events["duration"])
    amount = np.ascontiguousarray(events["amount"])
    if wait.any():
        duration = np.where(wait, duration - np.minimum(amount, duration), duration)
    keys["duration_bin"] = np.where(_DURATION[kind], binned(duration), NONE)
    keys["amount_bin"] = np.where(_AMOUNT[kind], binned(amount), NONE)
    keys["span"] = NONE if spans is None else spans
    return keys


class Keys:
    """All keys that are known. One thread uses it."""

    def __init__(self) -> None:
        self.table: npt.NDArray[np.void] = np.zeros(_MINIMUM, KEY)
        """Keys by number; the first `len` count."""
        self.level = 0
        """How much the keys of events leave out from now on (`coarser`)."""
        self._factors = [np.uint64(secrets.randbits(64) | 1) for _ in range(len(_COLUMNS) + 2)]
        none = np.zeros(256, np.uint64)
        self._by_kind = {
            "word0": np.where(_WAIT, self._factors[3], none),
            "waker": np.where(_OFF, self._factors[4], none),
            "duration": np.where(_DURATION, self._factors[6], none),
            "amount": np.where(_AMOUNT, self._factors[7], none),
        }
        self._hashes = np.zeros(_MINIMUM, np.uint64)
        self._size = 0
        self._make_slots()

    def __len__(self) -> int:
        return self._size

    @property
    def capacity(self) -> int:
        """Numbers stay below this until the table grows."""
        return len(self.table)

    def of_events(self, events: Events, spans: npt.NDArray[np.int32] | None = None) -> Ids:
        """The numbers of the keys of events (see `keys_of`); new ones get one."""
        events = by_column(events)
        hashes = self._hash_events(events, spans)
        ids = self._find(hashes)
        missing = np.flatnonzero(ids < 0)
        if len(missing):
            named = None if spans is None else spans[missing]
            keys = keys_of(events[missing], named)
            if self.level:
                keys = coarser(keys, self.level)
            ids[missing] = self._add(keys, hashes[missing])
        return ids

    def ids(self, keys: npt.NDArray[np.void]) -> Ids:
        """The numbers of these keys; new ones get one."""
        hashes = self._hash(keys)
        ids = self._find(hashes)
        missing = np.flatnonzero(ids < 0)
        if len(missing):
            ids[missing] = self._add(keys[missing], hashes[missing])
        return ids

    def keep(self, used: npt.NDArray[np.bool_]) -> Ids:
        """Forget all keys but those marked; returns new numbers by old ones (-1: gone)."""
        chosen = np.flatnonzero(used[: self._size])
        renamed = np.full(self._size, -1, np.int32)
        renamed[chosen] = np.arange(len(chosen), dtype=np.int32)
        capacity = _MINIMUM
        while capacity < len(chosen):
            capacity *= 2
        table, hashes = np.zeros(capacity, KEY), np.zeros(capacity, np.uint64)
        table[: len(chosen)] = self.table[chosen]
        hashes[: len(chosen)] = self._hashes[chosen]
        self.table, self._hashes, self._size = table, hashes, len(chosen)
        self._make_slots()
        return renamed

    def _hash_events(self, events: EventColumns, spans: npt.NDArray[np.int32] | None) -> Words:
        """A word of each column that counts for the event's kind, each times a secret factor."""
        words = events.words
        factors = self._factors
        task = words[_COLUMNS["tgid"]]  # and pid
        if self.level >= 3:
            task = task & np.uint64(0xFFFFFFFF)
        total = task * factors[2]
        if self.level < 2:
            total += words[_COLUMNS["ustack"]] * factors[0]
            total += words[_COLUMNS["kstack"]] * factors[1]
        last = words[_COLUMNS["cpu"]] >> np.uint64(16)  # without cpu: kind, flags
        flags = EventFlag.PREEMPTED << 8 if self.level < 2 else 0
        total += (last & np.uint64(0xFF | flags)) * factors[5]
        kind = (last & np.uint64(0xFF)).astype(np.intp)
        waker = words[_COLUMNS["waker"]]  # and state
        if self.level:
            waker = waker >> np.uint64(32)
        if self.level < 2:
            total += waker * self._by_kind["waker"].take(kind)
        if not self.level:
            total += words[_COLUMNS["word0"]] * self._by_kind["word0"].take(kind)
            duration, amount = words[_COLUMNS["duration"]], words[_COLUMNS["amount"]]
            run = np.minimum(amount, duration) * _WAIT.take(kind)
            total += _exponents(duration - run) * self._by_kind["duration"].take(kind)
            total += _exponents(amount) * self._by_kind["amount"].take(kind)
        if spans is not None and self.level < 3:
            total += spans.astype(np.uint64) * factors[8]
        found: Words = np.maximum(total, np.uint64(1))  # 0: a free slot
        return found

    def _hash(self, keys: npt.NDArray[np.void]) -> Words:
        words = keys.view(np.uint64).reshape(-1, KEY.itemsize // 8)
        total = words[:, 0] * self._factors[-1]
        for at in range(1, words.shape[1]):
            total += words[:, at] * self._factors[at - 1]
        found: Words = np.maximum(total, np.uint64(1))
        return found

    def _slots_of(self, hashes: Words, turn: int) -> npt.NDArray[np.intp]:
        """Where these may be, the first time, the second …"""
        if turn:
            hashes = (hashes ^ (hashes >> np.uint64(31))) * self._factors[turn]
        return (hashes >> np.uint64(self._shift)).astype(np.intp)

    def _find(self, hashes: Words) -> Ids:
        slots = self._slots_of(hashes, 0)
        found = self._slot_id.take(slots)
        found[self._slot_hash.take(slots) != hashes] = -1
        for turn in range(1, _TURNS):
            rest = np.flatnonzero(found < 0)
            if not len(rest):
                break
            wanted = hashes[rest]
            slots = self._slots_of(wanted, turn)
            same = self._slot_hash.take(slots) == wanted
            found[rest[same]] = self._slot_id.take(slots[same])
        return found

    def _add(self, keys: npt.NDArray[np.void], hashes: Words) -> Ids:
        unique, first, back = np.unique(hashes, return_index=True, return_inverse=True)
        spilled = self._spilled
        ids = np.full(len(unique), -1, np.int32)
        if spilled:
            ids[:] = [spilled.get(one, -1) for one in unique.tolist()]
        fresh = np.flatnonzero(ids < 0)
        if len(fresh):
            begin, end = self._size, self._size + len(fresh)
            if end > self.capacity:
                self._grow(end)
            self.table[begin:end] = keys[first[fresh]]
            self._hashes[begin:end] = unique[fresh]
            self._size = end
            ids[fresh] = np.arange(begin, end, dtype=np.int32)
            self._enter(unique[fresh], ids[fresh])
        return ids[back]

    def _grow(self, needed: int) -> None:
        capacity = self.capacity
        while capacity < needed:
            capacity *= 2
        table, hashes = np.zeros(capacity, KEY), np.zeros(capacity, np.uint64)
        table[: self._size] = self.table[: self._size]
        hashes[: self._size] = self._hashes[: self._size]
        self.table, self._hashes = table, hashes
        self._make_slots()

    def _make_slots(self) -> None:
        slots = self.capacity * _SLOTS_PER_KEY
        self._shift = 64 - (slots.bit_length() - 1)
        self._slot_hash = np.zeros(slots, np.uint64)
        self._slot_id = np.zeros(slots, np.int32)
        self._spilled: dict[int, int] = {}
        """Numbers by hash of the keys whose slots were all taken."""
        self._enter(self._hashes[: self._size], np.arange(self._size, dtype=np.int32))

    def _enter(self, hashes: Words, ids: Ids) -> None:
        rest = np.arange(len(hashes))
        for turn in range(_TURNS):
            slots = self._slots_of(hashes, turn)
            free = rest[self._slot_hash[slots[rest]] == 0]
            self._slot_hash[slots[free]] = hashes[free]  # of several for one slot the last stays
            self._slot_id[slots[free]] = ids[free]
            rest = rest[self._slot_hash[slots[rest]] != hashes[rest]]
        self._spilled.update(zip(hashes[rest].tolist(), ids[rest].tolist(), strict=True))


def coarser(keys: npt.NDArray[np.void], level: int) -> npt.NDArray[np.void]:
    """The keys with less in them: 1 no wakers and sizes, 2 no stacks, 3 no threads, 4 no processes.

    What is left out is marked as given way, where there was something.
    """
    found = keys.copy()
    found["wstack"][found["wstack"] != 0] = OTHER_ID
    found["waker"][found["waker"] != 0] = OTHER_PID
    for name in ("duration_bin", "amount_bin"):
        found[name][found[name] != NONE] = OTHER
    if level >= 2:
        for name in ("ustack", "kstack"):
            found[name] = OTHER_ID
        found["state"] = 0
        found["flags"] = 0
    if level >= 3:
        found["pid"] = OTHER_PID
        found["span"] = NONE
    if level >= 4:
        found["tgid"] = 0
    return found
