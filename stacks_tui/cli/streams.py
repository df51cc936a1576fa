"""stdout and stderr that can be written to, whatever the shell or the reader did with them."""

from __future__ import annotations

import os
import sys
from typing import TextIO


def prepare() -> None:
    """Give the process both streams, and escapes for what their encoding can't write."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:  # closed by the shell: `2>&-`
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115, PTH123
        getattr(sys, name).reconfigure(errors="backslashreplace")


def abandon(stream: TextIO) -> None:
    """Send what is still buffered, and all that follows, nowhere: the reader went away."""
    try:
        at = stream.fileno()
    except (OSError, ValueError):
        return  # it has no descriptor, or is closed already
    nowhere = os.open(os.devnull, os.O_WRONLY | os.O_CLOEXEC)
    os.dup2(nowhere, at)
    os.close(nowhere)
