"""Answers a view: the one way from totals to rows, live or reopened.

Comes in: `Totals` and a `View`. Goes out: an `Answer`, or a note of why there is none.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from stacks_tui.errors import StacksError, UsageError
from stacks_tui.kinds import Kind
from stacks_tui.live.cells import OTHER_PID, Cells, empty, joined
from stacks_tui.live.filters import parse, passing
from stacks_tui.live.graph import make_graph
from stacks_tui.live.ledger import SpanRows, make_instances, make_ledger
from stacks_tui.live.measures import kinds_of, leaves_out_nothings, measured, values
from stacks_tui.live.panels import make_histogram, make_processes
from stacks_tui.live.snapshot import Detail, FrameInfo, Panels, Timeline
from stacks_tui.live.stacks import StackTable
from stacks_tui.live.table import Tabled, heaviest_path, make_table
from stacks_tui.live.terms import also
from stacks_tui.live.totals import Material, Slice, Totals, span_of
from stacks_tui.live.view import Panel, Side, View
from stacks_tui.python.shown import Shown

GONE = "this window is no longer kept while it is recorded; open the recording for it."
_EVERY = tuple(Kind)


@dataclass(frozen=True, slots=True)
class Answer:
    """What a view came to."""

    rows: Panels | None
    detail: Detail | None
    begin: int
    """ns since the Unix epoch, of the view's window (which a comparison leaves as it was)."""
    end: int
    note: str = ""


@dataclass(frozen=True, slots=True)
class _Part:
    """One side: its slice, and the places of its cells that pass."""

    slice: Slice
    view: View
    totals: Totals
    chosen: np.ndarray[tuple[int], np.dtype[np.intp]]


def answer(
    totals: Totals,
    view: View,
    timeline: Callable[[], Timeline],
    other: Callable[[str], Totals] | None = None,
) -> Answer:
    """Compute the rows of a view. `timeline`: makes its strips; `other`: opens another recording's
    totals, by its folder."""
    begin, end = span_of(view.window, totals.began, totals.now)
    if view.panel is Panel.NOTHING:
        return Answer(None, None, begin * 10**9, end * 10**9)
    try:
        if view.panel is Panel.TIMELINE:
            return Answer(timeline(), None, begin * 10**9, end * 10**9)
        parts = _parts(totals, view, other)
    except StacksError as error:
        return Answer(None, None, begin * 10**9, end * 10**9, str(error))
    if not view.compares:
        begin, end = parts[0].slice.begin, parts[0].slice.end
    begin, end = begin * 10**9, end * 10**9
    material = _material(parts)
    detail = None
    rows: Panels
    if view.panel is Panel.TABLE:
        tabled = make_table(material, view)
        rows = tabled.table
        if view.selected in tabled.members:
            detail = _detail(tabled, material, parts[0], view)
    elif view.panel is Panel.LEDGER:
        try:
            spans = _spans(parts[0], material, view)
        except StacksError as error:
            return Answer(None, None, begin, end, str(error))
        rows = spans.ledger
        detail = _span_detail(spans, material, parts[0], view)
    elif view.panel is Panel.PROCESSES:
        rows = make_processes(material, view)
    elif view.panel is Panel.HISTOGRAM:
        rows = make_histogram(material, view)
    else:
        rows = make_graph(material, view)
    return Answer(rows, detail, begin, end)


def _parts(totals: Totals, view: View, other: Callable[[str], Totals] | None) -> tuple[_Part, ...]:
    sides: list[tuple[Totals, View]] = [(totals, view)]
    if view.a is not None and view.b is not None:
        sides = [_side(totals, view, side, other) for side in (view.a, view.b)]
    return tuple(_part(one, asked) for one, asked in sides)


def _side(
    totals: Totals, view: View, side: Side, other: Callable[[str], Totals] | None
) -> tuple[Totals, View]:
    asked = replace(view, window=side.window, tgid=side.tgid or view.tgid, pid=side.pid or view.pid)
    if side.span is not None:
        asked = replace(asked, filter=also(view.filter, "span", side.span))
    if not side.recording:
        return totals, asked
    if other is None:
        raise UsageError(
            "another recording is compared with one that is open, not with a live one."
        )
    return other(side.recording), asked


