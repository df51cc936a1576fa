"""The functions of stacks, each once, as flame graphs show them.

Comes in: stacks of locations. Goes out: functions, and for each location which ones it has. All
addresses and lines of a function are one here.
"""

from __future__ import annotations

from dataclasses import dataclass

from stacks_tui import text
from stacks_tui.export.model import Location, Stacks

USER, KERNEL, PYTHON, INLINED, UNKNOWN = range(5)
KINDS = ("user", "kernel", "python", "inlined", "no symbol")
"""What a function's code is."""
_PYTHON_MODULE = "[python]"


@dataclass(frozen=True, slots=True, order=True)
class Function:
    """A function as it is shown: nothing in it steers a terminal or a page."""

    name: str
    module: str
    """Empty: not known."""
    kind: int
    """Index into `KINDS`."""
    file: str
    """Empty: not known."""


@dataclass(frozen=True, slots=True)
class Functions:
    """Functions sorted by name, and where stacks have them."""

    each: tuple[Function, ...]
    lines: tuple[tuple[int, int], ...]
    """[functions] first and last line at which stacks have it; 0: not known."""
    of_location: tuple[tuple[int, ...], ...]
    """[locations] the functions of its lines, innermost first."""


def functions_of(stacks: Stacks) -> Functions:
    """The functions of all locations."""
    found = [
        tuple(_function(location, at) for at in range(len(location.lines)))
        for location in stacks.locations
    ]
    each = sorted({one for several in found for one in several})
    index = {one: at for at, one in enumerate(each)}
    of_location = tuple(tuple(index[one] for one in several) for several in found)
    lines = [(0, 0)] * len(each)
    for location, several in zip(stacks.locations, of_location, strict=True):
        for line, at in zip(location.lines, several, strict=True):
            if line.line:
                first, last = lines[at]
                lines[at] = min(first or line.line, line.line), max(last, line.line)
    return Functions(tuple(each), tuple(lines), of_location)


def kind_of(location: Location, at: int) -> int:
    """The kind (index into `KINDS`) of a location's line."""
    if location.kernel:
        return KERNEL
    if location.module == _PYTHON_MODULE:
        return PYTHON
    if at < len(location.lines) - 1:
        return INLINED
    return UNKNOWN if location.lines[at].name.startswith("[") else USER


def shown(value: str | None) -> str:
    """Text of the system, with all that is not plainly visible as escapes."""
    return text.printable(value) if value else ""


def _function(location: Location, at: int) -> Function:
    line = location.lines[at]
    return Function(
        shown(line.name), shown(location.module), kind_of(location, at), shown(line.file)
    )
