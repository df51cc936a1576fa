"""What the screen is started with, and what remains of it. No Textual in here: it is loaded later.

Comes in: a start or a recording. Goes out: an outcome.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from stacks_tui import text
from stacks_tui.session.protocol import Start
from stacks_tui.session.status import Outcome


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the screen is to show first; both None: ask for a target."""

    start: Start | None = None
    path: Path | None = None


@dataclass(frozen=True, slots=True)
class Left:
    """What remains when the screen is gone."""

    outcome: Outcome | None = None
    directory: str = ""
    failure: str = ""
    exit_code: int = 0
    exit_status: int | None = None
    """Of the launched program."""


def what_is_started(start: Start) -> str:
    """The targets in a word, printable."""
    targets = start.options.targets
    if targets.argv:
        return text.printable(targets.argv[0].rpartition("/")[2])
    parts = [*targets.comms, *(f"pid {pid}" for pid in targets.pids)]
    if targets.cgroup is not None:
        parts.append(str(targets.cgroup))
    if targets.everything:
        parts.append("the whole machine")
    return text.printable(", ".join(parts)) or "nothing"
