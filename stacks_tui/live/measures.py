"""What each tab measures: its kinds, the number that is added up, its unit, its sizes.

One table for live and reopened recordings. Times count where they end: a wait of five seconds adds
five seconds to the second in which it ended.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from stacks_tui.kinds import Kind
from stacks_tui.live.view import Measure, Panel, Tab, View

if TYPE_CHECKING:  # the screen draws its first lines before arrays are loaded
    import numpy as np
    import numpy.typing as npt

    from stacks_tui.live.cells import Cells

    Ints: TypeAlias = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Meaning:
    """One tab."""

    kinds: tuple[Kind, ...]
    unit: str
    default: tuple[Kind, ...] = ()
    """Kinds that count where none is chosen; empty: all of `kinds`."""
    size: str = ""
    """What its histogram shows; empty: nothing that differs."""
    timed: bool = False
    """Its events take time beside what they measure."""


TABS: dict[Tab, Meaning] = {
    Tab.CPU: Meaning((Kind.PROFILE,), "ns"),
    Tab.SLICES: Meaning((Kind.SWITCH,), "ns", size="time on the CPU at a stretch"),
    Tab.BLOCKED: Meaning((Kind.WAIT,), "ns", size="blocked time"),
    Tab.RUNNABLE: Meaning((Kind.WAIT,), "ns", size="time in the run queue"),
    Tab.RSS: Meaning((Kind.RSS,), "bytes"),
    Tab.BLOCK: Meaning(
        (Kind.BLK_READ, Kind.BLK_WRITE), "bytes", size="bytes of a request", timed=True
    ),
    Tab.VFS: Meaning((Kind.VFS_READ, Kind.VFS_WRITE), "bytes", size="bytes of a call", timed=True),
    Tab.NET: Meaning(
        (Kind.TCP_SEND, Kind.TCP_RECV, Kind.UDP_SEND, Kind.UDP_RECV),
        "bytes",
        size="bytes of a call",
    ),
    # Both would count the same time twice.
    Tab.SPANS: Meaning(
        (Kind.TRACE_EXIT, Kind.TRACE_CLOSE), "ns", (Kind.TRACE_EXIT,), size="time of a span"
    ),
}

TIMED_SIZE = "time of a request or call"


def kinds_of(view: View) -> tuple[Kind, ...]:
    """The kinds that a view counts."""
    meaning = TABS[view.tab]
    chosen = tuple(kind for kind in meaning.kinds if kind.label in view.kinds)
    if view.tab is Tab.SPANS and view.panel is Panel.HISTOGRAM and not chosen:
        return (Kind.TRACE_CLOSE,)  # how long whole spans are, not their stretches
    return chosen or meaning.default or meaning.kinds


def unit_of(view: View) -> str:
    """`ns`, `bytes` or `events`."""
    if view.measure is Measure.COUNT:
        return "events"
    if view.measure is Measure.DURATION:
        return "ns"
    return TABS[view.tab].unit


def leaves_out_nothings(view: View) -> bool:
    """Whether only events count of which there is something: most waits are only blocked, or only
    runnable."""
    return view.tab in (Tab.BLOCKED, Tab.RUNNABLE) and view.measure is Measure.MAIN


def values(cells: Cells, view: View) -> Ints:
    """What the view adds up, by cell."""
    return measured(view, cells.count, cells.duration, cells.amount)


def measured(view: View, count: Ints, duration: Ints, amount: Ints) -> Ints:
    """What the view adds up, of sums of events."""
    if view.measure is Measure.COUNT:
        return count
    if view.measure is Measure.DURATION:
        return duration
    if view.tab is Tab.BLOCKED:
        blocked: Ints = (duration - amount).clip(0)
        return blocked
    if view.tab in (Tab.RUNNABLE, Tab.RSS, Tab.BLOCK, Tab.VFS, Tab.NET):
        return amount
    return duration


def size_of(view: View) -> str:
    """What the view's histogram shows; empty: nothing."""
    meaning = TABS[view.tab]
    if view.measure is Measure.DURATION and meaning.timed:
        return TIMED_SIZE
    return meaning.size


def bins(cells: Cells, view: View) -> npt.NDArray[np.int8]:
    """The power of two of each cell's events in the view's histogram."""
    sizes = view.tab in (Tab.RUNNABLE, Tab.BLOCK, Tab.VFS, Tab.NET)
    timed = view.measure is Measure.DURATION and TABS[view.tab].timed
    return cells.amount_bin if sizes and not timed else cells.duration_bin


def kind_value(kind: Kind, duration: int, amount: int) -> int:
    """What a kind measures, from its sums: for timelines."""
    if kind == Kind.WAIT:
        return max(duration - amount, 0)
    return duration if kind_unit(kind) == "ns" else amount


def kind_unit(kind: Kind) -> str:
    """Of `kind_value`."""
    timed = (Kind.PROFILE, Kind.SWITCH, Kind.WAIT, Kind.TRACE_EXIT, Kind.TRACE_CLOSE)
    return "ns" if kind in timed else "bytes"
