"""The main screen: what is looked at above, one of several views, what it can be trusted below.

Comes in: snapshots and keys. Goes out: the view that is wanted, and commands. What keys do is in
`actions`, what is drawn in `drawing`; the trust strip is part of every view.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, cast

from textual import on
from textual.app import ComposeResult, SystemCommand
from textual.binding import BindingType
from textual.command import Provider
from textual.screen import Screen
from textual.timer import Timer
from textual.widgets import ContentSwitcher

from stacks_tui import text
from stacks_tui.live.snapshot import Detail, Graph, Row, Snapshot
from stacks_tui.live.snapshot import Table as TableRows
from stacks_tui.live.view import Group, Panel, View
from stacks_tui.tui import keys, stacks, trees
from stacks_tui.tui.actions import comparing, moves, spans, steering, taking
from stacks_tui.tui.desk import Desk, drill
from stacks_tui.tui.screens import drawing
from stacks_tui.tui.screens.dialogs import Read
from stacks_tui.tui.screens.palette import Everything
from stacks_tui.tui.widgets.bar import BarLine
from stacks_tui.tui.widgets.filter import FilterLine
from stacks_tui.tui.widgets.flame import FlameGraph
from stacks_tui.tui.widgets.paper import Paper, PaperLine
from stacks_tui.tui.widgets.sql import QueryArea, SqlPrompt
from stacks_tui.tui.widgets.table import Table
from stacks_tui.tui.widgets.timeline import TimelineStrip

if TYPE_CHECKING:
    from stacks_tui.tui.app import StacksApp

_SELECT_S = 0.08
"""How long the cursor must rest on a row before its details are asked for."""


class MainScreen(Screen[None]):
    """See the module."""

    COMMANDS: ClassVar[set[type[Provider]]] = {Everything}  # type: ignore[assignment]
    BINDINGS: ClassVar[list[BindingType]] = [key.binding() for key in keys.KEYS]
    AUTO_FOCUS = "#table"

    def __init__(self, view: View) -> None:
        super().__init__()
        self.desk = Desk(view)
        self.mode = "starting"
        self.what = ""
        self.phase = ""
        self._parts = 0
        """How many widgets it has; 0: they are not there yet."""
        self.snap: Snapshot | None = None
        self.shown: Snapshot | None = None
        """The snapshot whose rows stand on the screen."""
        self.branches: dict[int, bool] = {}
        self._select: Timer | None = None

    @property
    def stacks(self) -> StacksApp:
        """The app, as what it is."""
        return cast("StacksApp", self.app)

    def compose(self) -> ComposeResult:
        """From top to bottom."""
        yield BarLine(id="title")
        yield BarLine(id="kinds")
        yield BarLine(id="gauges")
        yield BarLine(id="tabs")
        with ContentSwitcher(initial="table", id="views"):
            yield Table(id="table")
            yield Table(id="tree")
            yield FlameGraph(id="flame")
            yield Table(id="processes")
            yield Table(id="ledger")
            yield Table(id="histogram")
            yield TimelineStrip(id="timeline")
            yield SqlPrompt(id="sql")
        yield Paper(id="detail")
        yield FilterLine()
        yield BarLine(id="trust")
        yield BarLine(id="keys")

    def on_mount(self) -> None:
        """Draw what is known by now."""
        self._parts = len(self.children)
        self.query_one("#detail", Paper).can_focus = False
        if self.snap is not None:
            self.take(self.snap)
        self.draw()

    def on_resize(self) -> None:
        """What fits is another matter now."""
        self.call_after_refresh(self.draw)

    @property
    def ready(self) -> bool:
        """All its widgets are there: not yet before it is mounted, and no longer when it goes."""
        return 0 < self._parts <= len(self.children)

    def now(self, mode: str, what: str | None = None, phase: str | None = None) -> None:
        """How it stands: `live`, `ended`, `dead` …"""
        self.mode = mode
        if what is not None:
            self.what = what
        self.phase = phase if phase is not None else self.phase
        if mode in ("live", "recording", "ended"):
            self.phase = ""
        self.draw()

    def opened(self) -> None:
        """There is a recording."""
        if not self.ready:
            if not self._parts:
                self.call_later(self.opened)
            return
        folder = Path(self.stacks.directory).name
        if not self.stacks.live and not self.what:
            self.what = text.printable(folder)
        self.query_one(SqlPrompt).point_at(Path(self.stacks.directory))
        self.draw()

    def leaving(self) -> None:
        """The recording is ended and written; nothing else can be done."""
        self.desk.resume()
        self.now("writing", phase="ending")
        self.app.push_screen(Read("ending the session", lambda width: self._leaving_lines(width)))

    def _leaving_lines(self, width: int) -> list[PaperLine]:
        size = text.size(self.snap.bytes_on_disk) if self.snap else "nothing"
        received = text.count(self.snap.received) if self.snap else "0"
        return [
            ((" Detaching, and writing what is still in memory.", "leaf"),),
            (),
            ((f" {received} events, {size} so far, in", ""),),
            ((f" {text.printable(self.stacks.directory) or 'no folder yet'}", "key"),),
            (),
            ((" Press ^c again to leave at once: it is made whole when it is opened.", "dim"),),
        ]

    def take(self, snap: Snapshot) -> None:
        """A snapshot came."""
        first = self.snap is None
        self.snap = snap
        if not self.ready:
            return
        if self.mode == "starting" and snap.live and snap.received:
            self.mode, self.phase = "live", ""
        if first and self.mode in ("recording", "ended") and not snap.live:
            self.phase = ""
        if snap.rows is not None and self._answers(snap.view):
            self.shown = snap
            drawing.draw_rows(self, snap)
        elif snap.note and self._answers(snap.view):
            drawing.draw_rows(self, snap)
        self.draw()

    @property
    def settled(self) -> bool:
        """What stands on the screen answers what was asked for last, with its details."""
        if self.desk.view.panel is Panel.NOTHING:
            return self.snap is not None
        if self.shown is None or not self._answers(self.shown.view):
            return False
        return self.row() is None or self.detail() is not None

    def chosen(self) -> Table:
        """The table that has a detail: of stacks, or the ledger."""
        return self.query_one(
            "#ledger" if self.desk.view.panel is Panel.LEDGER else "#table", Table
        )

    def _answers(self, asked: View) -> bool:
        """Whether rows that answer this may be shown: what is chosen, and how much, may differ."""
        wanted = self.desk.view
        return wanted == replace(
            asked, selected=wanted.selected, names=wanted.names, top=wanted.top
        )

    def draw(self) -> None:
        """Draw all but the rows, as it stands now."""
        drawing.draw(self)

    def ask(self, changed: bool = True) -> None:
        """Ask for the view of the desk, if it is another one."""
        if changed:
            self.stacks.ask(self.wanted())
            self._switch()
            self.draw()

    def wanted(self) -> View:
        """The view to ask for: the desk's, with as many rows as can be looked at."""
        tall = self.size.height if self.size.height else 24
        view = self.desk.view
        needs = 24 if view.group in (Group.STACK, Group.WAKER) else 1  # also beyond the kernel's
        return replace(view, names=needs, top=max(200, tall * 4))

    def _switch(self) -> None:
        panel = self.desk.view.panel
        switcher = self.query_one("#views", ContentSwitcher)
        wanted = panel.value if panel is not Panel.NOTHING else "sql"
        if switcher.current != wanted:
            switcher.current = wanted
            self.set_class(wanted not in ("table", "ledger"), "-whole")
            target = self.query_one(f"#{wanted}")
            (target.query_one(QueryArea) if wanted == "sql" else target).focus()

    def table_rows(self) -> TableRows | None:
        """The table that stands on the screen; None: another view does."""
        found = self.shown.rows if self.shown is not None else None
        return found if isinstance(found, TableRows) else None

    def row(self) -> Row | None:
        """The row that the cursor is on."""
        line = self.query_one("#table", Table).line
        found = self.table_rows()
        if line is None or found is None:
            return None
        return next((row for row in found.rows if row.key == line.key), None)

    def detail(self) -> Detail | None:
        """Of the row that the cursor is on, once it has come."""
        row = self.row()
        detail = self.snap.detail if self.snap is not None else None
        return detail if row is not None and detail is not None and detail.key == row.key else None

    def want_detail(self) -> None:
        """Ask for the details of the row that the cursor is on, once it rests there."""
        line = self.chosen().line
        key = line.key if line is not None and isinstance(line.key, str) else ""
        if key != self.desk.view.selected:
            self.desk.go(selected=key)
            if self._select is not None:
                self._select.stop()
            self._select = self.set_timer(_SELECT_S, lambda: self.stacks.ask(self.wanted()))

    @on(Table.Chosen, "#table, #ledger")
    def _chosen(self) -> None:
        self.want_detail()
        drawing.draw_detail(self)

    @on(Table.Sorted)
    def _sorted(self, event: Table.Sorted) -> None:
        if event.table.id in ("table", "processes", "ledger"):
            self.ask(self.desk.sort_by(event.column.key))

    @on(Table.Activated, "#table")
    def _open_row(self) -> None:
        row = self.row()
        if row is None:
            return
        changes = drill(self.desk.view, row.label, row.tgid, row.pid)
        if changes is not None and not self.desk.view.compares:
            self.ask(self.desk.go(**changes))
        else:
            self._read_stack()

    def _read_stack(self) -> None:
        detail = self.detail()
        if detail is None:
            self.notify("its details are still to come", markup=False)
            return
        leaf = detail.frames[0].name if detail.frames else "no stack"
        title = f"{len(detail.frames)} frames, leaf first: {leaf[:60]}"
        copied = stacks.plain(detail)
        self.app.push_screen(Read(title, lambda width: stacks.whole(detail, width), copied))

    @on(Table.Activated, "#processes")
    def _open_process(self, event: Table.Activated) -> None:
        if isinstance(event.line.key, tuple) and len(event.line.key) == 2:
            self.ask(self.desk.open_process(*event.line.key))

    @on(Table.Activated, "#ledger")
    def _open_span(self) -> None:
        spans.open_row(self)

    @on(Table.Activated, "#tree")
    def _open_branch(self, event: Table.Activated) -> None:
        found = self.shown.rows if self.shown is not None else None
        if isinstance(found, Graph) and isinstance(event.line.key, int):
            places = trees.places(found)
            at = places.index(event.line.key) if event.line.key in places else 0
            whole = max(1, abs(found.nodes[0].total))
            was = self.branches.get(
                event.line.key, abs(found.nodes[at].total) / whole >= trees.OPEN_SHARE
            )
            self.branches[event.line.key] = not was
            drawing.draw_tree(self, found)

    @on(FlameGraph.Zoomed)
    def _zoomed(self, event: FlameGraph.Zoomed) -> None:
        self.ask(self.desk.go(zoom=event.keys))

    @on(TimelineStrip.Brushed)
    def _brushed(self, event: TimelineStrip.Brushed) -> None:
        self.desk.set_window(event.window)
        self.ask(self.desk.go(panel=Panel.TABLE) or True)

    def action_filter(self) -> None:
        """Type a filter; what passes is shown while one types."""
        self.query_one(FilterLine).open(self.desk.view.filter)

    @on(FilterLine.Typed)
    def _filter_typed(self, event: FilterLine.Typed) -> None:
        self.desk.view = replace(self.desk.view, filter=event.value)
        self.stacks.ask(self.wanted())
        self.draw()

    @on(FilterLine.Closed)
    def _filter_closed(self, event: FilterLine.Closed) -> None:
        self.desk.view = replace(self.desk.view, filter=event.before)
        self.desk.go(filter=event.value)
        self.ask()
        current = self.query_one("#views", ContentSwitcher).current or "table"
        if current != "sql":
            self.query_one(f"#{current}").focus()

    action_panel = moves.panel
    action_tab = moves.tab
    action_next_tab = moves.next_tab
    action_choose_tab = moves.choose_tab
    action_threads = moves.threads
    action_next_window = moves.next_window
    action_choose_window = moves.choose_window
    action_choose_group = moves.choose_group
    action_stack_part = moves.stack_part
    action_python = moves.python
    action_measure = moves.measure
    action_kinds = moves.kinds
    action_minimum_share = moves.minimum_share
    action_back = moves.back
    action_clear = moves.clear
    action_clear_filter = moves.clear_filter
    action_clear_process = moves.clear_process
    action_unzoom = moves.unzoom
    action_sort = moves.sort
    action_reverse = moves.reverse
    action_pin = moves.pin
    action_invert = moves.invert
    action_find = moves.find
    action_children = spans.children
    action_drop_instance = moves.clear
    action_mark = comparing.mark
    action_compare = comparing.compare
    action_collect = steering.collect
    action_pause = steering.pause
    action_refresh = steering.refresh
    action_restart = steering.restart
    action_next_theme = steering.next_theme
    action_log = steering.show_log
    action_help = steering.show_help
    action_targets = steering.targets
    action_copy = taking.copy
    action_export = taking.export
    action_export_at_once = taking.export_at_once
    action_sql = taking.open_sql
    action_show_sql = taking.show_sql

    async def action_quit(self) -> None:
        """End the session, and leave."""
        await self.stacks.action_leave()

    def get_system_commands(self) -> Iterable[SystemCommand]:
        """None but ours."""
        return ()
