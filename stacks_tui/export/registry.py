"""The formats that there are. A new one is a module in `formats` that defines `FORMAT`.

Comes in: nothing. Goes out: `Format` values, in the order in which they are offered. Command line
and app both list what is here.
"""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Generic, TypeVar

from stacks_tui.errors import UsageError
from stacks_tui.export import formats as room
from stacks_tui.export.model import Rows, Samples, Trace
from stacks_tui.export.task import Task

if TYPE_CHECKING:
    from stacks_tui.export.job import Job
    from stacks_tui.export.trace_page import TracePage
    from stacks_tui.owner import User

Source = TypeVar("Source", Samples, Trace, Rows)


@dataclass(frozen=True, slots=True)
class Format(Generic[Source]):
    """A kind of file that an export makes."""

    name: str
    """As the command line has it: `pprof`."""
    extension: str
    """With its dot: `.pb.gz`."""
    answers: str
    """One line for help: what one gets, and what opens it."""
    wants: type[Source]
    """`Samples`, `Trace` or `Rows`: which queries fit, and what `write` is given."""
    write: Callable[[Source, BinaryIO, Task], None]
    """Writes the whole file, front to back (it may be a pipe). Calls `task.step` as it goes, and
    `task.note` for what it left out. Raises StacksError; an OSError of the file passes through."""
    queries: tuple[str, ...] = ()
    """What it asks where nothing is named; empty: what others of its sort ask."""
    rank: int = 100
    """Lower is offered earlier."""
    variants: tuple[str, ...] = ()
    """Names of formats that `--format` of this one leads to (`trace --format perfetto`)."""
    compares: bool = False
    """`write` shows what changed where `Samples.before` is given."""
    hidden: bool = False
    """Only reached as a variant of another."""
    viewer: Callable[[], tuple[list[str], str] | None] | None = None
    """The command that opens such a file for a person at a desktop (the path is put at its end)
    and what it is; None: nothing on this machine opens it."""
    viewer_hint: str = ""
    """What would open it, where `viewer` finds nothing; one sentence."""
    page: Callable[[Job, Path, User], TracePage] | None = None
    """Makes a web page of a file that was written, for viewers that are pages."""
    perfetto: bool = False
    """Whether ui.perfetto.dev shows it as a timeline."""


@cache
def all_formats() -> tuple[Format[Any], ...]:
    """Every format, in the order in which they are offered."""
    found: list[Format[Any]] = []
    for module in pkgutil.iter_modules(room.__path__):
        given = getattr(importlib.import_module(f"{room.__name__}.{module.name}"), "FORMAT", None)
        if isinstance(given, Format):
            found.append(given)
    return tuple(sorted(found, key=lambda one: (one.rank, one.name)))


def find_format(name: str) -> Format[Any]:
    """The format of this name.

    Raises:
        UsageError: there is none; the nearest is named.
    """
    names = {one.name: one for one in all_formats()}
    if name in names:
        return names[name]
    near = difflib.get_close_matches(name, names, 1, 0.4)
    hint = f"did you mean {near[0]!r}? " if near else ""
    offered = ", ".join(one.name for one in all_formats() if not one.hidden)
    raise UsageError(f"no format {name!r}; {hint}formats are: {offered}.")
