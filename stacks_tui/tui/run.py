"""Starts the screen on real sources. Comes in: what to show. Goes out: what remains of it."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from pathlib import Path

from stacks_tui.config import Config
from stacks_tui.errors import StacksError
from stacks_tui.live.view import View
from stacks_tui.session.protocol import Start
from stacks_tui.session.source import Source
from stacks_tui.tui.app import Left, StacksApp, Wanted


def show(
    wanted: Wanted,
    config: Config,
    options_for: Callable[[tuple[int, ...], tuple[str, ...]], Start] | None = None,
    notes: tuple[str, ...] = (),
) -> Left:
    """Run the screen until the person leaves it.

    Raises:
        StacksError: the terminal can't show it.
    """
    if os.environ.get("TERM", "dumb") in ("", "dumb"):
        raise StacksError("this terminal can't show the screen (TERM=dumb); use --record.")
    for fixed in ("COLUMNS", "LINES"):  # they would hide the terminal's real size, and its changes
        os.environ.pop(fixed, None)
    app = StacksApp(wanted, config, _live, _recording, options_for)
    for note in notes:
        app.call_later(app.tell, note)
    left = app.run()
    if app.return_code and left is None:
        sys.stdout.flush()
        raise StacksError("the screen ended early; what was recorded is kept: see --open.")
    return left or Left()


def _live(start: Start) -> Source:
    from stacks_tui.session.supervisor import LiveSource

    return LiveSource(start)


def _recording(path: Path, view: View) -> Source:
    from stacks_tui.session.playback import RecordingSource

    return RecordingSource(path, view)
