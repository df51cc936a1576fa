"""The ledger of spans as lines: columns, rows by name or instance, and what is told of a row. Pure.

Comes in: a `Ledger`, a row's `Detail`. Goes out: columns, lines, lines of the detail.
"""

from __future__ import annotations

import textwrap
from collections.abc import Sequence

from stacks_tui import text
from stacks_tui.live.lock_spans import HOLD, WAIT
from stacks_tui.live.snapshot import Detail, InstanceRow, Ledger, SpanRow
from stacks_tui.live.view import View
from stacks_tui.tui import plumbing, words
from stacks_tui.tui.cells import Piece, spark
from stacks_tui.tui.stacks import frame_line
from stacks_tui.tui.widgets.paper import PaperLine
from stacks_tui.tui.widgets.table import Cell, Column, Line

NONE_YET = "no program here has entered a span yet"
NONE_RECORDED = "no program entered a span while this was recorded"
HOW_TO_MARK = (
    'spans are what programs mark themselves: with tracing_stacks.span("name") in Python, '
    "tracing_stacks.h in C and C++, tracing in Rust, or OpenTelemetry as it comes "
    "(README, Spans)"
)
DEADLOCK_KEY = "deadlock"
REST_KEY = ("rest",)

_COSTS = (
    Column("cpu_ns", "CPU", 8, right=True, sortable=True),
    Column("blocked_ns", "blocked", 8, right=True, sortable=True),
    Column("runnable_ns", "runnable", 8, right=True, sortable=True, leave=3),
    Column("file_bytes", "files", 6, right=True, sortable=True, leave=5),
    Column("socket_bytes", "net", 6, right=True, sortable=True, leave=6),
    Column("block_bytes", "block", 6, right=True, sortable=True, leave=1),
    Column("growth", "growth", 7, right=True, sortable=True, leave=4),
)
_BY_NAME = (
    Column("count", "count", 6, right=True, sortable=True),
    Column("open", "open", 5, right=True, sortable=True),
    Column("busy_ns", "busy", 8, right=True, sortable=True),
    *_COSTS,
    Column("p50_ns", "p50", 8, right=True, sortable=True, leave=7),
    Column("p99_ns", "p99", 8, right=True, sortable=True),
    Column("max_ns", "max", 8, right=True, sortable=True, leave=8),
    Column("label", "span", 0, sortable=True),
)
_INSTANCES = (
    Column("duration_ns", "lasted", 9, right=True, sortable=True),
    Column("state", "", 5),
    Column("busy_ns", "busy", 8, right=True, sortable=True),
    *_COSTS,
    Column("label", "span", 0, sortable=True),
)
_SIZES = ("file_bytes", "socket_bytes", "block_bytes")


def columns(view: View) -> tuple[Column, ...]:
    """Of the ledger by name, or of instances."""
    return _INSTANCES if view.instances else _BY_NAME


def lines(found: Ledger, view: View) -> list[Line]:
    """Deadlocks, rows, and how many are left out."""
    shown = columns(view)
    made = []
    for at, says in enumerate(found.deadlocks):
        what: Cell = ((text.printable(f" deadlock: {says.rpartition('cycle: ')[2]}"), "rise"),)
        made.append(Line(f"{DEADLOCK_KEY}{at}", (what,)))
    made += [_by_name(row, shown) for row in found.rows]
    made += [_instance(row, shown) for row in found.instances]
    rest: list[str] = []
    if found.rest_rows:
        rest.append(f"({text.count(found.rest_rows)} more rows)")
    if found.evicted:
        rest.append(f"({text.count(found.evicted)} open ones no longer kept)")
    if found.astray:
        rest.append(f"({text.count(found.astray)} spans, nested in too many ways, are in no row)")
    made += [Line((*REST_KEY, at), (f" {said}",), "dim") for at, said in enumerate(rest)]
    return made


def _by_name(row: SpanRow, shown: Sequence[Column]) -> Line:
    marks = []
    if row.stuck:
        marks.append((f"  {text.count(row.stuck)} stuck", "warn"))
    if row.since_seen:
        marks.append((f"  {text.count(row.since_seen)} since seen", "caller"))
    cells: dict[str, str | tuple[Piece, ...]] = {
        "label": ((text.printable(row.name), ""), *marks),
        "count": text.si(row.count) if row.count else "·",
        "open": text.si(row.open) if row.open else "·",
        **_costs(row),
        **{name: _time(getattr(row, name)) for name in ("p50_ns", "p99_ns", "max_ns")},
    }
    return Line(row.key, tuple(cells[one.key] for one in shown))


