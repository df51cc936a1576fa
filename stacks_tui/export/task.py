"""An export while it runs: what was asked of the writer, how far it is, whether to go on.

Comes in: options, a callback for progress, a question whether to stop. Goes out: notes for the
person: what was left out, which tool gave the source lines.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from stacks_tui.errors import StacksError
from stacks_tui.python.shown import Shown


class CancelledError(StacksError):
    """The person stopped the export; nothing was written."""

    def __init__(self) -> None:
        super().__init__("the export was stopped; nothing was written.")


@dataclass(frozen=True, slots=True)
class ExportOptions:
    """How an export is made. What a format has no use for, it ignores."""

    labels: tuple[str, ...] | None = None
    """Labels that samples keep; None: the usual ones."""
    minimum_share: float | None = None
    """Formats that may prune draw as one what is below this share (0 to 1) of the total; 0:
    nothing; None: as little as keeps the file small."""
    minimum_ns: int | None = None
    """For queries that ask what is slow: from how long on."""
    lines: bool = False
    """Look up source lines (and inlined chains) of all modules that are found on this machine."""
    inlined: bool = True
    """With `lines`: show inlined functions as frames of their own."""
    binary: Path | None = None
    """Take lines of the module with this file's build id from this file."""
    debuginfod: bool = False
    """Ask the debuginfod servers for what this machine lacks."""
    offsets: bool = False
    """Show each frame's offset in its function: `name+0x1f`."""
    shown: Shown = Shown.MERGED
    """Which frames of Python programs."""
    main: str | None = None
    """Of a profile's values, the name of the one that is shown at first; None: the first."""
    title: str | None = None


@dataclass(frozen=True, slots=True)
class Progress:
    """How far an export is."""

    phase: str
    """Such as `reading stacks`, `writing`."""
    done: int
    total: int
    """0: not known."""


@dataclass(slots=True)
class Task:
    """One export under way; writers call `step` every few thousand rows."""

    options: ExportOptions = field(default_factory=ExportOptions)
    report: Callable[[Progress], None] | None = None
    cancelled: Callable[[], bool] | None = None
    notes: list[str] = field(default_factory=list)
    """For the person, one sentence each, in the order in which they came up."""

    def step(self, phase: str, done: int = 0, total: int = 0) -> None:
        """Report progress.

        Raises:
            CancelledError: the person wants no more of it.
        """
        if self.cancelled is not None and self.cancelled():
            raise CancelledError
        if self.report is not None:
            self.report(Progress(phase, done, total))

    def note(self, text: str) -> None:
        """Tell the person something, once."""
        if text not in self.notes:
            self.notes.append(text)
