"""Keys that take something along: a copy, a file, SQL.

Comes in: a key, and what is shown. Goes out: the clipboard, the export screen, the prompt.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from stacks_tui import text
from stacks_tui.live.view import Panel
from stacks_tui.tui import stacks
from stacks_tui.tui.widgets.flame import FlameGraph
from stacks_tui.tui.widgets.sql import SqlPrompt
from stacks_tui.tui.widgets.table import Line, Table

if TYPE_CHECKING:
    from stacks_tui.tui.screens.main import MainScreen


def copy(screen: MainScreen) -> None:
    """Copy the chosen stack, or row, by the terminal."""
    panel = screen.desk.view.panel
    detail = screen.detail()
    node = screen.query_one(FlameGraph).chosen
    if panel is Panel.TABLE and detail is not None and detail.frames:
        copied = stacks.plain(detail)
        screen.app.copy_to_clipboard(copied)
        screen.notify(f"copied {len(detail.frames)} frames, leaf first", markup=False)
    elif panel is Panel.FLAME and node is not None:
        screen.app.copy_to_clipboard(text.printable(node.name))
        screen.notify(f"copied {text.printable(node.name[:60])}", markup=False)
    else:
        table = screen.query_one("#tree" if panel is Panel.TREE else "#table", Table)
        if table.line is not None:
            screen.app.copy_to_clipboard(_plain(table.line))
            screen.notify("copied the row", markup=False)


def export(screen: MainScreen) -> None:
    """Write a file."""
    from stacks_tui.tui.screens.export import ExportScreen

    if _can_export(screen):
        screen.app.push_screen(ExportScreen(screen.stacks.directory, screen.desk.view, screen.snap))


def export_at_once(screen: MainScreen, form: str) -> None:
    """Write this view in a format with no further question."""
    from stacks_tui.tui.screens.export import ExportScreen

    if _can_export(screen):
        found = ExportScreen(screen.stacks.directory, screen.desk.view, screen.snap, at_once=form)
        screen.app.push_screen(found)


def _can_export(screen: MainScreen) -> bool:
    if screen.stacks.directory and screen.snap is not None:
        return True
    screen.notify("nothing is recorded yet", markup=False)
    return False


def open_sql(screen: MainScreen) -> None:
    """The SQL prompt."""
    screen.ask(screen.desk.go(panel=Panel.NOTHING))
    screen.query_one(SqlPrompt).focus_line()


def show_sql(screen: MainScreen) -> None:
    """This view's SQL, in the prompt."""
    from stacks_tui.tui.view_sql import sql_of

    if screen.snap is None:
        return
    view = screen.desk.view
    asked = sql_of(view, screen.snap.begin, screen.snap.end)
    open_sql(screen)
    screen.query_one(SqlPrompt).put(asked)


def _plain(line: Line) -> str:
    return "\t".join(
        cell if isinstance(cell, str) else "".join(part for part, _ in cell) for cell in line.cells
    )
