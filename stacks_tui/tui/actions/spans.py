"""Keys of the ledger: from names to instances, and on to the stacks of a span.

Comes in: a row. Goes out: the next view, asked for; or the whole of a deadlock, to read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from stacks_tui import text
from stacks_tui.live.snapshot import InstanceRow, Ledger, SpanRow
from stacks_tui.live.terms import also
from stacks_tui.live.view import Instance, Panel, Tab
from stacks_tui.tui import ledger
from stacks_tui.tui.screens.dialogs import Read
from stacks_tui.tui.widgets.table import Table

if TYPE_CHECKING:
    from stacks_tui.tui.screens.main import MainScreen


def show(screen: MainScreen) -> None:
    """The ledger by name; from there the instances, and back."""
    desk = screen.desk
    if desk.view.compares:
        desk.end_comparison()
    if desk.view.panel is Panel.LEDGER:
        wanted = not desk.view.instances
        screen.ask(desk.go(instances=wanted, sort="duration_ns" if wanted else "busy_ns"))
    else:
        screen.ask(desk.go(panel=Panel.LEDGER, tab=Tab.SPANS))


def row_of(screen: MainScreen) -> SpanRow | InstanceRow | None:
    """The row that the cursor is on."""
    line = screen.query_one("#ledger", Table).line
    found = screen.shown.rows if screen.shown is not None else None
    if line is None or not isinstance(found, Ledger):
        return None
    return found.row(line.key)


def open_row(screen: MainScreen) -> None:
    """A name: its instances. An instance: its stacks alone, to go through all tabs with."""
    desk = screen.desk
    row = row_of(screen)
    if row is None:
        _read_deadlock(screen)
        return
    if isinstance(row, SpanRow):
        narrowed = also(desk.view.filter, "span", row.name)
        desk.go(filter=narrowed, instances=True, sort="duration_ns", reverse=False, selected="")
    else:
        until = 0 if row.open else row.begin + row.duration_ns
        one = Instance(row.tgid, row.span_id, row.begin, until, row.name)
        desk.open_instance(one, _dearest(row))
    screen.ask()


def children(screen: MainScreen) -> None:
    """Costs of names with those of what lies in them, or without."""
    view = screen.desk.view
    if view.panel is Panel.LEDGER and not view.instances:
        screen.ask(screen.desk.go(children=not view.children))
    else:
        screen.notify("costs with children are of spans by name: l shows those")


def _dearest(row: InstanceRow) -> Tab:
    """Where most of its time went: what its stacks are looked at for first. Of one too short for
    that: where it was left."""
    times = {Tab.CPU: row.cpu_ns, Tab.BLOCKED: row.blocked_ns, Tab.RUNNABLE: row.runnable_ns}
    if not any(times.values()):
        return Tab.SPANS
    return max(times, key=lambda tab: times[tab])


def _read_deadlock(screen: MainScreen) -> None:
    line = screen.query_one("#ledger", Table).line
    found = screen.shown.rows if screen.shown is not None else None
    if line is not None and isinstance(found, Ledger) and str(line.key).startswith("deadlock"):
        key, whole = line.key, found
        says = "\n".join(text.printable(one) for one in found.deadlocks)
        screen.app.push_screen(
            Read("deadlock", lambda width: ledger.detail_lines(whole, key, None, width, 99), says)
        )
