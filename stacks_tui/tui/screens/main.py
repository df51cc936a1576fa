"""The main screen: what is looked at above, one of several views, what it can be trusted below.

Comes in: snapshots and keys. Goes out: the view that is wanted, and commands. The trust strip is
part of every view.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, cast

from textual import events, on
from textual.app import ComposeResult, SystemCommand
from textual.binding import BindingType
from textual.command import DiscoveryHit, Hit, Hits, Provider
from textual.screen import Screen
from textual.timer import Timer
from textual.widgets import ContentSwitcher, Input

from stacks_tui import text
from stacks_tui.kinds import PROGRAM_BY_NAME
from stacks_tui.live.snapshot import (
    Collecting,
    Detail,
    Graph,
    Histogram,
    Processes,
    Row,
    Snapshot,
    Timeline,
)
from stacks_tui.live.snapshot import Table as TableRows
from stacks_tui.live.view import Group, Panel, Side, Tab, View, Window
from stacks_tui.session.protocol import DropProgram, SetProgram, SetRefresh
from stacks_tui.tui import distribution, keys, rows, stacks, strips, trees, words
from stacks_tui.tui.desk import Desk, drill
from stacks_tui.tui.screens.dialogs import Ask, Choose, Option, Read
from stacks_tui.tui.widgets.bar import Bar, Spot
from stacks_tui.tui.widgets.flame import FlameGraph
from stacks_tui.tui.widgets.paper import Paper, PaperLine
from stacks_tui.tui.widgets.sql import QueryArea, SqlPrompt
from stacks_tui.tui.widgets.table import Line, Table
from stacks_tui.tui.widgets.timeline import TimelineStrip

if TYPE_CHECKING:
    from stacks_tui.tui.app import StacksApp

REFRESH_HZ = (0.2, 0.5, 1.0, 2.0, 4.0)
_SELECT_S = 0.08
"""How long the cursor must rest on a row before its details are asked for."""
_FILTER_S = 0.3
_SECOND = 1_000_000_000
_FURTHEST_S = 600
"""A live window that stands still can't be longer."""


class Everything(Provider):
    """The command palette: all that keys do."""

    async def discover(self) -> Hits:
        """The whole list."""
        for key in keys.KEYS:
            shown = f"{key.says}  ({keys.shown(key.keys)})"
            yield DiscoveryHit(text.printable(shown), self._does(key), help=key.area)

    async def search(self, query: str) -> Hits:
        """Those that match."""
        matcher = self.matcher(query)
        for key in keys.KEYS:
            score = matcher.match(f"{key.says} {key.hint}")
            if score > 0:
                shown = matcher.highlight(f"{key.says}  ({keys.shown(key.keys)})")
                yield Hit(score, shown, self._does(key), help=key.area)

    def _does(self, key: keys.Key):  # type: ignore[no-untyped-def]  # as Textual's callbacks are
        screen = self.screen

        async def do() -> None:
            await screen.run_action(key.action)

        return do


