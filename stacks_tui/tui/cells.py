"""Text cut and padded to terminal cells, measured as Textual measures it.

Comes in: printable text. Goes out: text of exactly so many cells, or at most so many.
"""

from __future__ import annotations

import itertools
from functools import lru_cache
from typing import TypeAlias

from rich.cells import cell_len, set_cell_size

Piece: TypeAlias = tuple[str, str]
"""(printable text, name of a look such as `leaf`; empty: plain)."""

ELLIPSIS = "…"
_EIGHTHS = " ▏▎▍▌▋▊▉█"
_LEVELS = "▁▂▃▄▅▆▇█"


def fit(text: str, cells: int, *, right: bool = False) -> str:
    """The text in exactly this many cells: cut at its end with an ellipsis, or padded."""
    if cells <= 0:
        return ""
    width = len(text) if text.isascii() else cell_len(text)
    if width > cells:
        # of a 4,096-character name only what may be seen is measured again
        return set_cell_size(set_cell_size(text[:cells], cells - 1) + ELLIPSIS, cells)
    spaces = " " * (cells - width)
    return spaces + text if right else text + spaces


@lru_cache(4096)
def shorten(name: str, cells: int) -> str:
    """A symbol in at most this many cells: what lies in its middle goes first."""
    if cell_len(name) <= cells:
        return name
    if cells < 4:
        return fit(name, cells)
    head = (cells - 1) * 2 // 3
    tail = cells - 1 - head
    return set_cell_size(name[:head], head).rstrip() + ELLIPSIS + _last(name, tail)


def _last(text: str, cells: int) -> str:
    """As much of the end as these cells hold."""
    end = ""
    for char in reversed(text[-cells:]):
        if cell_len(char + end) > cells:
            break
        end = char + end
    return end


def tail_of(path: str, cells: int) -> str:
    """A path in at most this many cells: its end is what tells."""
    if cell_len(path) <= cells:
        return path
    if cells <= 1:
        return ELLIPSIS[:cells]
    return ELLIPSIS + _last(path, cells - 1)


@lru_cache(2048)
def bar(share: float, cells: int) -> str:
    """A share of 0 to 1 as a bar with eighths of a cell; what is not nothing shows as something."""
    eighths = max(0, min(cells * 8, round(share * cells * 8)))
    if share > 0 and not eighths:
        eighths = 1
    full, rest = divmod(eighths, 8)
    drawn = "█" * full + (_EIGHTHS[rest] if rest else "")
    return drawn + " " * (cells - len(drawn))


def spark(values: tuple[float, ...], cells: int) -> str:
    """The last so many values as small columns, the highest of them full; zero is a blank."""
    shown = values[-cells:] if cells > 0 else ()
    top = max((abs(value) for value in shown), default=0.0)
    drawn = "".join(
        _LEVELS[min(7, int(abs(value) / top * 7.999))] if value and top else " " for value in shown
    )
    return drawn + " " * (cells - len(drawn))


def pool(values: tuple[float, ...], cells: int) -> tuple[float, ...]:
    """As many values as cells: each the highest of what falls on it (what is short stays)."""
    count = len(values)
    if count <= cells or cells <= 0:
        return values
    edges = [at * count // cells for at in range(cells + 1)]
    return tuple(max(values[first:last], key=abs) for first, last in itertools.pairwise(edges))
