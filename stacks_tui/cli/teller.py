"""Says on stderr, in one line, what went wrong."""

from __future__ import annotations

import json
import sys
import traceback
from dataclasses import dataclass

from stacks_tui import text
from stacks_tui.cli import streams


@dataclass(frozen=True, slots=True)
class Teller:
    """A program's voice for failures and notes."""

    program: str
    as_json: bool = False
    debug: bool = False

    def failure(self, message: str, exit_code: int) -> int:
        """Say it; returns the exit code. Called from an `except` clause."""
        if self.debug and sys.exception() is not None:
            traceback.print_exc()
        if self.as_json:
            line = json.dumps({"error": text.valid(message), "exit_code": exit_code})
        else:
            line = f"{self.program}: {text.printable(message)}"
        self._say(line)
        return exit_code

    def note(self, message: str) -> None:
        """Say what is no failure; with `--json` it is in the object on stdout."""
        if not self.as_json:
            self._say(f"note: {text.printable(message)}")

    def _say(self, line: str) -> None:
        try:
            print(line, file=sys.stderr, flush=True)
        except OSError:
            streams.abandon(sys.stderr)
