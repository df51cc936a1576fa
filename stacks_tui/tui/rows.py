"""The rows of a snapshot as lines of the table. Pure: values in, values out.

Comes in: `live` values and the view they answer. Goes out: columns, lines, sort.
"""

from __future__ import annotations

from collections.abc import Sequence

from stacks_tui import text
from stacks_tui.live import measures
from stacks_tui.live.snapshot import Processes, ProcessRow, Row, Table
from stacks_tui.live.view import Group, Measure, StackPart, Tab, View
from stacks_tui.tui import plumbing, words
from stacks_tui.tui.cells import Piece, bar, fit
from stacks_tui.tui.widgets.table import Column, Line

REST_KEY = ("rest",)
OTHER_KEY = ("other",)
_PLAIN = (Tab.CPU, Tab.RSS)
"""Where the leaf itself is what matters, be it the kernel's."""
_WITH_TOTAL = (Group.LEAF, Group.MODULE)
_BAR = 8
_LONGEST = 4096
"""Characters of one name that are ever shown."""


def columns(view: View, chosen: Sequence[str] = ()) -> tuple[Column, ...]:
    """The columns of the table of this view; `chosen`: keys of those the user wants."""
    head = {
        Group.STACK: "stack, leaf first", Group.LEAF: "function", Group.WAKER: "waker, leaf first"
    }.get(view.group, words.GROUP_NAME[view.group])  # fmt: skip
    wide = Column("label", head, 0, sortable=True)
    if view.compares:
        return (
            Column("change", "B-A", 6, right=True, sortable=True),
            Column("own", "A", 9, right=True, sortable=True, leave=2),
            Column("b_own", "B", 9, right=True, leave=1),
            wide,
        )
    both = view.group in _WITH_TOTAL
    found = [
        Column("own", title_of_own(view), 9, True, True),
        Column("total", "total", 9, True, True) if both else None,
        Column("share", "share", _BAR + 6, leave=4),
        Column("count", "events", 7, True, True, leave=3)
        if view.measure is not Measure.COUNT
        else None,
        Column("duration_ns", "time", 8, True, True, leave=1)
        if view.tab in (Tab.BLOCK, Tab.VFS, Tab.SPANS)
        else None,
        Column("mean", "each", 8, True, leave=2)
        if view.tab is not Tab.CPU and view.measure is not Measure.COUNT
        else None,
        wide,
        Column("module", "module", 18, leave=1) if _has_module(view) else None,
    ]
    return tuple(
        one
        for one in found
        if one and (not chosen or one.key in chosen or one.key in ("label", "own"))
    )


def _has_module(view: View) -> bool:
    """Whether the leaf's module tells anything: of waits and calls it is the kernel's."""
    if view.group is Group.STACK:
        return view.tab in _PLAIN or view.stack_part is StackPart.USER
    return view.group in (Group.LEAF, Group.WAKER)


def title_of_own(view: View) -> str:
    """What the main column measures."""
    if view.group in (Group.STACK, *_WITH_TOTAL):
        return "self"
    return {"ns": "time", "bytes": "bytes", "events": "events"}[measures.unit_of(view)]


def lines(
    table: Table, view: View, pinned: frozenset[str] = frozenset(), chosen: Sequence[str] = ()
) -> tuple[Line, ...]:
    """The table's rows; pinned ones first, what was left out and what is not known last."""
    shown = columns(view, chosen)
    signed = words.signed(view)
    found = [_line(row, table, view, shown, row.key in pinned, signed) for row in table.rows]
    found.sort(key=lambda line: line.look != "pinned")  # stable: the order within stays
    if table.rest or table.rest_rows:
        label = f"({text.count(table.rest_rows)} more rows)"
        found.append(_sum(REST_KEY, label, table.rest, table.b_rest, table, view, shown))
    if table.other or table.b_other:
        label = "(stacks no longer kept: their time and kind are)"
        found.append(_sum(OTHER_KEY, label, table.other, table.b_other, table, view, shown))
    return tuple(found)


def _line(
    row: Row, table: Table, view: View, shown: Sequence[Column], pinned: bool, signed: bool
) -> Line:
    value = words.value
    cells: dict[str, str | tuple[Piece, ...]] = {
        "own": value(row.own, table.unit, sign=signed),
        "total": value(row.total, table.unit, sign=signed),
        "b_own": value(row.b_own, table.unit, sign=signed),
        "share": _share(row.share),
        "count": text.si(row.count),
        "duration_ns": text.duration(row.duration_ns),
        "mean": _mean(row, table, view),
        "change": ((fit(words.change(row.change), 6, right=True), _direction(row.change)),),
        "label": label(row, view.group, plain=view.tab in _PLAIN),
        "module": words.module_name(row.module),
    }
    return Line(row.key, tuple(cells[one.key] for one in shown), "pinned" if pinned else "")


