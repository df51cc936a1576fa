"""Starts the screen on real sources. Comes in: what to show. Goes out: what remains of it.

In the order of what a person waits for: first lines are drawn, then the collector starts, and while
it does, Textual is loaded.
"""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable
from pathlib import Path

from stacks_tui import text
from stacks_tui.config import Config
from stacks_tui.errors import StacksError
from stacks_tui.live.view import View
from stacks_tui.session.priority import favour
from stacks_tui.session.protocol import OptionsFor, SetView, Start
from stacks_tui.session.source import Source
from stacks_tui.tui.curtain import Curtain
from stacks_tui.tui.wanted import Left, Wanted, what_is_started


def show(
    wanted: Wanted,
    config: Config,
    options_for: OptionsFor | None = None,
    notes: tuple[str, ...] = (),
    check: Callable[[], None] = lambda: None,
) -> Left:
    """Run the screen until the person leaves it. `check` raises what speaks against it.

    Raises:
        StacksError: the terminal can't show it, or the check's own.
    """
    if os.environ.get("TERM", "dumb") in ("", "dumb"):
        raise StacksError("this terminal can't show the screen (TERM=dumb); use --record.")
    for fixed in ("COLUMNS", "LINES"):  # they would hide the terminal's real size, and its changes
        os.environ.pop(fixed, None)
    with contextlib.suppress(OSError):
        if not all(os.get_terminal_size(sys.stderr.fileno())):
            raise StacksError("this terminal has no size; give it one: stty rows 24 columns 80.")
    sources = _Sources()
    with Curtain(_what(wanted)):
        check()
        favour()
        sources.begin(wanted.start)
        try:
            from stacks_tui.tui.app import StacksApp

            app = StacksApp(wanted, config, sources.live, _recording, options_for)
        except BaseException:
            sources.close()
            raise
    for note in notes:
        app.call_later(app.tell, note)
    left = app.run()
    if app.return_code and left is None:
        sys.stdout.flush()
        raise StacksError("the screen ended early; what was recorded is kept: see --open.")
    return left or Left()


def _what(wanted: Wanted) -> str:
    if wanted.start is not None:
        return what_is_started(wanted.start)
    return text.printable(wanted.path.name) if wanted.path is not None else ""


class _Sources:
    """Collectors; the first one is started before the screen that listens to it."""

    def __init__(self) -> None:
        self._begun: Source | None = None

    def begin(self, start: Start | None) -> None:
        """Start the first one."""
        if start is not None:
            self._begun = _live(start)

    def live(self, start: Start) -> Source:
        """A collector: the one that was begun, told what to look at, or another."""
        found, self._begun = self._begun, None
        if found is None:
            return _live(start)
        found.post(SetView(start.view))
        return found

    def close(self) -> None:
        """End the one that nobody took."""
        if self._begun is not None:
            self._begun.close()


def _live(start: Start) -> Source:
    from stacks_tui.session.supervisor import LiveSource

    return LiveSource(start)


def _recording(path: Path, view: View) -> Source:
    from stacks_tui.session.playback import RecordingSource

    return RecordingSource(path, view)