class MainScreen(Screen[None]):
    """See the module."""

    COMMANDS: ClassVar[set[type[Provider]]] = {Everything}  # type: ignore[assignment]
    BINDINGS: ClassVar[list[BindingType]] = [key.binding() for key in keys.KEYS]
    AUTO_FOCUS = "#table"

    def __init__(self, view: View) -> None:
        super().__init__()
        self.desk = Desk(view)
        self.mode = "starting"
        self._what = ""
        self._phase = ""
        self._parts = 0
        """How many widgets it has; 0: they are not there yet."""
        self._snap: Snapshot | None = None
        self._shown: Snapshot | None = None
        """The snapshot whose rows stand on the screen."""
        self._opened: dict[int, bool] = {}
        self._select: Timer | None = None
        self._filter_timer: Timer | None = None
        self._filter_before = ""

    @property
    def stacks(self) -> StacksApp:
        """The app, as what it is."""
        return cast("StacksApp", self.app)

    def compose(self) -> ComposeResult:
        """From top to bottom."""
        yield Bar(id="title")
        yield Bar(id="kinds")
        yield Bar(id="gauges")
        yield Bar(id="tabs")
        with ContentSwitcher(initial="table", id="views"):
            yield Table(id="table")
            yield Table(id="tree")
            yield FlameGraph(id="flame")
            yield Table(id="processes")
            yield Table(id="histogram")
            yield TimelineStrip(id="timeline")
            yield SqlPrompt(id="sql")
        yield Paper(id="detail")
        yield Input(
            placeholder="text  !text  /regex/  frame: module: process: thread: span:",
            id="filter",
            select_on_focus=False,
        )
        yield Bar(id="trust")
        yield Bar(id="keys")

    def on_mount(self) -> None:
        """Draw what is known by now."""
        self._parts = len(self.children)
        self.query_one("#detail", Paper).can_focus = False
        if self._snap is not None:
            self.take(self._snap)
        self._draw()

    def on_resize(self) -> None:
        """What fits is another matter now."""
        self.call_after_refresh(self._draw)

    @property
    def _ready(self) -> bool:
        """All its widgets are there: not yet before it is mounted, and no longer when it goes."""
        return 0 < self._parts <= len(self.children)

    # what the app tells

    def now(self, mode: str, what: str | None = None, phase: str | None = None) -> None:
        """How it stands: `live`, `ended`, `dead` …"""
        self.mode = mode
        if what is not None:
            self._what = what
        self._phase = phase if phase is not None else self._phase
        if mode in ("live", "recording", "ended"):
            self._phase = ""
        self._draw()

    def opened(self) -> None:
        """There is a recording."""
        if not self._ready:
            if not self._parts:
                self.call_later(self.opened)
            return
        folder = Path(self.stacks.directory).name
        if not self.stacks.live and not self._what:
            self._what = text.printable(folder)
        self.query_one(SqlPrompt).point_at(Path(self.stacks.directory))
        self._draw()

    def leaving(self) -> None:
        """The recording is ended and written; nothing else can be done."""
        self.desk.resume()
        self.now("writing", phase="ending")
        self.app.push_screen(Read("ending the session", lambda width: self._leaving_lines(width)))

    def _leaving_lines(self, width: int) -> list[PaperLine]:
        size = text.size(self._snap.bytes_on_disk) if self._snap else "nothing"
        received = text.count(self._snap.received) if self._snap else "0"
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
        first = self._snap is None
        self._snap = snap
        if not self._ready:
            return
        if self.mode == "starting" and snap.live and snap.received:
            self.mode, self._phase = "live", ""
        if first and self.mode in ("recording", "ended") and not snap.live:
            self._phase = ""
        if snap.rows is not None and self._answers(snap.view):
            self._shown = snap
            self._draw_rows(snap)
        elif snap.note and self._answers(snap.view):
            self._draw_rows(snap)
        self._draw()

    @property
    def settled(self) -> bool:
        """What stands on the screen answers what was asked for last, with its details."""
        if self._shown is None or not self._answers(self._shown.view):
            return False
        return self._row() is None or self._detail() is not None

    def _answers(self, asked: View) -> bool:
        """Whether rows that answer this may be shown: what is chosen, and how much, may differ."""
        wanted = self.desk.view
        return wanted == replace(
            asked, selected=wanted.selected, names=wanted.names, top=wanted.top
        )

    # asking

    def _ask(self, changed: bool = True) -> None:
        """Ask for the view of the desk, if it is another one."""
        if changed:
            self.stacks.ask(self.wanted())
            self._switch()
            self._draw()

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
            self.set_class(wanted not in ("table",), "-whole")
            target = self.query_one(f"#{wanted}")
            (target.query_one(QueryArea) if wanted == "sql" else target).focus()

    # drawing

    def _state(self) -> strips.State:
        mode = "paused" if self.desk.paused is not None and self.mode == "live" else self.mode
        return strips.State(self._what or "stacks-tui", mode, text.printable(self._phase))

    def _draw(self) -> None:
        """All but the rows."""
        if not self._ready:
            return
        snap = self._snap
        view = self.desk.view
        self.query_one("#title", Bar).show(*strips.title(self._state(), view, snap))
        programs = snap.programs if snap else ()
        self.query_one("#kinds", Bar).show(*strips.kinds(programs, snap))
        gauges = strips.gauges(snap.gauges, self.size.width) if snap else [Spot(f" {self._phase}")]
        self.query_one("#gauges", Bar).show(gauges)
        by_name = {program.program: program for program in programs}
        self.query_one("#tabs", Bar).show(*strips.tabs(view, by_name, self._marks()))
        self._draw_trust(snap)
        self.query_one("#keys", Bar).show(self._hints())
        self._draw_detail()

    def _draw_trust(self, snap: Snapshot | None) -> None:
        bar = self.query_one("#trust", Bar)
        if self.mode == "dead":
            why = text.printable(self._phase) or "the collector is gone"
            kept = " · what was recorded is kept" if self.stacks.directory else ""
            again = [Spot(" R ", "key", "restart"), Spot("restart ", "name", "restart")]
            bar.show(
                [Spot(" STOPPED ", "bad"), Spot(f" {why}", "name", rank=1), Spot(kept, rank=2)],
                again * self.stacks.can_restart,
            )
            bar.set_class(True, "-alarm")
            return
        left, right, alarm = strips.trust(snap.trust if snap else None, snap.began if snap else 0)
        bar.show(left, right)
        bar.set_class(alarm, "-alarm")

    def _marks(self) -> str:
        if self.desk.view.compares:
            return f"A/B {self.desk.mark_name}" if self.size.width >= 120 else "A/B"
        return f"A = {self.desk.mark_name}" if self.desk.mark is not None else ""

    def _hints(self) -> list[Spot]:
        panel = self.desk.view.panel.value
        found = [Spot(" ")]
        taste = self.stacks.taste.keys
        for at, name in enumerate(keys.HINTS.get(panel, keys.HINTS["nothing"])):
            key = keys.BY_ID[name]
            pressed = keys.shown(taste.get(key.id, key.keys).split(",")[0])
            rank = 0 if name in ("session.help", "session.quit") else at + 1
            found.append(Spot(pressed, "key", key.action, rank))
            found.append(Spot(f" {key.hint}  ", "", key.action, rank, short=f" {key.hint} "))
        return found

    def _empty(self, snap: Snapshot) -> str:
        """Why there are no rows, and what to do."""
        if snap.note:
            return text.printable(snap.note)
        view = self.desk.view
        name = words.PROGRAM_OF_TAB[view.tab]
        program = next((one for one in snap.programs if one.program == name), None)
        if program is None:
            return f"this version can't collect {name} events yet"
        digit = 1 + [one.program for one in snap.programs].index(name)
        if program.state is Collecting.FAILED:
            return f"{name} can't be had: {text.printable(program.reason)}"
        if program.state is Collecting.OFF and snap.live:
            return f"{name} is off; press {digit} to collect it"
        if view.filter or view.tgid:
            return "nothing passes the filter; esc drops it"
        if program.state is Collecting.OFF and not program.received:
            return f"this recording has no {name} events"
        return f"no {words.TAB_NAME[view.tab]} events in this window; w takes a longer one"

    def _draw_rows(self, snap: Snapshot) -> None:
        view = self.desk.view
        sort = (view.sort, not view.reverse)
        found = snap.rows
        width = self.size.width
        if isinstance(found, TableRows):
            chosen = self.stacks.taste.columns
            lines = rows.lines(found, view, self.desk.pinned, chosen)
            self.query_one("#table", Table).show(
                rows.columns(view, chosen), lines, sort, empty=self._empty(snap)
            )
            self._want_detail()
        elif isinstance(found, Graph) and view.panel is Panel.TREE:
            self._draw_tree(found)
        elif isinstance(found, Graph):
            self.query_one(FlameGraph).show(found, compares=view.compares, zoom=view.zoom)
        elif isinstance(found, Processes):
            lines = rows.process_lines(found, by_thread=view.by_thread)
            empty = "no process had events in this window"
            self.query_one("#processes", Table).show(rows.PROCESS_COLUMNS, lines, sort, empty=empty)
        elif isinstance(found, Histogram):
            table = self.query_one("#histogram", Table)
            what = found.by or "nothing here differs in size: choose blocked, VFS, block, net"
            shown = distribution.lines(found, width)
            table.show(distribution.columns(found, width), shown, empty=what)
        elif isinstance(found, Timeline):
            self.query_one(TimelineStrip).show(found)
        elif snap.note:
            self.query_one("#table", Table).show((), (), sort, empty=self._empty(snap))

    def _draw_tree(self, graph: Graph) -> None:
        compares = self.desk.view.compares
        columns = trees.COMPARE_COLUMNS if compares else trees.COLUMNS
        lines = trees.lines(graph, self._opened, compares=compares)
        empty = self._empty(self._snap) if self._snap else ""
        self.query_one("#tree", Table).show(columns, lines, empty=empty)

    def _table_rows(self) -> TableRows | None:
        found = self._shown.rows if self._shown is not None else None
        return found if isinstance(found, TableRows) else None

    def _row(self) -> Row | None:
        """The row that the cursor is on."""
        line = self.query_one("#table", Table).line
        found = self._table_rows()
        if line is None or found is None:
            return None
        return next((row for row in found.rows if row.key == line.key), None)

    def _detail(self) -> Detail | None:
        row = self._row()
        detail = self._snap.detail if self._snap is not None else None
        return detail if row is not None and detail is not None and detail.key == row.key else None

    def _draw_detail(self) -> None:
        paper = self.query_one("#detail", Paper)
        found = self._table_rows()
        if self.desk.view.panel is not Panel.TABLE or found is None:
            return
        size = paper.size
        if size.width and size.height:
            view = self.desk.view
            row, detail = self._row(), self._detail()
            paper.show(stacks.lines(row, detail, view, found.unit, size.width, size.height))

    def _want_detail(self) -> None:
        """Ask for the details of the row that the cursor is on, once it rests there."""
        line = self.query_one("#table", Table).line
        key = line.key if line is not None and isinstance(line.key, str) else ""
        if key != self.desk.view.selected:
            self.desk.go(selected=key)
            if self._select is not None:
                self._select.stop()
            self._select = self.set_timer(_SELECT_S, lambda: self.stacks.ask(self.wanted()))

    # what the widgets say

    @on(Table.Chosen, "#table")
    def _chosen(self) -> None:
        self._want_detail()
        self._draw_detail()

    @on(Table.Sorted)
    def _sorted(self, event: Table.Sorted) -> None:
        if event.table.id in ("table", "processes"):
            self._ask(self.desk.sort_by(event.column.key))

    @on(Table.Activated, "#table")
    def _open_row(self) -> None:
        row = self._row()
        if row is None:
            return
        changes = drill(self.desk.view, row.label, row.tgid, row.pid)
        if changes is not None and not self.desk.view.compares:
            self._ask(self.desk.go(**changes))
        else:
            self._read_stack()

    def _read_stack(self) -> None:
        detail = self._detail()
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
            self._ask(self.desk.open_process(*event.line.key))

    @on(Table.Activated, "#tree")
    def _open_branch(self, event: Table.Activated) -> None:
        found = self._shown.rows if self._shown is not None else None
        if isinstance(found, Graph) and isinstance(event.line.key, int):
            places = trees.places(found)
            at = places.index(event.line.key) if event.line.key in places else 0
            whole = max(1, abs(found.nodes[0].total))
            was = self._opened.get(
                event.line.key, abs(found.nodes[at].total) / whole >= trees.OPEN_SHARE
            )
            self._opened[event.line.key] = not was
            self._draw_tree(found)

    @on(FlameGraph.Zoomed)
    def _zoomed(self, event: FlameGraph.Zoomed) -> None:
        self._ask(self.desk.go(zoom=event.keys))

    @on(TimelineStrip.Brushed)
    def _brushed(self, event: TimelineStrip.Brushed) -> None:
        self.desk.set_window(event.window)
        self._ask(self.desk.go(panel=Panel.TABLE) or True)

    # views

    def action_panel(self, name: str) -> None:
        """Show another view."""
        self._ask(self.desk.go(panel=Panel(name)))

    def action_tab(self, name: str) -> None:
        """Measure something else."""
        panel = self.desk.view.panel
        keep = panel if panel not in (Panel.NOTHING, Panel.TIMELINE) else Panel.TABLE
        self._ask(self.desk.go(tab=Tab(name), panel=keep))

    def action_next_tab(self, step: int) -> None:
        """The tab beside."""
        self._ask(self.desk.next_tab(step))

    def action_threads(self) -> None:
        """Processes or threads."""
        if self.desk.view.panel is Panel.PROCESSES:
            self._ask(self.desk.go(by_thread=not self.desk.view.by_thread))
        else:
            self._ask(self.desk.go(panel=Panel.PROCESSES, by_thread=True))

    def action_next_window(self, step: int) -> None:
        """A longer or shorter window."""
        self._ask(self.desk.next_window(step))

    async def action_choose_window(self) -> None:
        """Choose the window from a list."""
        options = [Option(window, name) for _, window, name in words.WINDOWS]

        def chosen(window: object) -> None:
            if isinstance(window, Window):
                self._ask(self.desk.set_window(window))

        self.app.push_screen(Choose("window", options, self.desk.view.window), chosen)

    def action_choose_group(self) -> None:
        """Choose what a row is."""
        options = [Option(group, name, says) for group, name, says in words.GROUPS]

        def chosen(group: object) -> None:
            if isinstance(group, Group):
                self._ask(self.desk.go(group=group, panel=Panel.TABLE))

        self.app.push_screen(Choose("a row is a …", options, self.desk.view.group), chosen)

    def action_stack_part(self) -> None:
        """User, kernel, both."""
        self._ask(self.desk.next_part())

    def action_measure(self) -> None:
        """Amount, time, number."""
        if not self.desk.next_measure():
            self.notify(f"{words.TAB_NAME[self.desk.view.tab]} is measured in one way only")
            return
        self._ask()

    def action_kinds(self) -> None:
        """Reads, writes, all."""
        if not self.desk.next_kinds():
            self.notify(f"{words.TAB_NAME[self.desk.view.tab]} has one kind only")
            return
        self._ask()

    def action_minimum_share(self) -> None:
        """Leave out what is small."""
        self._ask(self.desk.next_minimum())

    def action_back(self) -> None:
        """The view before."""
        self._ask(self.desk.go_back())

    def action_clear(self) -> None:
        """Drop the last thing that narrows."""
        timeline = self.query_one(TimelineStrip)
        if self.desk.view.panel is Panel.TIMELINE and timeline.brushing:
            timeline.drop()
        elif self.desk.view.panel is Panel.NOTHING:
            self.action_panel("table")
        else:
            self._ask(self.desk.clear())

    def action_clear_filter(self) -> None:
        """Drop the filter."""
        self._ask(self.desk.go(filter=""))

    def action_clear_process(self) -> None:
        """All processes."""
        self._ask(self.desk.go(tgid=0, pid=0))

    def action_unzoom(self) -> None:
        """The whole graph."""
        self._ask(self.desk.go(zoom=()))

    # filter

    def action_filter(self) -> None:
        """Type a filter; what passes is shown while one types."""
        line = self.query_one("#filter", Input)
        self._filter_before = self.desk.view.filter
        line.value = self._filter_before
        line.add_class("-open")
        line.focus()
        line.action_end()

    @on(Input.Changed, "#filter")
    def _filter_changed(self, event: Input.Changed) -> None:
        if not self.query_one("#filter").has_class("-open"):
            return
        if self._filter_timer is not None:
            self._filter_timer.stop()
        value = event.value
        self._filter_timer = self.set_timer(_FILTER_S, lambda: self._set_filter(value))

    def _set_filter(self, value: str) -> None:
        if self.query_one("#filter").has_class("-open"):
            self.desk.view = replace(self.desk.view, filter=value.strip())
            self.stacks.ask(self.wanted())
            self._draw()

    @on(Input.Submitted, "#filter")
    def _filter_done(self, event: Input.Submitted) -> None:
        self._close_filter(event.value.strip())

    def _close_filter(self, value: str) -> None:
        if self._filter_timer is not None:
            self._filter_timer.stop()
        self.query_one("#filter").remove_class("-open")
        self.desk.view = replace(self.desk.view, filter=self._filter_before)
        self.desk.go(filter=value)
        self._ask()
        self._focus_view()

    def _focus_view(self) -> None:
        current = self.query_one("#views", ContentSwitcher).current or "table"
        if current != "sql":
            self.query_one(f"#{current}").focus()

    def on_key(self, event: events.Key) -> None:
        """Escape leaves the filter as it was."""
        line = self.query_one("#filter", Input)
        if event.key == "escape" and line.has_focus:
            event.stop()
            event.prevent_default()
            self._close_filter(self._filter_before)

    # rows

    def action_sort(self, step: int) -> None:
        """Sort by the column beside."""
        columns = tuple(
            one.key for one in rows.columns(self.desk.view) if one.sortable and one.key != "label"
        )
        self._ask(self.desk.next_sort(step, columns))

    def action_reverse(self) -> None:
        """The other way round."""
        self._ask(self.desk.go(reverse=not self.desk.view.reverse))

    def action_pin(self) -> None:
        """Keep the row on top, or no longer."""
        line = self.query_one("#table", Table).line
        if line is not None and isinstance(line.key, str):
            self.desk.pinned ^= {line.key}
            if self._shown is not None:
                self._draw_rows(self._shown)

    def action_copy(self) -> None:
        """Copy the chosen stack, or row, by the terminal."""
        panel = self.desk.view.panel
        detail = self._detail()
        node = self.query_one(FlameGraph).chosen
        if panel is Panel.TABLE and detail is not None and detail.frames:
            copied = stacks.plain(detail)
            self.app.copy_to_clipboard(copied)
            self.notify(f"copied {len(detail.frames)} frames, leaf first", markup=False)
        elif panel is Panel.FLAME and node is not None:
            self.app.copy_to_clipboard(text.printable(node.name))
            self.notify(f"copied {text.printable(node.name[:60])}", markup=False)
        else:
            table = self.query_one("#tree" if panel is Panel.TREE else "#table", Table)
            if table.line is not None:
                self.app.copy_to_clipboard(_plain(table.line))
                self.notify("copied the row", markup=False)

    def action_invert(self) -> None:
        """Callees or callers."""
        self._opened.clear()
        self._ask(self.desk.go(inverted=not self.desk.view.inverted, zoom=()))

    def action_find(self) -> None:
        """Mark frames by name."""
        if self.desk.view.panel is not Panel.FLAME:
            self.action_panel("flame")

        def sought(value: str | None) -> None:
            if value is not None:
                self.query_one(FlameGraph).search(value.strip())

        self.app.push_screen(Ask("find frames", "part of a name; empty: mark none"), sought)

    # comparing

    def action_mark(self) -> None:
        """Mark A, then B, then end."""
        if self._snap is None:
            return
        view = self.desk.view
        side = Side(self._fixed(self._snap), view.tgid)
        name = words.window_name(side.window, 0, self._snap.began)
        if view.panel is Panel.PROCESSES:
            line = self.query_one("#processes", Table).line
            if line is not None and isinstance(line.key, tuple) and len(line.key) == 2:
                side, name = replace(side, tgid=line.key[0]), f"pid {line.key[0]}"
        row = self._row() if view.panel is Panel.TABLE else None
        if view.group is Group.SPAN and row is not None:
            side, name = replace(side, span=row.label), f"span {row.label[:20]}"
        elif view.group is Group.PROCESS and row is not None and row.tgid:
            side, name = replace(side, tgid=row.tgid), f"pid {row.tgid}"
        self.notify(self.desk.set_mark(side, text.printable(name)), markup=False)
        self._ask()

    def _fixed(self, snap: Snapshot) -> Window:
        """The window of what is shown, standing still."""
        return Window(0, snap.begin, snap.end)

    def action_compare(self) -> None:
        """Compare with the time before, or with another recording."""
        if self._snap is None:
            return
        now = self._fixed(self._snap)
        length = now.end - now.begin
        options = [
            Option("before", f"the {text.duration(length)} before", "B is what is shown now"),
            Option("halves", "first half and second half", "of what is shown now"),
        ]
        if not self.stacks.live:
            options.append(Option("other", "another recording", "A is the other one"))
        if self.desk.view.compares or self.desk.mark is not None:
            options.append(Option("end", "end the comparison"))
        self.app.push_screen(Choose("compare", options), lambda how: self._compare(how, now))

    def _compare(self, how: object, now: Window) -> None:
        length = now.end - now.begin
        tgid = self.desk.view.tgid
        match how:
            case "before":
                a = Window(0, now.begin - length, now.begin)
                self.desk.compare(Side(a, tgid), Side(now, tgid), "before → now")
            case "halves":
                middle = now.begin + length // 2 // _SECOND * _SECOND
                a, b = Window(0, now.begin, middle), Window(0, middle, now.end)
                self.desk.compare(Side(a, tgid), Side(b, tgid), "first → second half")
            case "other":
                self._ask_other()
                return
            case "end":
                self.desk.end_comparison()
            case _:
                return
        self._ask()

    def _ask_other(self) -> None:
        def chosen(path: str | None) -> None:
            if path:
                other = Side(words.WINDOWS[-1][1], recording=str(Path(path).expanduser()))
                this = Side(self.desk.view.window)
                self.desk.compare(other, this, f"{text.printable(Path(path).name)} → this")
                self._ask()

        self.app.push_screen(
            Ask("compare with", "folder of another recording", check=_is_recording), chosen
        )

    # session

    def action_collect(self, name: str) -> None:
        """Collect these events, or stop."""
        snap = self._snap
        if snap is None:
            return
        program = next((one for one in snap.programs if one.program == name), None)
        if program is None:
            self.notify(f"{name} can't be collected by this version", severity="warning")
        elif not self.stacks.live:
            self.notify("a recording can't collect more", severity="warning", markup=False)
        elif program.state is Collecting.ON:
            self.stacks.send(DropProgram(name))
            self.notify(f"{name} off; the gap is kept in the recording", markup=False)
        else:
            self.stacks.send(SetProgram(program.spec or _with_stacks(name)))
            self.notify(f"{name} on", markup=False)

    def action_pause(self) -> None:
        """Stand still, or go on; collecting goes on in any case."""
        snap = self._snap
        if self.desk.paused is not None:
            self.desk.resume()
        elif snap is None or not self.stacks.live:
            self.notify("nothing moves here", markup=False)
            return
        elif snap.end - snap.begin > _FURTHEST_S * _SECOND and not self.desk.view.window.end:
            self.notify("more than 10 minutes can't stand still; take a shorter window (w)")
            return
        else:
            self.desk.pause(snap)
        self._ask()

    def action_refresh(self, step: int) -> None:
        """Draw more or less often."""
        order = REFRESH_HZ
        at = min(range(len(order)), key=lambda one: abs(order[one] - self.stacks.refresh_hz))
        hz = order[max(0, min(len(order) - 1, at + step))]
        self.stacks.refresh_hz = hz
        self.stacks.send(SetRefresh(hz))
        self.notify(f"{hz:g} redraws a second", markup=False)

    def action_restart(self) -> None:
        """Collect again."""
        if self.stacks.can_restart:
            self._snap = self._shown = None
            self.stacks.restart()
        else:
            self.notify("there is nothing to start again", markup=False)

    def action_next_theme(self) -> None:
        """The next theme."""
        from stacks_tui.tui.theme import NAMES

        at = NAMES.index(self.app.theme) if self.app.theme in NAMES else -1
        self.app.theme = NAMES[(at + 1) % len(NAMES)]
        self.notify(f"theme: {self.app.theme}", markup=False)

    def action_log(self) -> None:
        """What was said."""
        said = list(self.stacks.said) or [((" nothing was said yet", "dim"),)]
        copied = "\n".join("".join(part for part, _ in line) for line in said)
        self.app.push_screen(Read("log", lambda width: said, copied, at_end=True))

    def action_help(self) -> None:
        """The keys of where one stands."""
        from stacks_tui.tui.screens.help import lines

        panel = self.desk.view.panel.value
        taste = self.stacks.taste.keys
        self.app.push_screen(Read("help", lambda width: lines(panel, self.desk.view, taste, width)))

    def action_targets(self) -> None:
        """Choose processes: at first what to record, later what to add or drop."""
        from stacks_tui.tui.screens.targets import TargetsScreen

        if self.stacks.live or self.stacks.options_for is not None:
            self.app.push_screen(TargetsScreen(), self._picked)
        else:
            self.notify("a recording has the targets it has", markup=False)

    def _picked(self, picked: object) -> None:
        from stacks_tui.tui.screens.targets import Picked, commands, start

        if isinstance(picked, Picked):
            if self.stacks.live:
                for command in commands(picked):
                    self.stacks.send(command)
            elif self.stacks.options_for is not None and self.stacks.directory == "":
                begun = start(self.stacks.options_for, picked, self.stacks)
                if begun is not None:
                    self.stacks.begin(begun)
                    return
        if not self.stacks.live and not self.stacks.directory:
            self.app.exit()

    def action_export(self) -> None:
        """Write a file."""
        from stacks_tui.tui.screens.export import ExportScreen

        if self._can_export():
            self.app.push_screen(ExportScreen(self.stacks.directory, self.desk.view, self._snap))

    def action_pprof(self) -> None:
        """Write this view for pprof at once."""
        from stacks_tui.tui.screens.export import ExportScreen

        if self._can_export():
            screen = ExportScreen(self.stacks.directory, self.desk.view, self._snap, at_once=True)
            self.app.push_screen(screen)

    def _can_export(self) -> bool:
        if self.stacks.directory and self._snap is not None:
            return True
        self.notify("nothing is recorded yet", markup=False)
        return False

    def action_sql(self) -> None:
        """The SQL prompt."""
        self._ask(self.desk.go(panel=Panel.NOTHING))
        self.query_one(SqlPrompt).focus_line()

    def action_show_sql(self) -> None:
        """This view's SQL, in the prompt."""
        from stacks_tui.tui.view_sql import sql_of

        if self._snap is None:
            return
        view = self.desk.view
        asked = sql_of(view, self._snap.begin, self._snap.end)
        self.action_sql()
        self.query_one(SqlPrompt).put(asked)

    async def action_quit(self) -> None:
        """End the session, and leave."""
        await self.stacks.action_leave()

    def get_system_commands(self) -> Iterable[SystemCommand]:
        """None but ours."""
        return ()


def _plain(line: Line) -> str:
    return "\t".join(
        cell if isinstance(cell, str) else "".join(part for part, _ in cell) for cell in line.cells
    )


def _with_stacks(name: str) -> str:
    return f"{name}:uk" if name in PROGRAM_BY_NAME else name


def _is_recording(path: str) -> str:
    """What is wrong with it as the folder of a recording; empty: nothing."""
    folder = Path(path).expanduser()
    if not folder.exists():
        return f"there is no {path!r}; name the folder of a recording"
    return ""
