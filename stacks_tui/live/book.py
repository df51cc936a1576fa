"""The book of spans: which are open, what each cost, which closed ones took longest.

Comes in: batches of events, of which those with a label count. Goes out: `SpanSlice`s. A batch is
summed by instance in arrays and merged into the table of the open ones; memory is bounded.
"""

from __future__ import annotations

import secrets

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from stacks_tui.kinds import Kind
from stacks_tui.live.buckets import SECONDS_KEPT, TENS_KEPT, cut
from stacks_tui.live.cells import NONE
from stacks_tui.live.instances import (
    COSTS,
    INSTANCE,
    Durations,
    Instances,
    Ints,
    SpanSlice,
    added,
    durations_of,
    longest,
    no_durations,
)
from stacks_tui.records import EventFlag

MOST_OPEN = 1 << 16
"""As the kernel side keeps; of more, those that were not seen for longest give way."""
MOST_IN_SECOND, MOST_IN_TEN, MOST_AT_ALL = 512, 1024, 1 << 13
"""Closed instances that are kept."""
MOST_DURATIONS = 1 << 16
MOST_CLOSED = 1 << 16
"""Keys that are remembered as closed: what is told of them late opens nothing."""
_S = 10**9

_ADDED: dict[str, tuple[tuple[Kind, ...], str]] = {
    "cpu": ((Kind.PROFILE,), "duration"),
    "runnable": ((Kind.WAIT,), "amount"),
    "read": ((Kind.VFS_READ,), "amount"),
    "written": ((Kind.VFS_WRITE,), "amount"),
    "block_read": ((Kind.BLK_READ,), "amount"),
    "block_written": ((Kind.BLK_WRITE,), "amount"),
    "sent": ((Kind.TCP_SEND, Kind.UDP_SEND), "amount"),
    "received": ((Kind.TCP_RECV, Kind.UDP_RECV), "amount"),
}
"""Cost → what of which kinds is added up."""


