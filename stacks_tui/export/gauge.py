"""How large a file will be, found by writing it to nowhere for a short while.

Comes in: what a format writes, and how far it says it is. Goes out: bytes; an estimate where the
time was not enough for all of it.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field

from stacks_tui.export.task import Progress

_BEFORE = 6
"""Times the patience, for what is worked out before anything is written."""


class EnoughError(Exception):
    """The time is used up."""


@dataclass(slots=True)
class Gauge:
    """A file to write to, that keeps only its size."""

    patience_s: float
    report: Callable[[Progress], None] | None = None
    """Given what the writer reports."""
    size: int = 0
    _before: int = 0
    """Bytes when the phase began."""
    _now: Progress = field(default_factory=lambda: Progress("", 0, 0))
    _end: float = 0.0
    """When it is enough: sooner once something is written, for before it is all guesswork."""

    def __post_init__(self) -> None:
        self._end = time.monotonic() + _BEFORE * self.patience_s

    def write(self, data: bytes) -> int:
        """Count it.

        Raises:
            EnoughError: the time is used up.
        """
        if not self.size:
            self._end = min(self._end, time.monotonic() + self.patience_s)
        self.size += len(data)
        if time.monotonic() > self._end:
            raise EnoughError
        return len(data)

    @property
    def closed(self) -> bool:
        """Never; Arrow's writers ask."""
        return False

    def flush(self) -> None:
        """Nothing waits."""

    def progress(self, progress: Progress) -> None:
        """Note how far the writer is.

        Raises:
            EnoughError: the time is used up.
        """
        if progress.phase != self._now.phase:
            self._before = self.size
        self._now = progress
        if self.report is not None:
            self.report(progress)
        if time.monotonic() > self._end:
            raise EnoughError

    def estimate(self) -> int:
        """Bytes of the whole, if what is left is like what was written; 0: can't be told."""
        done, total = self._now.done, self._now.total
        written = self.size - self._before
        return self._before + written * total // done if done and written else 0
