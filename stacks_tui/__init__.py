"""A live, lossless stack profiler for Linux: kernel → ring buffer → NumPy → Arrow → Parquet.

As a library: `stacks_tui.open(path)` opens a recording, `stacks_tui.queries()` tells what can be
asked of it; see `stacks_tui.library`. Nothing heavy is loaded before one of them is used.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from stacks_tui.library import open as open  # noqa: A004
    from stacks_tui.library import queries as queries

__version__ = "0.1.0"
__all__ = ("__version__", "open", "queries")


def __getattr__(name: str) -> Any:
    if name not in ("open", "queries"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module("stacks_tui.library"), name)