def _part(totals: Totals, view: View) -> _Part:
    terms = parse(view.filter)
    every = view.panel in (Panel.PROCESSES, Panel.LEDGER)
    kinds: Sequence[Kind] = _EVERY if every else kinds_of(view)
    begin, end = span_of(view.window, totals.began, totals.now)
    by_thread = view.panel is Panel.PROCESSES and all(
        term.field in ("process", "thread") for term in terms
    )
    if view.instance is not None:
        found = totals.of_instance(kinds, view.instance)
    else:
        found = totals.slice(kinds, begin, end, stacks=not by_thread)
    if found is None:
        raise StacksError(GONE)
    cells = found.cells
    mask = np.ones(len(cells), np.bool_)
    if terms:
        mask = passing(cells, terms, totals.stacks, totals.names, view.shown)
    if leaves_out_nothings(view) and view.panel is not Panel.PROCESSES:
        mask &= values(cells, view) != 0
    if view.tgid:
        mask &= cells.tgid == view.tgid
    if view.pid:
        mask &= cells.pid == view.pid
    return _Part(found, view, totals, np.flatnonzero(mask))


def _material(parts: Sequence[_Part]) -> Material:
    stacks: StackTable = parts[0].totals.stacks
    taken: list[Cells] = [part.slice.cells.take(part.chosen) for part in parts]
    cells = joined(taken) if taken else empty()
    return Material(
        cells,
        values(cells, parts[0].view),
        np.repeat(np.arange(len(parts), dtype=np.int8), [len(one) for one in taken]),
        stacks,
        tuple(part.totals for part in parts),
        tuple(float(part.slice.end - part.slice.begin) for part in parts),
    )


def _detail(tabled: Tabled, material: Material, part: _Part, view: View) -> Detail:
    """Of the selected row; its past is that of side A."""
    places = tabled.members[view.selected]()
    chosen = material.take(places)
    kernel, user, number = heaviest_path(chosen, view)
    stacks = material.stacks
    marks = int(stacks.marks(np.array([user], np.int32))[0])
    first = places[material.side[places] == 0]
    waker, waking, others = _waker(chosen, view.shown)
    past = part.slice.past(part.chosen[first])
    sums = measured(view, past.count, past.duration, past.amount)
    return Detail(
        key=view.selected,
        frames=_frames(stacks, view.shown, kernel, user),
        stacks=number,
        complete=bool(marks & 1) if user >= 0 else None,
        past=tuple(sums.tolist()),
        step_s=past.step_s,
        waker=waker,
        waker_name=waking,
        waker_others=others,
    )


def _spans(part: _Part, material: Material, view: View) -> SpanRows:
    begin, end = part.slice.begin, part.slice.end
    children = view.children and not view.instances
    found = part.totals.spans(begin, end, children=children)
    if found is None:
        raise StacksError(GONE)
    terms = parse(view.filter)
    if view.instances:
        return make_instances(found, material, view, terms)
    return make_ledger(found, material, view, terms, (begin * 10**9, end * 10**9))


def _span_detail(spans: SpanRows, material: Material, part: _Part, view: View) -> Detail | None:
    """Of a name: its costliest stack; of an instance: where it was seen last."""
    told = spans.about(view.selected)
    if told is None:
        return None
    stacks = material.stacks
    if told.place is not None:
        kernel, user = part.totals.stack_rows(np.array(told.place, np.uint64)).tolist()
        number = 1
    else:
        kernel, user, number = heaviest_path(told.costs, view)
    return Detail(
        key=view.selected,
        frames=_frames(stacks, view.shown, kernel, user),
        stacks=number,
        complete=None,
        notes=told.notes,
    )


def _frames(stacks: StackTable, shown: Shown, kernel: int, user: int) -> tuple[FrameInfo, ...]:
    return tuple(
        FrameInfo(place.name, place.module, place.file, place.line, place.inlined, kernel=not at)
        for at, row in enumerate((kernel, user))
        for place in stacks.places(row, shown)
    )


def _waker(material: Material, shown: Shown) -> tuple[tuple[FrameInfo, ...], str, int]:
    """The stack that woke most of it, the thread that did so most from there, how many others."""
    cells = material.cells
    rows, codes = np.unique(cells.wstack, return_inverse=True)
    sums = material.sums(codes, len(rows), material.value).sum(axis=0)
    sums[rows < 0] = -1
    if not len(rows) or sums.max() < 0:
        return (), "", 0
    stacks = material.stacks
    best = int(np.argmax(sums))
    frames = tuple(
        FrameInfo(place.name, place.module, place.file, place.line, place.inlined)
        for place in stacks.places(int(rows[best]), shown)
    )
    return frames, *_waking_thread(material.take(np.flatnonzero(codes == best)))


def _waking_thread(material: Material) -> tuple[str, int]:
    wakers = material.cells.waker
    pids, codes = np.unique(wakers, return_inverse=True)
    sums = material.sums(codes, len(pids), material.value).sum(axis=0)
    there = (pids != 0) & (pids != OTHER_PID)
    if not there.any():
        return "", 0
    heaviest = int(pids[int(np.argmax(np.where(there, sums, -1)))])
    name = material.names[0].threads.get(heaviest) or "thread"
    return f"{name} {heaviest}", int(there.sum()) - 1
