"""Loads what the first press of a key would have to wait for, while nothing happens.

Comes in: nothing. Goes out: modules that are there. It runs in a thread, one module at a time.
"""

from __future__ import annotations

import importlib
import time

MODULES = (
    "textual.command",
    "stacks_tui.tui.screens.help",
    "stacks_tui.tui.screens.targets",
    "stacks_tui.tui.view_sql",
    "stacks_tui.tui.screens.export",
    "stacks_tui.export.job",
)
_BETWEEN_S = 0.2


def warm() -> None:
    """Load them."""
    for name in MODULES:
        time.sleep(_BETWEEN_S)
        importlib.import_module(name)

    from stacks_tui.export.registry import all_formats

    all_formats()
