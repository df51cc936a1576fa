"""Sums by key and time, in bounded memory: seconds for a minute, tens for ten minutes, and all.

Comes in: numbers of keys with what each event adds. Goes out: for a span of time the sums by key.
When there are too many keys, the lightest give way to coarser ones; no event is ever left out.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from stacks_tui.live.keys import Ids, Keys, coarser

Ints = npt.NDArray[np.int64]

SECONDS_KEPT = 72
"""Single seconds: a minute, and what the tens may begin before."""
TENS_KEPT = 61
MOST_IN_SECOND = 1 << 14
MOST_IN_TEN = 1 << 15
MOST_KEYS = 1 << 18
"""About 100 MB with all that belongs to them."""
LEVELS = 4


@dataclass(frozen=True, slots=True)
class Sums:
    """Sums by key: columns of one length, each key once."""

    ids: Ids
    count: Ints
    duration: Ints
    amount: Ints

    def __len__(self) -> int:
        return len(self.ids)

    def renamed(self, names: Ids) -> Sums:
        """The same with new numbers of keys."""
        return Sums(names[self.ids], self.count, self.duration, self.amount)


@dataclass(frozen=True, slots=True)
class Cut:
    """Which of the tens and the single seconds make up a span."""

    tens: range
    seconds: range
    begin: int
    end: int


def cut(begin: int, end: int, now: int) -> Cut | None:
    """How a span, seconds since the Unix epoch, is made up when it is `now`, and what it became.

    None: it begins before what is kept.
    """
    if begin >= now - SECONDS_KEPT + 1:
        return Cut(range(0), range(begin, end), begin, end)
    begin -= begin % 10
    if begin < 10 * (now // 10 - TENS_KEPT + 1):
        return None
    last = min((now // 10) - 1, -(-end // 10) - 1)
    rest = 10 * (last + 1)
    end = max(end, min(rest, now + 1))
    return Cut(range(begin // 10, last + 1), range(rest, end), begin, end)


def no_sums() -> Sums:
    """Nothing."""
    none = np.zeros(0, np.int64)
    return Sums(np.zeros(0, np.int32), none, none, none)


def added(parts: list[Sums]) -> Sums:
    """The sums of all parts together."""
    parts = [part for part in parts if len(part)]
    if len(parts) < 2:
        return parts[0] if parts else no_sums()
    ids = np.concatenate([part.ids for part in parts])
    order = np.argsort(ids, kind="stable")
    ids = ids[order]
    starts = np.flatnonzero(np.concatenate([[True], ids[1:] != ids[:-1]]))
    columns = (
        np.add.reduceat(np.concatenate([getattr(part, name) for part in parts])[order], starts)
        for name in ("count", "duration", "amount")
    )
    return Sums(ids[starts], *columns)


class _Dense:
    """Sums of all keys, by their numbers: quick to add to."""

    def __init__(self, size: int) -> None:
        self.columns = np.zeros((3, size), np.int64)

    def reserve(self, size: int) -> None:
        if size > self.columns.shape[1]:
            bigger = np.zeros((3, size), np.int64)
            bigger[:, : self.columns.shape[1]] = self.columns
            self.columns = bigger

    def sums(self) -> Sums:
        ids = np.flatnonzero(self.columns[0])
        return Sums(ids.astype(np.int32), *self.columns[:, ids])

    def add(self, sums: Sums) -> None:
        for column, values in zip(
            self.columns, (sums.count, sums.duration, sums.amount), strict=True
        ):
            column[sums.ids] += values


class Buckets:
    """What happened when. One thread adds and asks."""

    def __init__(
        self,
        keys: Keys,
        on_sums: Callable[[int, npt.NDArray[np.uint8], Sums], None] = lambda *_: None,
    ) -> None:
        """`on_sums`: told of every second's sums, with the kind of each, once it is over."""
        self._keys = keys
        self._on_sums = on_sums
        self._now = 0
        """The second that is being added to; 0: none yet."""
        self._open = _Dense(keys.capacity)
        self._all = _Dense(keys.capacity)
        self._seconds: dict[int, Sums] = {}
        self._tens: dict[int, Sums] = {}
        """By the tens of seconds in which they begin."""

    @property
    def now(self) -> int:
        """The newest second, since the Unix epoch."""
        return self._now

    def add(self, second: int, ids: Ids, duration: Ints, amount: Ints) -> None:
        """Add events of one second, `advance`d to before; what each of them adds, by event."""
        if second == self._now:
            self._open.reserve(self._keys.capacity)
            _add_events(self._open.columns, ids, duration, amount)
            return
        unique, codes = np.unique(ids, return_inverse=True)  # told late by another CPU
        columns = np.zeros((3, len(unique)), np.int64)
        _add_events(columns, codes, duration, amount)
        self._all.reserve(self._keys.capacity)
        self._add_late(second, Sums(unique, *columns))

    def between(self, begin: int, end: int) -> tuple[Sums, int, int] | None:
        """The sums of a span, seconds since the Unix epoch, and what span it became.

        None: it begins before what is kept.
        """
        chosen = cut(begin, end, self._now)
        if chosen is None:
            return None
        parts = [self._open.sums()] if begin <= self._now < end else []
        parts += [part for ten, part in self._tens.items() if ten in chosen.tens]
        parts += [part for second, part in self._seconds.items() if second in chosen.seconds]
        return added(parts), chosen.begin, chosen.end

    def single(self, second: int) -> Sums:
        """The sums of one of the seconds that are kept."""
        if second == self._now:
            return self._open.sums()
        return self._seconds.get(second, no_sums())

    def ten(self, ten: int) -> Sums:
        """The sums of one of the tens of seconds that are kept."""
        parts = [self._tens.get(ten, no_sums())]
        if ten == self._now // 10:
            parts.append(self._open.sums())
        return added(parts)

    def everything(self) -> Sums:
        """The sums of the whole time."""
        return added([self._all.sums(), self._open.sums()])

    def advance(self, second: int) -> None:
        """What comes is of this second or before; numbers of keys may change."""
        if second <= self._now:
            return
        if self._now:
            self._close()
        for old in [one for one in self._seconds if one <= second - SECONDS_KEPT]:
            del self._seconds[old]
        for old in [one for one in self._tens if one <= second // 10 - TENS_KEPT]:
            del self._tens[old]
        self._now = second
        if len(self._keys) > MOST_KEYS:
            self._forget()

    def _close(self) -> None:
        """The open second becomes one of those that are kept; with its last, so do ten."""
        sums = self._fitted(self._open.sums(), MOST_IN_SECOND)
        self._open = _Dense(self._keys.capacity)
        self._all.reserve(self._keys.capacity)
        self._add_late(self._now, sums)

    def _add_late(self, second: int, sums: Sums) -> None:
        self._all.add(sums)
        self._on_sums(second, self._keys.table["kind"][sums.ids], sums)
        if second > self._now - SECONDS_KEPT:
            self._seconds[second] = added([self._seconds.get(second, no_sums()), sums])
        ten = second // 10
        if ten > self._now // 10 - TENS_KEPT:
            whole = added([self._tens.get(ten, no_sums()), sums])
            self._tens[ten] = self._fitted(whole, MOST_IN_TEN)

    def _fitted(self, sums: Sums, most: int) -> Sums:
        """At most so many keys, as far as coarser ones allow: the lightest give way."""
        for level in range(1, LEVELS + 1):
            if len(sums) <= most:
                break
            kept = np.zeros(len(sums), np.bool_)
            kept[np.argsort(self._weights(sums))[-most // 2 :]] = True
            sums = self._coarsened(sums, kept, level)
        return sums

    def _coarsened(self, sums: Sums, kept: npt.NDArray[np.bool_], level: int) -> Sums:
        gone = self._keys.table[sums.ids[~kept]]
        names = sums.ids.copy()
        names[~kept] = self._keys.ids(coarser(gone, level))
        once = [Sums(names[:0], *(np.zeros((3, 0), np.int64)))]
        for part in (kept, ~kept):
            order = np.argsort(names[part], kind="stable")
            chosen = np.flatnonzero(part)[order]
            ids = names[chosen]
            if len(ids):
                starts = np.flatnonzero(np.concatenate([[True], ids[1:] != ids[:-1]]))
                columns = (
                    np.add.reduceat(getattr(sums, name)[chosen], starts)
                    for name in ("count", "duration", "amount")
                )
                once.append(Sums(ids[starts], *columns))
        return added(once)

    def _weights(self, sums: Sums) -> npt.NDArray[np.float64]:
        """Each key's part of its kind: of its events, its time or its bytes, the most of these."""
        kinds = self._keys.table["kind"][sums.ids]
        weight = np.zeros(len(sums))
        for values in (sums.count, sums.duration, np.abs(sums.amount)):
            totals = np.bincount(kinds, weights=values, minlength=256)
            np.maximum(weight, values / np.maximum(totals, 1)[kinds], out=weight)
        return weight

    def _forget(self) -> None:
        """Drop keys that only the whole time still has, the lightest of them added up coarser."""
        whole = self._fitted(self._all.sums(), MOST_KEYS // 2)
        used = np.zeros(self._keys.capacity, np.bool_)
        for sums in (whole, *self._seconds.values(), *self._tens.values()):
            used[sums.ids] = True
        names = self._keys.keep(used)
        self._all = _Dense(self._keys.capacity)
        self._all.add(whole.renamed(names))
        self._open = _Dense(self._keys.capacity)
        self._seconds = {at: sums.renamed(names) for at, sums in self._seconds.items()}
        self._tens = {at: sums.renamed(names) for at, sums in self._tens.items()}

    def stacks(self) -> npt.NDArray[np.uint64]:
        """The ids of all stacks that a key has."""
        table = self._keys.table[: len(self._keys)]
        return np.unique(np.concatenate([table[name] for name in ("ustack", "kstack", "wstack")]))


def _add_events(
    columns: npt.NDArray[np.int64], ids: npt.NDArray[np.integer], duration: Ints, amount: Ints
) -> None:
    np.add.at(columns[0], ids, 1)
    np.add.at(columns[1], ids, duration)
    np.add.at(columns[2], ids, amount)
