"""Keys that compare: two windows, processes, spans or recordings.

Comes in: a key, and what the cursor is on. Goes out: a view of two sides.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from stacks_tui import text
from stacks_tui.live.snapshot import Snapshot
from stacks_tui.live.view import Group, Panel, Side, Window
from stacks_tui.tui import words
from stacks_tui.tui.actions import spans
from stacks_tui.tui.screens.dialogs import Ask, Choose, Option
from stacks_tui.tui.widgets.table import Table

if TYPE_CHECKING:
    from stacks_tui.tui.screens.main import MainScreen

_SECOND = 1_000_000_000


def mark(screen: MainScreen) -> None:
    """Mark A, then B, then end."""
    if screen.snap is None:
        return
    view = screen.desk.view
    side = Side(_fixed(screen, screen.snap), view.tgid, view.pid)
    name = words.window_name(side.window, 0, screen.snap.began)
    if view.panel is Panel.PROCESSES:
        line = screen.query_one("#processes", Table).line
        if line is not None and isinstance(line.key, tuple) and len(line.key) == 2:
            side, name = _who(side, *line.key)
    row = screen.row() if view.panel is Panel.TABLE else None
    span = spans.row_of(screen) if view.panel is Panel.LEDGER else None
    if span is not None:
        side, name = replace(side, span=span.name), f"span {span.name[:20]}"
        screen.desk.go(instances=False, filter="" if view.instances else view.filter)
    if view.group is Group.SPAN and row is not None:
        side, name = replace(side, span=row.label), f"span {row.label[:20]}"
    elif view.group in (Group.PROCESS, Group.THREAD) and row is not None and row.tgid:
        side, name = _who(side, row.tgid, row.pid if view.group is Group.THREAD else 0)
    screen.notify(screen.desk.set_mark(side, text.printable(name)), markup=False)
    screen.ask()


def _who(side: Side, tgid: int, pid: int) -> tuple[Side, str]:
    """The side narrowed to a process or thread, and what it is called."""
    return replace(side, tgid=tgid, pid=pid), f"thread {pid}" if pid else f"pid {tgid}"


def compare(screen: MainScreen) -> None:
    """Compare with the time before, or with another recording."""
    if screen.snap is None:
        return
    now = _fixed(screen, screen.snap)
    length = now.end - now.begin
    options = [
        Option("before", f"the {text.duration(length)} before", "B is what is shown now"),
        Option("halves", "first half and second half", "of what is shown now"),
    ]
    if not screen.stacks.live:
        options.append(Option("other", "another recording", "A is the other one"))
    if screen.desk.view.compares or screen.desk.mark is not None:
        options.append(Option("end", "end the comparison"))
    screen.app.push_screen(Choose("compare", options), lambda how: _compare(screen, how, now))


def _compare(screen: MainScreen, how: object, now: Window) -> None:
    length = now.end - now.begin
    who = screen.desk.view.tgid, screen.desk.view.pid
    match how:
        case "before":
            a = Window(0, now.begin - length, now.begin)
            screen.desk.compare(Side(a, *who), Side(now, *who), "before → now")
        case "halves":
            middle = now.begin + length // 2 // _SECOND * _SECOND
            a, b = Window(0, now.begin, middle), Window(0, middle, now.end)
            screen.desk.compare(Side(a, *who), Side(b, *who), "first → second half")
        case "other":
            _ask_other(screen)
            return
        case "end":
            screen.desk.end_comparison()
        case _:
            return
    screen.ask()


def _ask_other(screen: MainScreen) -> None:
    def chosen(path: str | None) -> None:
        if path:
            other = Side(words.WINDOWS[-1][1], recording=str(Path(path).expanduser()))
            this = Side(screen.desk.view.window)
            screen.desk.compare(other, this, f"{text.printable(Path(path).name)} → this")
            screen.ask()

    screen.app.push_screen(
        Ask("compare with", "folder of another recording", check=_is_recording), chosen
    )


def _fixed(screen: MainScreen, snap: Snapshot) -> Window:
    """The window of what is shown, standing still."""
    return Window(0, snap.begin, snap.end)


def _is_recording(path: str) -> str:
    """What is wrong with it as the folder of a recording; empty: nothing."""
    folder = Path(path).expanduser()
    if not folder.exists():
        return f"there is no {path!r}; name the folder of a recording"
    return ""
