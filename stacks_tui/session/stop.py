"""The wish to end: ^C and SIGTERM as a flag that a loop can poll, a second ^C as an exception.

The first signal asks; the recorder then drains and writes what is there. Who can't wait presses ^C
again: `KeyboardInterrupt` is raised wherever the program is, and the recording is recovered when it
is next opened.
"""

from __future__ import annotations

import os
import signal
from types import FrameType, TracebackType
from typing import Self

_SIGNALS = (signal.SIGINT, signal.SIGTERM)


class StopRequest:
    """Catches SIGINT and SIGTERM while entered (main thread only); restores what was before."""

    def __init__(self) -> None:
        self.requested = False
        self.signal: signal.Signals | None = None
        """The signal that asked first."""
        self._before: dict[signal.Signals, object] = {}
        self._read_fd = self._write_fd = -1

    def fileno(self) -> int:
        """A descriptor that becomes readable when a stop is asked for: for `select` and `poll`."""
        return self._read_fd

    def request(self) -> None:
        """Ask for the end from the program itself (a duration that has passed)."""
        if not self.requested:
            self.requested = True
            os.write(self._write_fd, b"\0")

    def __enter__(self) -> Self:
        self._read_fd, self._write_fd = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        for number in _SIGNALS:
            self._before[number] = signal.signal(number, self._handle)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)  # type: ignore[arg-type]  # as signal() gave it
        os.close(self._read_fd)
        os.close(self._write_fd)

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if self.signal is not None and number == signal.SIGINT:
            raise KeyboardInterrupt
        if self.signal is None:
            self.signal = signal.Signals(number)
        self.request()
