"""What a terminal shows while the screen itself is loaded: its first and last line.

Comes in: what will be looked at. Goes out: two lines, in the terminal's own colours, on the page
that Textual takes over; or, if it comes to nothing, the page from before.
"""

from __future__ import annotations

import contextlib
import os
import sys
from typing import Self

from stacks_tui import text

_TAKE = "\x1b[?1049h\x1b[?25l\x1b[H\x1b[2J"
_GIVE_BACK = "\x1b[?1049l\x1b[?25h"


class Curtain:
    """Hangs while entered, and stays for who draws over it; an exception lifts it."""

    def __init__(self, what: str) -> None:
        self._what = what

    def __enter__(self) -> Self:
        with contextlib.suppress(OSError):
            columns, lines = os.get_terminal_size(sys.stderr.fileno())
            first = text.truncate(f" stacks-tui  {self._what}", max(0, columns - 12))
            last = text.truncate(" loading the screen; ^c leaves", columns)
            self._write(
                f"{_TAKE}{first}\x1b[1;{max(1, columns - 10)}Hstarting\x1b[{lines};1H{last}"
            )
        return self

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        if kind is not None:
            with contextlib.suppress(OSError):
                self._write(_GIVE_BACK)

    def _write(self, shown: str) -> None:
        sys.stderr.write(shown)
        sys.stderr.flush()
