"""Where a screen's numbers come from: a running session's sums, or a recording's queries.

`Totals` is what both give; `Material` is one view's cells, filtered, with one or two sides.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from stacks_tui.kinds import Kind
from stacks_tui.live.cells import Cells
from stacks_tui.live.instances import SpanSlice
from stacks_tui.live.names import Names
from stacks_tui.live.stacks import StackTable
from stacks_tui.live.view import Instance, Window

Ints = npt.NDArray[np.int64]

STEPS = 60
"""Parts at most of a row's past."""


@dataclass(frozen=True, slots=True)
class Past:
    """Sums by step of time, oldest first; columns of one length."""

    step_s: int
    count: Ints
    duration: Ints
    amount: Ints


class Slice(Protocol):
    """The cells of a span of time."""

    @property
    def cells(self) -> Cells:
        """Cells of the kinds asked for."""

    @property
    def begin(self) -> int:
        """Seconds since the Unix epoch."""

    @property
    def end(self) -> int:
        """Exclusive."""

    def past(self, chosen: npt.NDArray[np.intp]) -> Past:
        """How the cells of these places came to be: the newest `STEPS` steps."""


class Totals(Protocol):
    """A running session, or a recording."""

    @property
    def stacks(self) -> StackTable:
        """What the cells' stacks are."""

    @property
    def names(self) -> Names:
        """Who the cells' processes are."""

    @property
    def began(self) -> int:
        """The first second, since the Unix epoch."""

    @property
    def now(self) -> int:
        """The newest second."""

    def slice(
        self, kinds: Sequence[Kind], begin: int, end: int, *, stacks: bool = True
    ) -> Slice | None:
        """The cells of a span, seconds since the Unix epoch; None: it is no longer kept.

        `stacks`: False: nothing is asked of the cells but kinds, processes and threads.
        """

    def of_instance(self, kinds: Sequence[Kind], one: Instance) -> Slice | None:
        """The cells of one span's events, of its whole life; None: only a recording has them."""

    def spans(self, begin: int, end: int, *, children: bool = False) -> SpanSlice | None:
        """The spans of a span, seconds since the Unix epoch; None: it is no longer kept.

        `children`: with the costs of what lies in them.
        """

    def stack_rows(self, ids: npt.NDArray[np.uint64]) -> npt.NDArray[np.int32]:
        """Rows of the stack table of these ids."""


def span_of(window: Window, began: int, now: int) -> tuple[int, int]:
    """The seconds that a window means: begin, and end (exclusive)."""
    if window.end:
        return window.begin // 10**9, -(-window.end // 10**9)
    begin = began
    if window.last_s:
        begin = now + 1 - window.last_s
        if window.last_s > STEPS:
            begin -= begin % 10  # as a running session keeps them
    return max(begin, began), now + 1


@dataclass(frozen=True, slots=True)
class Material:
    """The cells that rows are made of."""

    cells: Cells
    value: Ints
    """What the view adds up, by cell."""
    side: npt.NDArray[np.int8]
    """0, or 1 for the second side of a comparison, by cell."""
    stacks: StackTable
    sources: tuple[Totals, ...]
    """By side."""
    seconds: tuple[float, ...]
    """By side: how long."""

    @property
    def sides(self) -> int:
        """1, or 2: a comparison."""
        return len(self.sources)

    @property
    def names(self) -> tuple[Names, ...]:
        """By side; a recording looks them up when they are first asked for."""
        return tuple(source.names for source in self.sources)

    def total(self) -> Ints:
        """The sum by side."""
        return self.sums(np.zeros(len(self.cells), np.intp), 1, self.value)[:, 0]

    def sums(self, codes: npt.NDArray[np.integer], size: int, values: Ints) -> Ints:
        """(side, code): the sums of these values, by code below `size`."""
        found = np.zeros((self.sides, size), np.int64)
        np.add.at(found, (self.side, codes), values)
        return found

    def take(self, chosen: npt.NDArray[np.generic]) -> Material:
        """Of the cells at these places, or where this mask is set."""
        return Material(
            self.cells.take(chosen),
            self.value[chosen],
            self.side[chosen],
            self.stacks,
            self.sources,
            self.seconds,
        )
