"""Puts a snapshot on the main screen: lines above and below, the rows of the view, the detail.

Comes in: the screen with its desk and newest snapshot. Goes out: lines for its widgets, which draw
only what has changed.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from stacks_tui import text
from stacks_tui.live.snapshot import (
    Collecting,
    Graph,
    Histogram,
    Ledger,
    Processes,
    Snapshot,
    Timeline,
)
from stacks_tui.live.snapshot import Table as TableRows
from stacks_tui.live.view import Panel
from stacks_tui.tui import distribution, keys, ledger, rows, stacks, strips, trees, words
from stacks_tui.tui.widgets.bar import BarLine, Spot
from stacks_tui.tui.widgets.flame import FlameGraph
from stacks_tui.tui.widgets.paper import Paper
from stacks_tui.tui.widgets.table import Table
from stacks_tui.tui.widgets.timeline import TimelineStrip

if TYPE_CHECKING:
    from stacks_tui.tui.screens.main import MainScreen


def draw(screen: MainScreen) -> None:
    """All but the rows: what is above and below them."""
    if not screen.ready:
        return
    snap = screen.snap
    view = screen.desk.view
    screen.query_one("#title", BarLine).show(*strips.title(_state(screen), view, snap))
    programs = snap.programs if snap else ()
    screen.query_one("#kinds", BarLine).show(*strips.kinds(programs, snap))
    gauges = strips.gauges(snap.gauges, screen.size.width) if snap else [Spot(f" {screen.phase}")]
    screen.query_one("#gauges", BarLine).show(gauges)
    by_name = {program.program: program for program in programs}
    screen.query_one("#tabs", BarLine).show(*strips.tabs(view, by_name, _marks(screen)))
    _draw_trust(screen, snap)
    screen.query_one("#keys", BarLine).show(_hints(screen))
    draw_detail(screen)


def _state(screen: MainScreen) -> strips.State:
    mode = "paused" if screen.desk.paused is not None and screen.mode == "live" else screen.mode
    return strips.State(screen.what or "stacks-tui", mode, text.printable(screen.phase))


def _draw_trust(screen: MainScreen, snap: Snapshot | None) -> None:
    bar = screen.query_one("#trust", BarLine)
    if screen.mode == "dead":
        why = text.printable(screen.phase) or "the collector is gone"
        kept = " · what was recorded is kept" if screen.stacks.directory else ""
        again = [Spot(" R ", "key", "restart"), Spot("restart ", "name", "restart")]
        bar.show(
            [Spot(" STOPPED ", "bad"), Spot(f" {why}", "name", rank=1), Spot(kept, rank=2)],
            again * screen.stacks.can_restart,
        )
        bar.set_class(True, "-alarm")
        return
    left, right, alarm = strips.trust(snap.trust if snap else None, snap.began if snap else 0)
    bar.show(left, right)
    bar.set_class(alarm, "-alarm")


def _marks(screen: MainScreen) -> str:
    if screen.desk.view.compares:
        return f"A/B {screen.desk.mark_name}" if screen.size.width >= 120 else "A/B"
    return f"A = {screen.desk.mark_name}" if screen.desk.mark is not None else ""


def _hints(screen: MainScreen) -> list[Spot]:
    panel = screen.desk.view.panel.value
    found = [Spot(" ")]
    taste = screen.stacks.taste.keys
    for at, name in enumerate(keys.HINTS.get(panel, keys.HINTS["nothing"])):
        key = keys.BY_ID[name]
        pressed = keys.shown(taste.get(key.id, key.keys).split(",")[0])
        rank = 0 if name in ("session.help", "session.quit") else at + 1
        found.append(Spot(pressed, "key", key.action, rank))
        found.append(Spot(f" {key.hint}  ", "", key.action, rank, short=f" {key.hint} "))
    return found


def _empty(screen: MainScreen, snap: Snapshot) -> str:
    """Why there are no rows, and what to do."""
    if snap.note:
        return text.printable(snap.note)
    view = screen.desk.view
    if snap.live and not snap.received:
        return f"nothing of {screen.what} has been seen yet; a adds other targets"
    name = words.PROGRAM_OF_TAB[view.tab]
    program = next((one for one in snap.programs if one.program == name), None)
    if program is None:
        return f"this version can't collect {name} events yet"
    digit = 1 + [one.program for one in snap.programs].index(name)
    if program.state is Collecting.FAILED:
        return f"{name} can't be had: {text.printable(program.reason)}"
    if program.state is Collecting.OFF and snap.live:
        return f"{name} is off; press {digit} to collect it"
    if view.instance is not None:
        what = words.TAB_NAME[view.tab]
        return f"no {what} events happened in this span itself; tab looks for others, esc goes back"
    if view.panel is Panel.LEDGER and not program.received:
        return f"{ledger.NONE_YET if snap.live else ledger.NONE_RECORDED}; {ledger.HOW_TO_MARK}"
    if view.filter or view.tgid:
        return "nothing passes the filter; esc drops it"
    if program.state is Collecting.OFF and not program.received:
        return f"this recording has no {name} events"
    if view.panel is Panel.LEDGER:
        return "no span was open or closed in this window; w takes a longer one"
    return f"no {words.TAB_NAME[view.tab]} events in this window; w takes a longer one"


def draw_detail(screen: MainScreen) -> None:
    """The chosen row's stack, below the table."""
    paper = screen.query_one("#detail", Paper)
    ledgers = screen.shown.rows if screen.shown is not None else None
    if screen.desk.view.panel is Panel.LEDGER and isinstance(ledgers, Ledger):
        line = screen.chosen().line
        told = screen.snap.detail if screen.snap is not None else None
        key = line.key if line is not None else None
        paper.show(ledger.detail_lines(ledgers, key, told, paper.size.width, paper.size.height))
        return
    found = screen.table_rows()
    if screen.desk.view.panel is not Panel.TABLE or found is None:
        return
    size = paper.size
    if size.width and size.height:
        view = screen.desk.view
        row, detail = screen.row(), screen.detail()
        paper.show(stacks.lines(row, detail, view, found.unit, size.width, size.height))


