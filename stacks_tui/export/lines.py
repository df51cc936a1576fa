"""Source lines."""

from __future__ import annotations

from stacks_tui.export.model import Samples
from stacks_tui.export.task import Task


def with_lines(samples: Samples, task: Task) -> Samples:
    """x."""
    return samples
