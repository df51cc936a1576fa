"""The ledger: what spans cost, by name or by instance, and which wait for each other in a circle.

Comes in: the cells of a window (costs), its `SpanSlice` (durations, instances). Goes out: a
`Ledger`, and for a chosen row what there is to say of it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, fields, replace
from typing import Any, TypeVar

import numpy as np
import numpy.typing as npt

from stacks_tui import text
from stacks_tui.kinds import Kind
from stacks_tui.live.deadlocks import Deadlock, deadlocks
from stacks_tui.live.filters import Term, passing_spans
from stacks_tui.live.instances import (
    PARTS,
    Durations,
    Instances,
    Ints,
    SpanSlice,
    Within,
    middle_of,
)
from stacks_tui.live.lock_spans import HOLD, WAIT
from stacks_tui.live.names import Names
from stacks_tui.live.snapshot import InstanceRow, Ledger, SpanRow
from stacks_tui.live.totals import Material
from stacks_tui.live.view import View

STUCK_NS = 10**9
"""An open span without a sign of life for so long is marked."""

_BYTES: dict[str, tuple[Kind, ...]] = {
    "file_bytes": (Kind.VFS_READ, Kind.VFS_WRITE),
    "block_bytes": (Kind.BLK_READ, Kind.BLK_WRITE),
    "socket_bytes": (Kind.TCP_SEND, Kind.TCP_RECV, Kind.UDP_SEND, Kind.UDP_RECV),
    "growth": (Kind.RSS,),
}


@dataclass(frozen=True, slots=True)
class Told:
    """What there is to say of a row."""

    notes: tuple[str, ...]
    costs: Material
    """Whose heaviest stack is shown: its CPU samples, else what it waited, else all."""
    place: tuple[int, int] | None = None
    """Ids of the kernel's and the user's stack, in its place."""


@dataclass(frozen=True, slots=True)
class SpanRows:
    """A ledger, and what can be told of its rows."""

    ledger: Ledger
    about: Callable[[str], Told | None]
    """By key."""


def make_ledger(
    found: SpanSlice,
    material: Material,
    view: View,
    terms: Sequence[Term],
    window: tuple[int, int],
) -> SpanRows:
    """A row per name of spans. `window`: begin and end, ns since the Unix epoch.

    Raises:
        UsageError: the filter asks for what spans don't have.
    """
    names = material.names[0]
    durations = found.durations.take(
        _chosen(found.durations.tgid, found.durations.name, terms, names, view)
    )
    opened = found.open[_chosen(found.open["tgid"], found.open["name"], terms, names, view)]
    spans = material.cells.span
    inside = np.flatnonzero(spans >= 0)
    material = material.take(inside)
    unique = np.unique(
        np.concatenate([material.cells.span, durations.name, opened["name"]]).astype(np.int64)
    )
    costs = _costs(material, unique)
    _add_lasting(costs, opened, unique, found.end, window)
    if found.within is not None:
        within = found.within
        chosen = _chosen(within["tgid"], within["of"], terms, names, view)
        _take_within(costs, within[chosen], unique)
    codes = np.searchsorted(unique, durations.name)
    rows = []
    for at, number in enumerate(unique.tolist()):
        of_name = opened[opened["name"] == number]
        row = replace(
            _durations(_name(number, names), durations.take(codes == at)),
            open=len(of_name),
            stuck=int(np.count_nonzero(_stuck(of_name, found.end))),
            **_at(costs, at),
        )
        children = max(0, row.children - row.count - row.open)
        since_seen = row.since_seen + int(of_name["since_seen"].sum())
        rows.append(replace(row, since_seen=since_seen, children=children))
    circles = deadlocks(found.open, names.spans, found.end)
    shown = _sorted(rows, view, _ROW_NUMBERS, "busy_ns")
    ledger = Ledger(
        rows=tuple(shown[: view.top]),
        rest_rows=max(0, len(shown) - view.top),
        deadlocks=tuple(one.says for one in circles),
        evicted=found.evicted,
        astray=found.astray,
    )
    numbers = {f"s{_name(number, names)}": number for number in unique.tolist()}

    def about(key: str) -> Told | None:
        number = numbers.get(key)
        if number is None:
            return None
        of_name = opened[opened["name"] == number]
        notes = [*_circles_of(circles, of_name), *_stuck_notes(of_name, found.end)]
        return Told(tuple(notes), _costly(material.take(material.cells.span == number)))

    return SpanRows(ledger, about)


def make_instances(
    found: SpanSlice, material: Material, view: View, terms: Sequence[Term]
) -> SpanRows:
    """A row per instance: the open ones, and the longest of those that were closed.

    Raises:
        UsageError: as `make_ledger`.
    """
    names = material.names[0]
    every = np.concatenate([found.open, found.closed])
    every = every[_chosen(every["tgid"], every["name"], terms, names, view)]
    stuck = _stuck(every, found.end)
    until = np.where(every["until"] > 0, every["until"], found.end)
    took = np.maximum(until - every["begin"], 0)
    quiet = np.where(every["closed"], 0, np.maximum(until - every["last"], 0))
    rows = [
        _instance(every[at], int(took[at]), int(quiet[at]), bool(stuck[at]), found, names)
        for at in _first(every, took, view)
    ]
    circles = deadlocks(found.open, names.spans, found.end)
    shown = _sorted(rows, view, _INSTANCE_NUMBERS, "duration_ns")
    ledger = Ledger(
        instances=tuple(shown[: view.top]),
        rest_rows=max(0, len(every) - min(len(shown), view.top)),
        deadlocks=tuple(one.says for one in circles),
        evicted=found.evicted,
    )

    def about(key: str) -> Told | None:
        at = next((at for at, one in enumerate(every) if _key(one) == key), None)
        if at is None:
            return None
        one = every[at]
        notes = [*_circles_of(circles, every[at : at + 1]), *_of_instance(one, found, names)]
        place = (int(one["kstack"]), int(one["ustack"]))
        return Told(tuple(notes), material, place)

    return SpanRows(ledger, about)


Row = TypeVar("Row", SpanRow, InstanceRow)
_MOST_ROWS = 4096
"""Instances that are looked at one by one."""
_ROW_NUMBERS = frozenset(one.name for one in fields(SpanRow) if one.type == "int")
_INSTANCE_NUMBERS = frozenset(one.name for one in fields(InstanceRow) if one.type == "int")


def _first(every: Instances, took: Ints, view: View) -> list[int]:
    """Places of those that may be shown: all, or the longest."""
    order = np.argsort(-took, kind="stable")[: max(_MOST_ROWS, view.top)]
    found: list[int] = order.tolist()
    return found


def _sorted(rows: list[Row], view: View, numbers: frozenset[str], usual: str) -> list[Row]:
    rows.sort(key=lambda row: (row.name, row.key))
    if view.sort in ("name", "label"):
        rows.sort(key=lambda row: row.name, reverse=view.reverse)
        return rows
    key = view.sort if view.sort in numbers else usual
    rows.sort(key=lambda row: int(getattr(row, key)), reverse=not view.reverse)
    return rows


def _chosen(
    tgids: npt.NDArray[np.integer],
    spans: npt.NDArray[np.integer],
    terms: Sequence[Term],
    names: Names,
    view: View,
) -> npt.NDArray[np.bool_]:
    mask = passing_spans(tgids, spans, terms, names)
    return mask & (tgids == view.tgid) if view.tgid else mask


def _stuck(spans: Instances, end: int) -> npt.NDArray[np.bool_]:
    until = np.where(spans["until"] > 0, spans["until"], end)
    found: npt.NDArray[np.bool_] = ~spans["closed"] & (until - spans["last"] >= STUCK_NS)
    return found


def _name(number: int, names: Names) -> str:
    return names.spans[number] if 0 <= number < len(names.spans) else "[no name]"


def _costs(material: Material, unique: Ints) -> dict[str, Ints]:
    cells = material.cells
    codes = np.searchsorted(unique, cells.span)
    zero = np.int64(0)

    def summed(values: npt.NDArray[np.int64]) -> Ints:
        total: Ints = material.sums(codes, len(unique), values)[0]
        return total

    wait, profile = cells.kind == Kind.WAIT, cells.kind == Kind.PROFILE
    found = {
        "busy_ns": summed(np.where(cells.kind == Kind.TRACE_EXIT, cells.duration, zero)),
        "samples": summed(np.where(profile, cells.count, zero)),
        "cpu_ns": summed(np.where(profile, cells.duration, zero)),
        "blocked_ns": summed(np.where(wait, np.maximum(cells.duration - cells.amount, 0), zero)),
        "runnable_ns": summed(np.where(wait, cells.amount, zero)),
    }
    for name, kinds in _BYTES.items():
        found[name] = summed(np.where(np.isin(cells.kind, kinds), cells.amount, zero))
    return found


def _add_lasting(
    costs: dict[str, Ints], opened: Instances, unique: Ints, end: int, window: tuple[int, int]
) -> None:
    """What no event has told of the open ones: that they are entered now, waits that last."""
    codes = np.searchsorted(unique, opened["name"])
    until = np.where(opened["until"] > 0, opened["until"], end)
    since = until - np.maximum(opened["busy"] - opened["left"], 0)
    inside = np.minimum(until, max(window[1], end)) - np.maximum(since, window[0])
    np.add.at(costs["busy_ns"], codes, np.maximum(inside, 0))
    for name, of in (("blocked_ns", "waiting"), ("runnable_ns", "queued")):
        np.add.at(costs[name], codes, np.minimum(opened[of], window[1] - window[0]))


_WITHIN = {
    "samples": ("samples",),
    "cpu_ns": ("cpu",),
    "blocked_ns": ("blocked",),
    "runnable_ns": ("runnable",),
    "file_bytes": ("read", "written"),
    "block_bytes": ("block_read", "block_written"),
    "socket_bytes": ("sent", "received"),
    "growth": ("growth",),
    "children": ("spans",),
}


def _take_within(costs: dict[str, Ints], within: Within, unique: Ints) -> None:
    """In place of their own costs those of all that lies in them."""
    within = within[np.isin(within["of"], unique)]
    codes = np.searchsorted(unique, within["of"])
    for name, columns in _WITHIN.items():
        costs[name] = np.zeros(len(unique), np.int64)
        for column in columns:
            np.add.at(costs[name], codes, within[column])


def _at(costs: dict[str, Ints], place: int) -> dict[str, Any]:
    return {name: int(values[place]) for name, values in costs.items()}


def _durations(name: str, found: Durations) -> SpanRow:
    """The row of a name, as far as the closed ones say it."""
    if not len(found):
        return SpanRow("s" + name, name)
    order = np.argsort(found.bin, kind="stable")
    upto = np.cumsum(found.count[order])
    count, longest = int(upto[-1]), int(found.longest.max())

    def quantile(share: float) -> int:
        at = int(np.searchsorted(upto, max(1, int(np.ceil(share * count)))))
        return min(middle_of(int(found.bin[order[at]])), longest)

    power = found.bin // PARTS
    first = int(power.min())
    bins = np.zeros(int(power.max()) - first + 1, np.int64)
    np.add.at(bins, power - first, found.count)
    return SpanRow(
        "s" + name,
        name,
        count=count,
        since_seen=int(found.since_seen.sum()),
        total_ns=int(found.total.sum()),
        p50_ns=quantile(0.5),
        p90_ns=quantile(0.9),
        p99_ns=quantile(0.99),
        max_ns=longest,
        first_bin=first,
        bins=tuple(bins.tolist()),
    )


def _key(one: np.void) -> str:
    return f"i{one['tgid']}:{one['span_id']}:{one['begin']}"


def _instance(
    one: np.void, took: int, quiet: int, stuck: bool, found: SpanSlice, names: Names
) -> InstanceRow:
    return InstanceRow(
        key=_key(one),
        name=_name(int(one["name"]), names),
        tgid=int(one["tgid"]),
        span_id=int(one["span_id"]),
        parent=_parent(one, found, names),
        id=int(one["id"]),
        begin=int(one["begin"]),
        open=not one["closed"],
        stuck=stuck,
        since_seen=bool(one["since_seen"]),
        duration_ns=took,
        quiet_ns=quiet,
        busy_ns=int(one["busy"]),
        enters=int(one["enters"]),
        cpu_ns=int(one["cpu"]),
        blocked_ns=int(one["blocked"]),
        runnable_ns=int(one["runnable"]),
        file_bytes=int(one["read"] + one["written"]),
        block_bytes=int(one["block_read"] + one["block_written"]),
        socket_bytes=int(one["sent"] + one["received"]),
        growth=int(one["growth"]),
    )


def _parent(one: np.void, found: SpanSlice, names: Names) -> str:
    if one["parent_name"] >= 0:
        return _name(int(one["parent_name"]), names)
    return _span_name(int(one["tgid"]), int(one["parent_id"]), found, names)


def _span_name(tgid: int, span_id: int, found: SpanSlice, names: Names) -> str:
    """Of a span that is open or among the longest; empty: not known."""
    if not span_id:
        return ""
    for some in (found.open, found.closed):
        at = np.flatnonzero((some["tgid"] == tgid) & (some["span_id"] == span_id))
        if len(at):
            return _name(int(some["name"][at[-1]]), names)
    return f"span {span_id}"


def _costly(material: Material) -> Material:
    """Those whose stack is the one to show: CPU samples, else waits, else what there is."""
    cells = material.cells
    for kind in (Kind.PROFILE, Kind.WAIT):
        chosen = cells.kind == kind
        if chosen.any():
            picked = material.take(chosen)
            value = picked.cells.duration - picked.cells.amount * (kind == Kind.WAIT)
            return replace(picked, value=np.maximum(value, 0))
    return replace(material, value=cells.duration)


def _circles_of(circles: Sequence[Deadlock], spans: Instances) -> list[str]:
    """Circles that one of these spans is in, itself or as the wait or hold of one that is."""
    found = []
    for circle in circles:
        ours = spans[spans["tgid"] == circle.tgid]
        wide = np.isin(ours["span_id"], circle.spans) | np.isin(ours["parent_id"], circle.spans)
        if wide.any():
            found.append(f"deadlock: {circle.says}")
    return found


def _stuck_notes(spans: Instances, end: int) -> list[str]:
    stuck = spans[_stuck(spans, end)]
    if not len(stuck):
        return []
    until = np.where(stuck["until"] > 0, stuck["until"], end)
    quiet = int((until - stuck["last"]).max())
    return [f"{len(stuck)} without a sign of life, up to {text.duration(quiet)}; enter lists them"]


def _of_instance(one: np.void, found: SpanSlice, names: Names) -> list[str]:
    tgid = int(one["tgid"])
    notes = []
    parent = _parent(one, found, names)
    about = [f"span {one['span_id']} of process {tgid}"]
    if parent:
        about.append(f"in {parent}")
    if one["id"]:
        lock = _name(int(one["name"]), names) in (WAIT, HOLD)
        about.append(f"lock {int(one['id']):#x}" if lock else f"id {one['id']}")
    about.append(f"entered {one['enters']} times" if one["enters"] != 1 else "entered once")
    if one["since_seen"]:
        about.append("since seen: it began before it was listened to")
    notes.append(" · ".join(about))
    if one["waker"]:
        waker = int(one["waker"])
        who = f"{names.threads.get(waker) or 'thread'} {waker}"
        tgid = names.tgids.get(waker, tgid)
        inside = _span_name(tgid, int(one["waker_span"]), found, names)
        notes.append(f"woken last by {who}" + (f", in {inside}" if inside else ""))
    return notes