def _instance(row: InstanceRow, shown: Sequence[Column]) -> Line:
    state = "stuck" if row.stuck else "open" if row.open else ""
    where = f"  in {text.printable(row.parent)}" if row.parent else ""
    about = f"  {_id(row)}" if row.id else ""
    about += f"  #{row.span_id}"
    cells: dict[str, str | tuple[Piece, ...]] = {
        "label": ((text.printable(row.name), ""), (where + about, "caller")),
        "state": ((state, "warn" if row.stuck else "caller"),),
        "duration_ns": "≥" * row.since_seen + _time(row.duration_ns),
        **_costs(row),
    }
    return Line(row.key, tuple(cells[one.key] for one in shown))


def _id(row: InstanceRow) -> str:
    return f"lock {row.id:#x}" if row.name in (WAIT, HOLD) else f"id {row.id}"


def _costs(row: SpanRow | InstanceRow) -> dict[str, str]:
    found = {name: _time(getattr(row, name)) for name in _TIMES}
    for name in _SIZES:
        size = getattr(row, name)
        found[name] = words.short_size(size) if size else "·"
    sign = "+" if row.growth > 0 else ""
    found["growth"] = sign + words.short_size(row.growth) if row.growth else "·"
    return found


_TIMES = ("busy_ns", "cpu_ns", "blocked_ns", "runnable_ns")


def _time(ns: int) -> str:
    return text.duration(ns) if ns else "·"


def detail_lines(
    found: Ledger, key: object, detail: Detail | None, width: int, height: int
) -> tuple[PaperLine, ...]:
    """What there is to say of the row with this key, in at most `height` lines."""
    shown: list[PaperLine] = []
    if isinstance(key, str) and key.startswith(DEADLOCK_KEY):
        at = int(key.removeprefix(DEADLOCK_KEY))
        if at < len(found.deadlocks):
            shown += _wrapped(f"deadlock: {found.deadlocks[at]}", width, "warn")
        return tuple(shown[:height])
    row = found.row(key)
    if row is None:
        return (((" choose a row: what it cost is shown here", "dim"),),)
    shown += _head(row, width)
    if detail is None or detail.key != row.key:
        return tuple(shown[:height])
    for note in detail.notes:
        shown += _wrapped(note, width, "warn" if note.startswith("deadlock") else "")
    room = height - len(shown)
    if detail.frames and room >= 2:
        instance = isinstance(row, InstanceRow)
        what = "seen last in" if instance else "costliest stack"
        if not instance and detail.stacks > 1:
            what += f", of {text.count(detail.stacks)}; enter: instances"
        shown.append(((f" {what}", "head"),))
        frames = plumbing.condensed(list(detail.frames), room - 1)[: room - 1]
        shown += [frame_line(one, width, leaf=at == 0) for at, one in enumerate(frames)]
    return tuple(shown[:height])


def _wrapped(what: str, width: int, look: str) -> list[PaperLine]:
    parts = textwrap.wrap(text.printable(what), max(20, width - 2)) or [""]
    return [((f" {part}", look),) for part in parts]


def _head(row: SpanRow | InstanceRow, width: int) -> list[PaperLine]:
    name = text.truncate(text.printable(row.name), max(20, width // 3))
    if isinstance(row, InstanceRow):
        lasted = ("at least " if row.since_seen else "") + text.duration(row.duration_ns)
        state = "open for" if row.open else "lasted"
        lead: PaperLine = (
            (f" {name} · {state} {lasted}, entered {text.duration(row.busy_ns)}", "head"),
        )
        if not row.stuck:
            return [lead]
        return _joined([lead, ((f" · no sign of life for {text.duration(row.quiet_ns)}", "warn"),)],
                       width)  # fmt: skip
    said = f" {name} · {text.count(row.count)} closed, {text.count(row.open)} open"
    if row.children:
        said += f", {text.count(row.children)} within"
    parts: list[PaperLine] = [((said, "head"),)]
    if row.count:
        times = " · ".join(
            f"{what} {text.duration(ns)}"
            for what, ns in (
                ("p50", row.p50_ns),
                ("p90", row.p90_ns),
                ("p99", row.p99_ns),
                ("max", row.max_ns),
            )
        )
        low = text.duration(1 << row.first_bin)
        high = text.duration(2 << (row.first_bin + len(row.bins) - 1))
        drawn = spark(tuple(map(float, row.bins)), len(row.bins))
        parts.append(((f" · {times}", ""),))
        parts.append(((f"   {low} ", "dim"), (drawn, "spark"), (f" {high}", "dim")))
    return _joined(parts, width)


def _joined(parts: Sequence[PaperLine], width: int) -> list[PaperLine]:
    """Parts one behind the other; what does not fit begins another line."""
    lines: list[PaperLine] = []
    for part in parts:
        cells = sum(text.cell_width(said) for said, _ in part)
        if lines and sum(text.cell_width(said) for said, _ in lines[-1]) + cells <= width:
            lines[-1] = (*lines[-1], *part)
        else:
            (said, look), *rest = part
            lines.append(((f" {said.lstrip(' ·')}", look), *rest))
    return lines
