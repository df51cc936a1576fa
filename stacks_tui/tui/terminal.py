"""The terminal that the screen is drawn on, and what its signals mean.

Comes in: what Textual draws and asks of a terminal. Goes out: the same; but a program that was only
stopped goes on with what it has, and a terminal that is gone holds nobody up.
"""

from __future__ import annotations

import contextlib
import select
import termios
from typing import IO, Any

from textual.drivers.linux_driver import LinuxDriver


class Terminal(LinuxDriver):
    """See the module."""

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self._file: Any = _Lasting(self._file)
        self._given_back = False
        """By us, before we stopped ourselves (SIGTSTP)."""
        self._raw: list[Any] | None = None

    def start_application_mode(self) -> None:
        """Take the terminal."""
        super().start_application_mode()  # type: ignore[no-untyped-call]
        with contextlib.suppress(termios.error):
            self._raw = termios.tcgetattr(self.fileno)

    @property
    def gone(self) -> bool:
        """It was closed, and nobody told us (`nohup`)."""
        look = select.poll()
        look.register(self.fileno, 0)
        return any(event & select.POLLHUP for _, event in look.poll(0))

    def _run_input_thread(self) -> None:
        """Read keys for as long as there is somebody to press them."""
        with contextlib.suppress(OSError):
            self.run_input_thread()

    def _sigtstp_application(self, *_: object) -> None:
        self._given_back = True
        super()._sigtstp_application()

    def _sigcont_application(self, *_: object) -> None:
        """Go on; take the terminal only if it was given back.

        Textual would take it again after a SIGSTOP too: with a second thread that reads keys, one
        of which then waits for a key for ever while the other ends; and with its raw mode as what
        is to be restored.
        """
        if self._given_back:
            self._given_back = False
            super()._sigcont_application()
        elif self._raw is not None:
            with contextlib.suppress(termios.error):  # a shell has had it meanwhile
                termios.tcsetattr(self.fileno, termios.TCSANOW, self._raw)
            self._loop.call_soon_threadsafe(self._draw_again)

    def _draw_again(self) -> None:
        self.write("\x1b[?1049h\x1b[?25l")
        self._app.refresh(layout=True)


class _Lasting:
    """A terminal's file that can be written to when the terminal is gone."""

    def __init__(self, file: IO[str]) -> None:
        self._file = file

    def write(self, text: str) -> None:
        """Write, if there is still somebody to read it."""
        with contextlib.suppress(OSError):
            self._file.write(text)

    def flush(self) -> None:
        """As `write`."""
        with contextlib.suppress(OSError):
            self._file.flush()

    def fileno(self) -> int:
        """Of the terminal."""
        return self._file.fileno()
