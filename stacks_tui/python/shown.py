"""Which frames of a Python program's stacks are shown: one choice, for screens and exports.

In SQL the macro `shown_frames` (sql/views.sql) says the same.
"""

from __future__ import annotations

from enum import StrEnum

MODULE = "[python]"
"""The module that Python's frames have."""
NO_PYTHON = "[no Python frames]"
"""The one frame of a stack of which nothing is left where only Python's are shown."""


class Shown(StrEnum):
    """A way to show stacks. Only those that have Python frames differ."""

    MERGED = "merged"
    """Python's frames in place of the interpreter's."""
    PYTHON = "python"
    """Python's frames alone: no library's, no kernel's."""
    NATIVE = "native"
    """The interpreter's frames."""
