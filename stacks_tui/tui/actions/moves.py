"""Keys that change what is looked at: views, windows, groups, order.

Comes in: a key. Goes out: the next view, asked for.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from stacks_tui.live.view import Group, Panel, Tab, Window
from stacks_tui.tui import ledger, rows, words
from stacks_tui.tui.actions import spans
from stacks_tui.tui.screens import drawing
from stacks_tui.tui.screens.dialogs import Ask, Choose, Option
from stacks_tui.tui.widgets.flame import FlameGraph
from stacks_tui.tui.widgets.table import Table
from stacks_tui.tui.widgets.timeline import TimelineStrip

if TYPE_CHECKING:
    from stacks_tui.tui.screens.main import MainScreen


def panel(screen: MainScreen, name: str) -> None:
    """Show another view."""
    if name == Panel.LEDGER.value:
        spans.show(screen)
        return
    screen.ask(screen.desk.go(panel=Panel(name)))


def tab(screen: MainScreen, name: str) -> None:
    """Measure something else."""
    now = screen.desk.view.panel
    if now in (Panel.NOTHING, Panel.TIMELINE):
        screen.desk.go(panel=Panel.TABLE)
    screen.ask(screen.desk.go(tab=Tab(name)) or now is not screen.desk.view.panel)


def next_tab(screen: MainScreen, step: int) -> None:
    """The tab beside."""
    screen.ask(screen.desk.next_tab(step))


def choose_tab(screen: MainScreen) -> None:
    """Choose what is measured from a list."""
    options = [Option(tab, name, says) for tab, name, says in words.TABS]

    def chosen(found: object) -> None:
        if isinstance(found, Tab):
            tab(screen, found.value)

    screen.app.push_screen(Choose("what is measured", options, screen.desk.view.tab), chosen)


def threads(screen: MainScreen) -> None:
    """Processes or threads."""
    if screen.desk.view.panel is Panel.PROCESSES:
        screen.ask(screen.desk.go(by_thread=not screen.desk.view.by_thread))
    else:
        screen.ask(screen.desk.go(panel=Panel.PROCESSES, by_thread=True))


def next_window(screen: MainScreen, step: int) -> None:
    """A longer or shorter window."""
    screen.ask(screen.desk.next_window(step))


async def choose_window(screen: MainScreen) -> None:
    """Choose the window from a list."""
    options = [Option(window, name) for _, window, name in words.WINDOWS]

    def chosen(window: object) -> None:
        if isinstance(window, Window):
            screen.ask(screen.desk.set_window(window))

    screen.app.push_screen(Choose("window", options, screen.desk.view.window), chosen)


def choose_group(screen: MainScreen) -> None:
    """Choose what a row is."""
    options = [Option(group, name, says) for group, name, says in words.GROUPS]

    def chosen(group: object) -> None:
        if isinstance(group, Group):
            screen.ask(screen.desk.go(group=group, panel=Panel.TABLE))

    screen.app.push_screen(Choose("a row is a …", options, screen.desk.view.group), chosen)


def stack_part(screen: MainScreen) -> None:
    """User, kernel, both."""
    screen.ask(screen.desk.next_part())


def python(screen: MainScreen) -> None:
    """Merged stacks, Python only, native only."""
    screen.branches.clear()
    screen.ask(screen.desk.next_shown())


def measure(screen: MainScreen) -> None:
    """Amount, time, number."""
    if not screen.desk.next_measure():
        screen.notify(f"{words.TAB_NAME[screen.desk.view.tab]} is measured in one way only")
        return
    screen.ask()


def kinds(screen: MainScreen) -> None:
    """Reads, writes, all."""
    if not screen.desk.next_kinds():
        screen.notify(f"{words.TAB_NAME[screen.desk.view.tab]} has one kind only")
        return
    screen.ask()


def minimum_share(screen: MainScreen) -> None:
    """Leave out what is small."""
    screen.ask(screen.desk.next_minimum())


def back(screen: MainScreen) -> None:
    """The view before."""
    screen.ask(screen.desk.go_back())


def clear(screen: MainScreen) -> None:
    """Drop the last thing that narrows."""
    timeline = screen.query_one(TimelineStrip)
    if screen.desk.view.panel is Panel.TIMELINE and timeline.brushing:
        timeline.drop()
    elif screen.desk.view.panel is Panel.NOTHING:
        panel(screen, "table")
    else:
        screen.ask(screen.desk.clear())


def clear_filter(screen: MainScreen) -> None:
    """Drop the filter."""
    screen.ask(screen.desk.go(filter=""))


def clear_process(screen: MainScreen) -> None:
    """All processes."""
    screen.ask(screen.desk.go(tgid=0, pid=0))


def unzoom(screen: MainScreen) -> None:
    """The whole graph."""
    screen.ask(screen.desk.go(zoom=()))


def sort(screen: MainScreen, step: int) -> None:
    """Sort by the column beside."""
    view = screen.desk.view
    shown = ledger.columns(view) if view.panel is Panel.LEDGER else rows.columns(view)
    columns = tuple(one.key for one in shown if one.sortable and one.key != "label")
    screen.ask(screen.desk.next_sort(step, columns))


def reverse(screen: MainScreen) -> None:
    """The other way round."""
    screen.ask(screen.desk.go(reverse=not screen.desk.view.reverse))


def pin(screen: MainScreen) -> None:
    """Keep the row on top, or no longer."""
    line = screen.query_one("#table", Table).line
    if line is not None and isinstance(line.key, str):
        screen.desk.pinned ^= {line.key}
        if screen.shown is not None:
            drawing.draw_rows(screen, screen.shown)


def invert(screen: MainScreen) -> None:
    """Callees or callers."""
    screen.branches.clear()
    screen.ask(screen.desk.go(inverted=not screen.desk.view.inverted, zoom=()))


def find(screen: MainScreen) -> None:
    """Mark frames by name."""
    if screen.desk.view.panel is not Panel.FLAME:
        panel(screen, "flame")

    def sought(value: str | None) -> None:
        if value is not None:
            screen.query_one(FlameGraph).search(value.strip())

    screen.app.push_screen(Ask("find frames", "part of a name; empty: mark none"), sought)