class Book:
    """One thread adds and asks."""

    def __init__(self) -> None:
        self._factors = [np.uint64(secrets.randbits(64) | 1) for _ in range(3)]
        self._keys = np.zeros(0, np.uint64)
        """Of the open ones, sorted."""
        self._open: Instances = np.zeros(0, INSTANCE)
        self._gone = np.zeros(0, np.uint64)
        """Keys of the newest closed ones."""
        self._seconds: dict[int, tuple[Durations, Instances]] = {}
        self._tens: dict[int, tuple[Durations, Instances]] = {}
        self._all: tuple[Durations, Instances] = _nothing()
        self._now = 0
        self._newest = 0
        self._evicted = 0

    def advance(self, second: int) -> None:
        """It is this second now, since the Unix epoch."""
        if second <= self._now:
            return
        self._now = second
        for old in [one for one in self._seconds if one <= second - SECONDS_KEPT]:
            del self._seconds[old]
        for old in [one for one in self._tens if one <= second // 10 - TENS_KEPT]:
            del self._tens[old]

    def add(
        self,
        events: npt.NDArray[np.void],
        rows: pa.RecordBatch,
        names: npt.NDArray[np.int32] | None,
        offset: int,
    ) -> None:
        """Add a batch of records.EVENT in order of time, and the same as schema.EVENTS.

        `names`: numbers of the spans' names; `offset`: from the events' times to the Unix epoch.
        """
        self._newest = max(self._newest, int(events["time"][-1]) + offset)
        places = np.flatnonzero(events["span_id"])
        if not len(places):
            return
        keys = self._keys_of(events["tgid"], events["span_id"], events["span_born"])[places]
        order = np.argsort(keys, kind="stable")
        places, keys = places[order], keys[order]
        starts = np.flatnonzero(np.concatenate([[True], keys[1:] != keys[:-1]]))
        table = pa.Table.from_batches([rows]).take(pa.array(places))
        found = _summed(events[places], table, None if names is None else names[places], starts)
        for name in ("begin", "last", "until"):
            found[name] += offset * (found[name] > 0)
        self._merge(keys[starts], found, _proof(events["kind"][places], starts))

    def slice(self, begin: int, end: int, *, whole: bool) -> SpanSlice | None:
        """The spans of a span, seconds since the Unix epoch; None: it is no longer kept.

        `whole`: all of the time.
        """
        parts = [self._all]
        if not whole:
            chosen = cut(begin, end, self._now)
            if chosen is None:
                return None
            parts = [part for ten, part in self._tens.items() if ten in chosen.tens]
            parts += [part for second, part in self._seconds.items() if second in chosen.seconds]
        closed = np.concatenate([np.zeros(0, INSTANCE), *(part for _, part in parts)])
        durations = added([part for part, _ in parts])
        kept = longest(closed, MOST_AT_ALL)
        now = max(self._newest, self._now * _S)  # where nothing happens, time goes on
        return SpanSlice(durations, kept, self._open.copy(), now, self._evicted)

    def stacks(self) -> npt.NDArray[np.uint64]:
        """The ids of all stacks that an instance has."""
        kept = [self._open, self._all[1]]
        kept += [part for some in (self._seconds, self._tens) for _, part in some.values()]
        return np.unique(np.concatenate([one[name] for one in kept for name in _STACKS]))

    def _keys_of(self, *columns: npt.NDArray[np.integer]) -> npt.NDArray[np.uint64]:
        total = np.zeros(len(columns[0]), np.uint64)
        for factor, column in zip(self._factors, columns, strict=False):
            mixed = (total ^ column.astype(np.uint64)) * factor
            total = mixed ^ (mixed >> np.uint64(32))
        return total

    def _merge(
        self, keys: npt.NDArray[np.uint64], found: Instances, proof: npt.NDArray[np.bool_]
    ) -> None:
        at = np.searchsorted(self._keys, keys)
        known = at < len(self._keys)
        known[known] = self._keys[at[known]] == keys[known]
        _add(self._open, at[known], found[known])
        fresh = ~known & proof & ~np.isin(keys, self._gone)
        if fresh.any():
            self._keys = np.concatenate([self._keys, keys[fresh]])
            order = np.argsort(self._keys)
            self._keys = self._keys[order]
            self._open = np.concatenate([self._open, found[fresh]])[order]
        if found["closed"].any():
            self._close()
        if len(self._open) > MOST_OPEN:
            kept = np.sort(np.argsort(self._open["last"])[-MOST_OPEN * 7 // 8 :])
            self._evicted += len(self._open) - len(kept)
            self._open, self._keys = self._open[kept], self._keys[kept]

    def _close(self) -> None:
        """Those that are closed leave the table of the open ones."""
        gone = self._open["closed"]
        self._name_parents(gone)
        closed = self._open[gone]
        self._gone = np.concatenate([self._gone, self._keys[gone]])[-MOST_CLOSED:]
        self._open, self._keys = self._open[~gone], self._keys[~gone]
        seconds = closed["until"] // _S
        for second in np.unique(seconds).tolist():
            self._keep(second, closed[seconds == second])

    def _keep(self, second: int, closed: Instances) -> None:
        new = durations_of(closed), closed
        if second > self._now - SECONDS_KEPT:
            before = self._seconds.get(second, _nothing())
            self._seconds[second] = _together(before, new, MOST_IN_SECOND)
        ten = second // 10
        if ten > self._now // 10 - TENS_KEPT:
            self._tens[ten] = _together(self._tens.get(ten, _nothing()), new, MOST_IN_TEN)
        self._all = _together(self._all, new, MOST_AT_ALL)

    def _name_parents(self, chosen: npt.NDArray[np.bool_]) -> None:
        """While the parents are still there, as a rule."""
        numbers = self._keys_of(self._open["tgid"], self._open["span_id"])
        order = np.argsort(numbers)
        wanted = self._keys_of(self._open["tgid"][chosen], self._open["parent_id"][chosen])
        at = np.minimum(np.searchsorted(numbers[order], wanted), len(order) - 1)
        parents = order[at]
        same = numbers[parents] == wanted
        found = np.where(same, self._open["name"][parents], self._open["parent_name"][chosen])
        self._open["parent_name"][chosen] = found


_STACKS = ("ustack", "kstack")
_LATEST = ("last_pid", "parent_id", "id", "amount", "waker", "waker_span", "name", *_STACKS)


def _nothing() -> tuple[Durations, Instances]:
    return no_durations(), np.zeros(0, INSTANCE)


def _together(
    before: tuple[Durations, Instances], new: tuple[Durations, Instances], most: int
) -> tuple[Durations, Instances]:
    durations = added([before[0], new[0]])
    if len(durations) > MOST_DURATIONS:  # the lightest names give way: they are one then
        place = np.unique(durations.name, return_inverse=True)[1]
        weight = np.zeros(int(place.max()) + 1, np.int64)
        np.add.at(weight, place, durations.count)
        light = weight[place] < np.median(weight)
        durations.name[light] = NONE
        durations = added([durations])
    return durations, longest(np.concatenate([before[1], new[1]]), most)


def _proof(kinds: npt.NDArray[np.uint8], starts: npt.NDArray[np.intp]) -> npt.NDArray[np.bool_]:
    """Whether an event shows that its span is open: a request to a disk may end later than it."""
    late = (kinds == Kind.BLK_READ) | (kinds == Kind.BLK_WRITE)
    found: npt.NDArray[np.bool_] = np.logical_or.reduceat(~late, starts)
    return found


def _summed(
    events: npt.NDArray[np.void],
    rows: pa.Table,
    names: npt.NDArray[np.int32] | None,
    starts: npt.NDArray[np.intp],
) -> Instances:
    """What the events of each instance add up to; times are those of the events."""
    found = np.zeros(len(starts), INSTANCE)
    kind, time = np.ascontiguousarray(events["kind"]), events["time"].astype(np.int64)
    duration, amount = (events[name].astype(np.int64) for name in ("duration", "amount"))
    is_open = events["flags"] & np.uint8(EventFlag.OPEN) != 0
    wait, leaving, closing = (kind == one for one in (Kind.WAIT, Kind.TRACE_EXIT, Kind.TRACE_CLOSE))
    traces = leaving | closing

    def sums(values: npt.NDArray[np.generic]) -> Ints:
        total: Ints = np.add.reduceat(values.astype(np.int64), starts)
        return total

    for name, (kinds, column) in _ADDED.items():
        values = duration if column == "duration" else amount
        found[name] = sums(np.where(np.isin(kind, kinds), values, 0))
    found["samples"] = sums(kind == Kind.PROFILE)
    found["blocked"] = sums(np.where(wait, np.maximum(duration - amount, 0), 0))
    growth = np.ascontiguousarray(events["word0"]).view(np.int64)
    found["growth"] = sums(np.where(kind == Kind.RSS, growth, 0))
    found["busy"] = sums(np.where(leaving, duration, 0))
    found["enters"] = sums(leaving)
    found["since_seen"] = np.logical_or.reduceat(_column(rows, "since_seen"), starts)
    for name in ("parent_id", "id"):
        found[name] = np.maximum.reduceat(_column(rows, name), starts)
    found["amount"] = np.maximum.reduceat(events["amount"] * traces, starts)
    found["name"] = NONE if names is None else np.maximum.reduceat(names, starts)
    found["parent_name"] = NONE
    found["tgid"], found["span_id"] = events["tgid"][starts], events["span_id"][starts]
    begun = np.where(traces | (wait & is_open), time - duration, time)
    found["begin"] = np.minimum.reduceat(begun, starts)
    alive = np.where(is_open, np.where(wait, time - duration, 0), time)
    found["last"] = np.maximum.reduceat(alive, starts)
    place = np.arange(len(events))

    def latest(mask: npt.NDArray[np.bool_], *columns: tuple[str, str]) -> None:
        at = np.maximum.reduceat(np.where(mask, place, -1), starts)
        there = at >= 0
        for name, source in columns:
            found[name][there] = events[source][at[there]]

    latest(~(closing & is_open), ("last_pid", "pid"))
    stacked = (events["ustack"] != 0) | (events["kstack"] != 0)
    latest(stacked, ("ustack", "ustack"), ("kstack", "kstack"))
    latest(wait & (events["waker"] != 0), ("waker", "waker"), ("waker_span", "word1"))
    ends = np.maximum.reduceat(np.where(closing, place, -1), starts)
    there = ends >= 0
    at = ends[there]
    found["until"][there] = time[at]
    found["begin"][there] = time[at] - duration[at]
    found["busy"][there] = events["word0"][at]
    found["enters"][there] = events["state"][at]
    found["closed"][there] = ~is_open[at]
    return found


def _column(rows: pa.Table, name: str) -> npt.NDArray[np.generic]:
    column = rows.column(name).combine_chunks()
    empty = pa.scalar(False if pa.types.is_boolean(column.type) else 0, column.type)
    found: npt.NDArray[np.generic] = column.fill_null(empty).to_numpy(zero_copy_only=False)
    return found


def _add(table: Instances, at: npt.NDArray[np.intp], found: Instances) -> None:
    """Add what a batch told of instances to what was known; each is there once."""
    told = found["until"] > 0
    before = table[at]
    for name in COSTS:
        before[name] += found[name]
    for name in ("busy", "enters"):
        before[name] = np.where(told, found[name], before[name] + found[name])
    for name in _LATEST:
        empty = NONE if name == "name" else 0
        before[name] = np.where(found[name] != empty, found[name], before[name])
    stacked = (found["ustack"] != 0) | (found["kstack"] != 0)
    for name in _STACKS:  # both are of one event
        before[name] = np.where(stacked, found[name], table[name][at])
    before["begin"] = np.where(told, found["begin"], np.minimum(before["begin"], found["begin"]))
    before["last"] = np.maximum(before["last"], found["last"])
    before["until"] = np.maximum(before["until"], found["until"])
    before["closed"] |= found["closed"]
    before["since_seen"] |= found["since_seen"]
    table[at] = before
