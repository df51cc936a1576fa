"""Keys that steer the session: kinds, targets, pause, restart, how often it is drawn, log, help.

Comes in: a key. Goes out: commands to the collector, or a screen to read.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from stacks_tui.kinds import PROGRAM_BY_NAME
from stacks_tui.live.snapshot import Collecting
from stacks_tui.session.protocol import DropProgram, SetProgram, SetRefresh
from stacks_tui.tui import words
from stacks_tui.tui.actions import moves
from stacks_tui.tui.screens.dialogs import Read

if TYPE_CHECKING:
    from stacks_tui.tui.screens.main import MainScreen

REFRESH_HZ = (0.2, 0.5, 1.0, 2.0, 4.0)
_SECOND = 1_000_000_000
_FURTHEST_S = 600
"""A live window that stands still can't be longer."""


def collect(screen: MainScreen, name: str) -> None:
    """Collect these events and look at them, or stop; of a recording: look at them."""
    snap = screen.snap
    if snap is None:
        return
    program = next((one for one in snap.programs if one.program == name), None)
    if program is None:
        screen.notify(f"{name} can't be collected by this version", severity="warning")
    elif not screen.stacks.live:
        moves.tab(screen, words.FIRST_TAB[name].value)
    elif program.state is Collecting.ON:
        screen.stacks.send(DropProgram(name))
        screen.notify(f"{name} off; the gap is kept in the recording", markup=False)
    else:
        screen.stacks.send(SetProgram(program.spec or _with_stacks(name)))
        screen.notify(f"{name} on", markup=False)
        moves.tab(screen, words.FIRST_TAB[name].value)


def pause(screen: MainScreen) -> None:
    """Stand still, or go on; collecting goes on in any case."""
    snap = screen.snap
    if screen.desk.paused is not None:
        screen.desk.resume()
    elif snap is None or not screen.stacks.live:
        screen.notify("nothing moves here", markup=False)
        return
    elif snap.end - snap.begin > _FURTHEST_S * _SECOND and not screen.desk.view.window.end:
        screen.notify("more than 10 minutes can't stand still; take a shorter window (w)")
        return
    else:
        screen.desk.pause(snap)
    screen.ask()


def refresh(screen: MainScreen, step: int) -> None:
    """Draw more or less often."""
    order = REFRESH_HZ
    at = min(range(len(order)), key=lambda one: abs(order[one] - screen.stacks.refresh_hz))
    hz = order[max(0, min(len(order) - 1, at + step))]
    screen.stacks.refresh_hz = hz
    screen.stacks.send(SetRefresh(hz))
    screen.notify(f"{hz:g} redraws a second", markup=False)


def restart(screen: MainScreen) -> None:
    """Collect again."""
    if screen.stacks.can_restart:
        screen.snap = screen.shown = None
        screen.stacks.restart()
    else:
        screen.notify("there is nothing to start again", markup=False)


def next_theme(screen: MainScreen) -> None:
    """The next theme."""
    from stacks_tui.tui.theme import NAMES

    at = NAMES.index(screen.app.theme) if screen.app.theme in NAMES else -1
    screen.app.theme = NAMES[(at + 1) % len(NAMES)]
    screen.notify(f"theme: {screen.app.theme}", markup=False)


def show_log(screen: MainScreen) -> None:
    """What was said."""
    said = list(screen.stacks.said) or [((" nothing was said yet", "dim"),)]
    copied = "\n".join("".join(part for part, _ in line) for line in said)
    screen.app.push_screen(Read("log", lambda width: said, copied, at_end=True))


def show_help(screen: MainScreen) -> None:
    """The keys of where one stands."""
    from stacks_tui.tui.screens.help import lines

    panel = screen.desk.view.panel.value
    taste = screen.stacks.taste.keys
    screen.app.push_screen(Read("help", lambda width: lines(panel, screen.desk.view, taste, width)))


def targets(screen: MainScreen) -> None:
    """Choose processes: at first what to record, later what to add or drop."""
    from stacks_tui.tui.screens.targets import TargetsScreen

    if screen.stacks.live or screen.stacks.options_for is not None:
        screen.app.push_screen(TargetsScreen(), lambda found: _picked(screen, found))
    else:
        screen.notify("a recording has the targets it has", markup=False)


def _picked(screen: MainScreen, picked: object) -> None:
    from stacks_tui.tui.screens.targets import Picked, commands, start

    if isinstance(picked, Picked):
        if screen.stacks.live:
            for command in commands(picked):
                screen.stacks.send(command)
        elif screen.stacks.options_for is not None and screen.stacks.directory == "":
            begun = start(screen.stacks.options_for, picked, screen.stacks)
            if begun is not None:
                screen.stacks.begin(begun)
                return
    if not screen.stacks.live and not screen.stacks.directory:
        screen.app.exit()


def _with_stacks(name: str) -> str:
    return f"{name}:uk" if name in PROGRAM_BY_NAME else name