def _sum(
    key: tuple[str, ...],
    what: str,
    amount: int,
    b_amount: int,
    table: Table,
    view: View,
    shown: Sequence[Column],
) -> Line:
    part = amount / table.total if table.total > 0 else 0.0
    cells = {
        "own": words.value(amount, table.unit, sign=words.signed(view)),
        "b_own": words.value(b_amount, table.unit, sign=words.signed(view)),
        "share": " " * _BAR + fit(words.share(part), 6, right=True),
        "label": what,
    }
    return Line(key, tuple(cells.get(one.key, "") for one in shown), "dim")


def _share(part: float) -> tuple[Piece, ...]:
    look = "fall" if part < 0 else "bar"
    return ((bar(min(1.0, abs(part)), _BAR), look), (fit(words.share(part), 6, right=True), ""))


def _mean(row: Row, table: Table, view: View) -> str:
    """Per event: of IO the time, else the value."""
    if not row.count:
        return ""
    if view.tab in (Tab.BLOCK, Tab.VFS):
        return text.duration(row.duration_ns // row.count)
    if table.unit == "events" or view.tab is Tab.CPU:
        return ""
    return words.value(row.own // row.count, table.unit)


def _direction(part: float) -> str:
    return "rise" if part > 0 else "fall" if part < 0 else "dim"


def label(row: Row, group: Group, *, plain: bool = True) -> str | tuple[Piece, ...]:
    """What the row is: a stack leaf first with its callers, or a name.

    Not `plain`: the user's leaf first, after the one frame of the kernel that says what it does.
    """
    if group not in (Group.STACK, Group.WAKER):
        shown = text.printable(row.label[:_LONGEST]) or "(none)"
        if group in (Group.PROCESS, Group.THREAD) and (row.pid or row.tgid):
            return ((shown, "leaf"), (f"  {row.pid or row.tgid}", "caller"))
        return ((shown, "leaf"),)
    names = row.names or ((row.label,) if row.label else ())
    if not names:
        return (("(no stack)", "caller"),)
    pieces: list[Piece] = []
    entered = 0 if plain else plumbing.boundary(names)
    if entered and entered < len(names):
        does = plumbing.telling(names[:entered])
        pieces = [(f"{text.printable(does[:80])} │ ", "kernel")] if does else []
        names = tuple(plumbing.telling_callers(plumbing.speaking(names[entered:])))
    leaf = text.printable(names[0][:_LONGEST])
    pieces.append((leaf, "leaf"))
    if group is Group.WAKER and row.label and row.label != names[0]:
        pieces = [(text.printable(row.label[:200]) + ": ", "pinned"), *pieces]
    callers = "".join(f" ← {text.printable(name[:200])}" for name in names[1:])
    if callers:
        pieces.append((callers, "caller"))
    return tuple(pieces)


PROCESS_COLUMNS: tuple[Column, ...] = (
    Column("tgid", "pid", 8, True, True),
    Column("name", "name", 16, sortable=True),
    Column("cpu_ns", "cpu", 7, True, True),
    Column("blocked_ns", "blocked", 8, True, True),
    Column("runnable_ns", "runnable", 8, True, True, leave=6),
    Column("rss", "rss", 6, True, True),
    Column("growth", "growth", 7, True, True, leave=4),
    Column("read", "read", 7, True, True, leave=5),
    Column("write", "write", 7, True, True, leave=5),
    Column("block_read", "disk r", 7, True, True, leave=2),
    Column("block_write", "disk w", 7, True, True, leave=2),
    Column("received", "net in", 7, True, True, leave=3),
    Column("sent", "net out", 7, True, True, leave=3),
    Column("command_line", "command", 0, leave=1, least=16),
)


def process_lines(processes: Processes, *, by_thread: bool) -> tuple[Line, ...]:
    """Processes or threads; what has no number shows none."""
    found = [_process(row, processes.seconds) for row in processes.rows]
    if processes.rest_rows:
        what = f"({text.count(processes.rest_rows)} more)"
        cells = ("", what, *[""] * (len(PROCESS_COLUMNS) - 2))
        found.append(Line(REST_KEY, cells, "dim"))
    return tuple(found)


def _process(row: ProcessRow, seconds: float) -> Line:
    span = max(seconds, 1e-9)

    def cores(ns: int) -> str:
        return f"{ns / span / 1e7:.0f}%" if ns else "·"

    def threads(ns: int) -> str:
        part = ns / span / 1e9
        return "·" if not ns else f"{part:.2f}" if part < 10 else f"{part:.0f}"

    def flow(amount: int) -> str:
        return words.short_size(round(amount / span)) if amount else "·"

    growth = words.short_size(row.growth)
    cells: tuple[str | tuple[Piece, ...], ...] = (
        str(row.pid or row.tgid),
        text.printable(row.name) + ("" if row.alive else " †"),
        cores(row.cpu_ns),
        threads(row.blocked_ns),
        threads(row.runnable_ns),
        words.short_size(row.rss) if row.rss else "·",
        ("+" * (row.growth > 0) + growth) if row.growth else "·",
        *map(flow, (row.read, row.write, row.block_read, row.block_write, row.received, row.sent)),
        text.printable(row.command_line[:_LONGEST]) or text.printable(row.container or row.cgroup),
    )
    return Line((row.tgid, row.pid), cells, "" if row.alive else "dim")