def draw_rows(screen: MainScreen, snap: Snapshot) -> None:
    """The rows of the view."""
    view = screen.desk.view
    sort = (view.sort, not view.reverse)
    found = snap.rows
    width = screen.size.width
    if isinstance(found, TableRows):
        chosen = screen.stacks.taste.columns
        lines = rows.lines(found, view, screen.desk.pinned, chosen)
        screen.query_one("#table", Table).show(
            rows.columns(view, chosen), lines, sort, empty=_empty(screen, snap)
        )
        screen.want_detail()
    elif isinstance(found, Graph) and view.panel is Panel.TREE:
        draw_tree(screen, found)
    elif isinstance(found, Graph):
        screen.query_one(FlameGraph).show(found, compares=view.compares, zoom=view.zoom)
    elif isinstance(found, Processes):
        lines = rows.process_lines(found, by_thread=view.by_thread)
        empty = "no process had events in this window"
        screen.query_one("#processes", Table).show(rows.PROCESS_COLUMNS, lines, sort, empty=empty)
    elif isinstance(found, Ledger):
        shown = ledger.lines(found, view)
        columns = ledger.columns(view)
        empty = _empty(screen, snap)
        screen.query_one("#ledger", Table).show(columns, shown, sort, empty=empty)
        screen.want_detail()
    elif isinstance(found, Histogram):
        table = screen.query_one("#histogram", Table)
        what = found.by or "nothing here differs in size: choose blocked, VFS, block, net"
        shown = distribution.lines(found, width)
        table.show(distribution.columns(found, width), shown, empty=what)
    elif isinstance(found, Timeline) or view.panel is Panel.TIMELINE:
        by_second = found if isinstance(found, Timeline) else None
        until = _strips_until(by_second, snap)
        screen.query_one(TimelineStrip).show(by_second, _no_strips(snap), until)
    elif snap.note:
        screen.chosen().show((), (), sort, empty=_empty(screen, snap))


def _no_strips(snap: Snapshot) -> str:
    if snap.note:
        return text.printable(snap.note)
    return (
        "nothing passes the filter; esc drops it" if snap.view.narrows else "nothing recorded yet"
    )


def _strips_until(found: Timeline | None, snap: Snapshot) -> str:
    """What is filtered while it is recorded lacks the newest seconds."""
    if found is None or not found.until:
        return ""
    return f"up to {max(0, snap.time - found.until) // 10**9} s ago"


def draw_tree(screen: MainScreen, graph: Graph) -> None:
    """The tree, with the branches that are open."""
    compares = screen.desk.view.compares
    columns = trees.COMPARE_COLUMNS if compares else trees.COLUMNS
    lines = trees.lines(graph, screen.branches, compares=compares)
    empty = _empty(screen, screen.snap) if screen.snap else ""
    screen.query_one("#tree", Table).show(columns, lines, empty=empty)
