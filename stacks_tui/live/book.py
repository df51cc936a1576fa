"""The book of spans: which are open, what each cost, which closed ones took longest.

Comes in: batches of events, of which those with a label count. Goes out: `SpanSlice`s. A batch is
summed by instance in arrays and merged into the table of the open ones; memory is bounded.
"""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from stacks_tui.columns import Events
from stacks_tui.enrich.spans import Opened
from stacks_tui.kinds import Kind
from stacks_tui.live.buckets import SECONDS_KEPT, TENS_KEPT, cut
from stacks_tui.live.cells import NONE
from stacks_tui.live.instances import (
    COSTS,
    INSTANCE,
    WITHIN,
    Durations,
    Instances,
    Ints,
    SpanSlice,
    Within,
    added,
    durations_of,
    joined_costs,
    longest,
    no_durations,
)
from stacks_tui.live.lineage import LOST, Lineage, find
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


@dataclass(frozen=True, slots=True)
class _Page:
    """What a span of time came to."""

    durations: Durations
    closed: Instances
    """The longest."""
    costs: Within
    """By chain; `spans`: those that were closed."""


class Book:
    """One thread adds and asks."""

    def __init__(self) -> None:
        self._factors = [np.uint64(secrets.randbits(64) | 1) for _ in range(3)]
        self._keys = np.zeros(0, np.uint64)
        """Of the open ones, sorted."""
        self._open: Instances = np.zeros(0, INSTANCE)
        self._gone = np.zeros(0, np.uint64)
        """Keys of the newest closed ones."""
        self._gone_chains = np.zeros(0, np.int32)
        self._lineage = Lineage()
        self._seconds: dict[int, _Page] = {}
        self._tens: dict[int, _Page] = {}
        self._all = _nothing()
        self._now = 0
        self._newest = 0
        self._evicted = 0
        self._lasting = np.zeros(0, np.uint64), np.zeros(0, INSTANCE)
        """Keys of open ones, and what the kernel side knows of them that no event has told."""

    def advance(self, second: int) -> None:
        """It is this second now, since the Unix epoch."""
        if second <= self._now:
            return
        self._now = second
        for old in [one for one in self._seconds if one <= second - SECONDS_KEPT]:
            del self._seconds[old]
        for old in [one for one in self._tens if one <= second // 10 - TENS_KEPT]:
            del self._tens[old]

    def opened(self, opened: Opened, names: npt.NDArray[np.int32], offset: int) -> None:
        """Add spans that were entered for the first time.

        `names`: numbers of their names; `offset`: from their times to the Unix epoch.
        """
        spans = opened.spans
        found = np.zeros(len(spans), INSTANCE)
        for name in ("tgid", "span_id", "parent_id", "id", "amount"):
            found[name] = spans[name]
        found["last_pid"], found["since_seen"] = spans["pid"], spans["seen"]
        found["begin"] = found["last"] = spans["first"].astype(np.int64) + offset
        found["name"], found["parent_name"] = names, NONE
        keys = self._keys_of(spans["tgid"], spans["span_id"], spans["born"])
        fresh = np.zeros(len(spans), np.bool_)
        fresh[np.unique(keys, return_index=True)[1]] = True
        fresh &= ~find(self._keys, keys)[1] & ~np.isin(keys, self._gone)  # not told again
        self._insert(keys[fresh], found[fresh])

    def open_now(self, events: npt.NDArray[np.void], offset: int) -> None:
        """What is open at this moment: records.EVENT, closes and waits with the flag OPEN."""
        keys = self._keys_of(events["tgid"], events["span_id"], events["span_born"])
        order = np.argsort(keys, kind="stable")
        keys, events = keys[order], events[order]
        starts = np.flatnonzero(np.concatenate([[True], keys[1:] != keys[:-1]])[: len(keys)])
        found = np.zeros(len(starts), INSTANCE)
        if len(starts):
            found = summed(events, None, None, starts)
            self._newest = max(self._newest, int(events["time"].max()) + offset)
            found["last"] += offset * (found["last"] > 0)
        self._lasting = keys[starts], found

    def add(
        self,
        second: int,
        events: Events,
        rows: pa.RecordBatch,
        names: npt.NDArray[np.int32] | None,
        offset: int,
    ) -> None:
        """Add events of a second: records.EVENT in order of time, and the same as schema.EVENTS.

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
        found = summed(events[places], table, None if names is None else names[places], starts)
        for name in ("begin", "last", "until"):
            found[name] += offset * (found[name] > 0)
        proof = _proof(events["kind"][places], starts)
        self._merge(second, keys[starts], found, proof)

    def slice(
        self, begin: int, end: int, *, whole: bool, children: bool = False
    ) -> SpanSlice | None:
        """The spans of a span, seconds since the Unix epoch; None: it is no longer kept.

        `whole`: all of the time; `children`: with the costs of what lies in them.
        """
        pages = [self._all]
        if not whole:
            chosen = cut(begin, end, self._now)
            if chosen is None:
                return None
            pages = [page for ten, page in self._tens.items() if ten in chosen.tens]
            pages += [page for second, page in self._seconds.items() if second in chosen.seconds]
        closed = np.concatenate([np.zeros(0, INSTANCE), *(page.closed for page in pages)])
        durations = added([page.durations for page in pages])
        kept = longest(closed, MOST_AT_ALL)
        now = max(self._newest, self._now * _S)  # where nothing happens, time goes on
        opened = self._open_up_to_now()
        found = SpanSlice(durations, kept, opened, now, self._evicted)
        if not children:
            return found
        most = np.iinfo(np.int64).max if whole else (end - begin) * _S
        within, astray = self._within([page.costs for page in pages], opened, most)
        return replace(found, within=within, astray=astray)

    def stacks(self) -> npt.NDArray[np.uint64]:
        """The ids of all stacks that an instance has."""
        kept = [self._open, self._lasting[1], self._all.closed]
        kept += [page.closed for some in (self._seconds, self._tens) for page in some.values()]
        return np.unique(np.concatenate([one[name] for one in kept for name in _STACKS]))

    def _keys_of(self, *columns: npt.NDArray[np.integer]) -> npt.NDArray[np.uint64]:
        total = np.zeros(len(columns[0]), np.uint64)
        for factor, column in zip(self._factors, columns, strict=False):
            mixed = (total ^ column.astype(np.uint64)) * factor
            total = mixed ^ (mixed >> np.uint64(32))
        return total

    def _insert(self, keys: npt.NDArray[np.uint64], found: Instances) -> None:
        """Add open ones, in the order in which they were entered; each has its chain then."""
        if not len(keys):
            return
        ids = self._keys_of(found["tgid"], found["span_id"])
        parents = self._keys_of(found["tgid"], found["parent_id"]) * (found["parent_id"] != 0)
        found["chain"] = self._lineage.add(ids, parents, found["name"])
        self._keys = np.concatenate([self._keys, keys])
        order = np.argsort(self._keys, kind="stable")
        self._keys = self._keys[order]
        self._open = np.concatenate([self._open, found])[order]
        if len(self._open) > MOST_OPEN:
            kept = np.sort(np.argsort(self._open["last"])[-MOST_OPEN * 7 // 8 :])
            self._evicted += len(self._open) - len(kept)
            self._open, self._keys = self._open[kept], self._keys[kept]
        self._lineage.forget(self._keys_of(self._open["tgid"], self._open["span_id"]))

    def _merge(
        self,
        second: int,
        keys: npt.NDArray[np.uint64],
        found: Instances,
        proof: npt.NDArray[np.bool_],
    ) -> None:
        at, known = find(self._keys, keys)
        _add(self._open, at[known], found[known])
        chains = self._chains_of_gone(keys, found)
        chains[known] = self._open["chain"][at[known]]
        fresh = np.flatnonzero(~known & proof & ~np.isin(keys, self._gone))
        if len(fresh):
            fresh = fresh[np.argsort(found["begin"][fresh], kind="stable")]
            new = found[fresh]
            self._insert(keys[fresh], new)
            chains[fresh] = new["chain"]
        self._keep(second, _Page(no_durations(), found[:0], _costs(found, chains, closed=False)))
        if found["closed"].any():
            self._close()

    def _chains_of_gone(
        self, keys: npt.NDArray[np.uint64], found: Instances
    ) -> npt.NDArray[np.int32]:
        """The chains of spans that are closed already, as far as they are known."""
        chains = self._lineage.chains_of(self._keys_of(found["tgid"], found["span_id"]))
        order = np.argsort(self._gone, kind="stable")
        at, known = find(self._gone[order], keys)
        chains[known] = self._gone_chains[order[at[known]]]
        return chains

    def _close(self) -> None:
        """Those that are closed leave the table of the open ones."""
        gone = self._open["closed"]
        self._name_parents(gone)
        closed = self._open[gone]
        self._gone = np.concatenate([self._gone, self._keys[gone]])[-MOST_CLOSED:]
        self._gone_chains = np.concatenate([self._gone_chains, closed["chain"]])[-MOST_CLOSED:]
        self._open, self._keys = self._open[~gone], self._keys[~gone]
        seconds = closed["until"] // _S
        for second in np.unique(seconds).tolist():
            of_it = closed[seconds == second]
            costs = _costs(of_it, of_it["chain"], closed=True)
            self._keep(second, _Page(durations_of(of_it), of_it, costs))

    def _keep(self, second: int, new: _Page) -> None:
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

    def _open_up_to_now(self) -> Instances:
        """The open ones, with what is told of those that are entered, and of waits that last."""
        found = self._open.copy()
        keys, lasting = self._lasting
        at, known = find(self._keys, keys)
        at, lasting = at[known], lasting[known]
        for name in ("busy", "enters", "last"):
            found[name][at] = np.maximum(found[name][at], lasting[name])
        for name, of in (("waiting", "blocked"), ("queued", "runnable")):
            found[name][at] = lasting[of]
            found[of][at] += lasting[of]
        stacked = (lasting["ustack"] != 0) | (lasting["kstack"] != 0)
        for name in _STACKS:
            found[name][at[stacked]] = lasting[name][stacked]
        return found

    def _within(self, parts: Sequence[Within], opened: Instances, most: int) -> tuple[Within, int]:
        """By name, what costs by chain and what lasts add up to; and how many lie in no chain."""
        lasting = _costs(opened, opened["chain"], closed=True)
        for name in COSTS:
            of = {"blocked": "waiting", "runnable": "queued"}.get(name)
            lasting[name] = 0 if of is None else np.minimum(opened[of], most)
        costs = joined_costs([*parts, lasting])
        places, names = self._lineage.members(costs["of"])
        found = costs[places]
        found["of"] = names
        lost = costs["of"] == LOST
        return joined_costs([found]), int(costs["spans"][lost].sum())


_STACKS = ("ustack", "kstack")
_LATEST = ("last_pid", "parent_id", "id", "amount", "waker", "waker_span", "name", *_STACKS)


def _nothing() -> _Page:
    return _Page(no_durations(), np.zeros(0, INSTANCE), np.zeros(0, WITHIN))


def _costs(found: Instances, chains: npt.NDArray[np.integer], *, closed: bool) -> Within:
    """What instances cost, by chain; or only how many they are."""
    costs = np.zeros(len(found), WITHIN)
    costs["tgid"], costs["of"], costs["spans"] = found["tgid"], chains, closed
    if not closed:
        for name in COSTS:
            costs[name] = found[name]
    return costs


def _together(before: _Page, new: _Page, most: int) -> _Page:
    costs = joined_costs([before.costs, new.costs])
    if not len(new.closed):
        return replace(before, costs=costs)
    durations = added([before.durations, new.durations])
    if len(durations) > MOST_DURATIONS:  # the lightest names give way: they are one then
        place = np.unique(durations.name, return_inverse=True)[1]
        weight = np.zeros(int(place.max()) + 1, np.int64)
        np.add.at(weight, place, durations.count)
        light = weight[place] < np.median(weight)
        durations.name[light] = NONE
        durations = added([durations])
    return _Page(durations, longest(np.concatenate([before.closed, new.closed]), most), costs)


def _proof(kinds: npt.NDArray[np.uint8], starts: npt.NDArray[np.intp]) -> npt.NDArray[np.bool_]:
    """Whether an event shows that its span is open: a request to a disk may end later than it."""
    late = (kinds == Kind.BLK_READ) | (kinds == Kind.BLK_WRITE)
    found: npt.NDArray[np.bool_] = np.logical_or.reduceat(~late, starts)
    return found


def summed(
    events: Events,
    rows: pa.Table | None,
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
    found["busy"] = found["left"] = sums(np.where(leaving, duration, 0))
    found["enters"] = sums(leaving)
    if rows is not None:
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
    for name in (*COSTS, "left"):
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
