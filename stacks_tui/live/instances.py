"""Spans as arrays: instances with what each cost, and how long the closed ones took.

What a running session's book and a recording's queries both give. Durations are told apart by
sixteenths of a power of two, so a quantile of them is within 3 % of the true one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Instances = npt.NDArray[np.void]
"""dtype `INSTANCE`."""

COSTS = (
    "samples", "cpu", "blocked", "runnable", "read", "written", "block_read", "block_written",
    "sent", "received", "growth",
)  # fmt: skip
"""Of an instance itself, without its children's: ns, bytes, or a number (`samples`)."""

INSTANCE = np.dtype(
    [
        ("tgid", "<u4"),
        ("last_pid", "<u4"),
        ("span_id", "<u8"),
        ("parent_id", "<u8"),
        ("id", "<u8"),
        ("amount", "<u8"),
        ("begin", "<i8"),  # first enter, ns since the Unix epoch
        ("until", "<i8"),  # closed, or the end of its process; 0: open
        ("last", "<i8"),  # last sign of life
        ("busy", "<i8"),  # ns entered, up to now
        ("left", "<i8"),  # ns entered by its exits
        ("waiting", "<i8"),  # ns of `blocked` in waits that last: no event has told of them yet
        ("queued", "<i8"),  # likewise of `runnable`
        ("ustack", "<u8"),  # where it was seen last; of a task the awaits
        ("kstack", "<u8"),
        ("waker_span", "<u8"),  # of who ended its last wait
        ("waker", "<u4"),
        ("enters", "<u4"),
        ("chain", "<i4"),  # see `lineage`; of a recording 0
        ("name", "<i4"),  # places in the list of span names, or NONE
        ("parent_name", "<i4"),
        ("closed", "?"),
        ("since_seen", "?"),
        *((name, "<i8") for name in COSTS),
    ]
)

WITHIN = np.dtype([("tgid", "<u4"), ("of", "<i4"), ("spans", "<i8"), *((n, "<i8") for n in COSTS)])
"""Costs of all that lies in the spans of a name (`of`), of a process; `spans`: how many do."""
Within = npt.NDArray[np.void]
"""dtype `WITHIN`, each (tgid, of) once."""

KEPT_OF_NAME = 32
"""The longest of each name, of each process."""
PARTS = 16
"""Of a power of two."""


def bins_of(durations: npt.NDArray[np.integer]) -> Ints:
    """16 × the power of two, and the sixteenth: 0 for 0 and 1."""
    values = np.maximum(durations, 1).astype(np.float64)
    found: Ints = (values.view(np.int64) >> 48) - (1023 << 4)
    return found


def middle_of(place: int) -> int:
    """The middle of a bin, ns."""
    low, part = 1 << (place // PARTS), place % PARTS
    return low + (2 * part + 1) * low // (2 * PARTS)


@dataclass(frozen=True, slots=True)
class Durations:
    """Closed spans by process, name and bin: columns of one length, each (tgid, name, bin) once."""

    tgid: Ints
    name: Ints
    bin: Ints
    count: Ints
    total: Ints
    """ns, first entering to closing."""
    longest: Ints
    since_seen: Ints

    def __len__(self) -> int:
        return len(self.tgid)

    def take(self, chosen: npt.NDArray[np.generic]) -> Durations:
        """Those of these places, or where this mask is set."""
        return Durations(*(column[chosen] for column in self.columns()))

    def columns(self) -> tuple[Ints, ...]:
        """In the order of declaration."""
        return (
            self.tgid, self.name, self.bin, self.count, self.total, self.longest, self.since_seen
        )  # fmt: skip


def no_durations() -> Durations:
    """None."""
    return Durations(*(np.zeros(0, np.int64) for _ in range(7)))


def durations_of(closed: Instances) -> Durations:
    """What closed instances add up to."""
    took = closed["until"] - closed["begin"]
    one = np.ones(len(closed), np.int64)
    tgid, name = (closed[field].astype(np.int64) for field in ("tgid", "name"))
    seen = closed["since_seen"].astype(np.int64)
    return added([Durations(tgid, name, bins_of(took), one, took, took, seen)])


def added(parts: Sequence[Durations]) -> Durations:
    """The sums of all parts together."""
    parts = [part for part in parts if len(part)]
    if not parts:
        return no_durations()
    columns = [np.concatenate(of) for of in zip(*(part.columns() for part in parts), strict=True)]
    order = np.lexsort((columns[2], columns[1], columns[0]))
    tgid, name, place, count, total, longest, seen = (column[order] for column in columns)
    first = np.ones(len(order), np.bool_)
    first[1:] = (tgid[1:] != tgid[:-1]) | (name[1:] != name[:-1]) | (place[1:] != place[:-1])
    starts = np.flatnonzero(first)
    return Durations(
        tgid[starts],
        name[starts],
        place[starts],
        np.add.reduceat(count, starts),
        np.add.reduceat(total, starts),
        np.maximum.reduceat(longest, starts),
        np.add.reduceat(seen, starts),
    )


def joined_costs(parts: Sequence[Within]) -> Within:
    """The sums of all parts together, in the order of (tgid, of)."""
    every = np.concatenate([np.zeros(0, WITHIN), *parts])
    if not len(every):
        return every
    keys = (every["tgid"].astype(np.int64) << 32) + every["of"]
    order = np.argsort(keys, kind="stable")
    every, keys = every[order], keys[order]
    starts = np.flatnonzero(np.concatenate([[True], keys[1:] != keys[:-1]]))
    found: Within = every[starts]
    for name in ("spans", *COSTS):
        found[name] = np.add.reduceat(every[name], starts)
    return found


def longest(closed: Instances, most: int) -> Instances:
    """Of each process and name the `KEPT_OF_NAME` longest; fewer, if `most` are too few."""
    took = closed["until"] - closed["begin"]
    order = np.lexsort((closed["span_id"], -took, closed["name"], closed["tgid"]))
    closed = closed[order]
    begins = np.ones(len(closed), np.bool_)
    begins[1:] = (closed["name"][1:] != closed["name"][:-1]) | (
        closed["tgid"][1:] != closed["tgid"][:-1]
    )
    starts = np.flatnonzero(begins)
    rank = np.arange(len(closed)) - starts[np.cumsum(begins) - 1] if len(closed) else took
    kept = KEPT_OF_NAME
    while kept > 1 and np.count_nonzero(rank < kept) > most:
        kept //= 2
    found: Instances = closed[rank < kept][:most]
    return found


@dataclass(frozen=True, slots=True)
class SpanSlice:
    """The spans of a span of time."""

    durations: Durations
    """Of those that were closed in it."""
    closed: Instances
    """The longest of these."""
    open: Instances
    """Open at its end (live: now)."""
    end: int
    """ns since the Unix epoch: up to which the open ones last."""
    evicted: int = 0
    """Open ones that gave way to bounded memory."""
    within: Within | None = None
    """What it cost, children included, by name; None: not asked for."""
    astray: int = 0
    """Spans whose costs are in none of these, for programs nest them in too many ways."""
