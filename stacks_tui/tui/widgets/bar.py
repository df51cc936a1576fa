"""One line of short texts, some of which can be clicked: title, kinds, gauges, tabs, trust, keys.

Comes in: spots for the left and for the right, each with a rank. Goes out: the action of the spot
that was clicked. Where it is narrow, spots of the highest rank are left out first.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from rich.cells import cell_len
from rich.segment import Segment
from textual import events
from textual.strip import Strip
from textual.widget import Widget

from stacks_tui.tui.widgets.looks import Look, Looks


@dataclass(frozen=True, slots=True)
class Spot:
    """A piece of the line."""

    text: str
    """Printable."""
    look: str = ""
    """A name of `BarLine.LOOKS`, or empty."""
    action: str = ""
    """What a click does: an action of the screen; empty: nothing."""
    rank: int = 0
    """0: stays as long as there is room at all."""
    short: str = ""
    """Shown in its place before anything is left out; empty: it has no shorter form."""


class BarLine(Widget):
    """See the module."""

    DEFAULT_CSS = """
    BarLine {
        height: 1; width: 1fr; background: $surface; color: $text-muted;
    }
    BarLine.-alarm { background: $error 25%; }
    """
    LOOKS: ClassVar[dict[str, Look]] = {
        "name": Look("foreground", bold=True),
        "plain": Look("foreground"),
        "good": Look("success"),
        "warn": Look("warning", bold=True),
        "bad": Look("background", on="error", bold=True),
        "failed": Look("error"),
        "active": Look("background", on="primary", bold=True),
        "accent": Look("accent"),
        "key": Look("accent", bold=True),
        "spark": Look("primary"),
    }

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002  # as every widget has it
        super().__init__(id=id)
        self._left: tuple[Spot, ...] = ()
        self._right: tuple[Spot, ...] = ()
        self._actions: list[tuple[int, int, str]] = []
        self._look = Looks(self, self.LOOKS)

    def show(self, left: Sequence[Spot], right: Sequence[Spot] = ()) -> None:
        """Show these; nothing is drawn if they are as before."""
        if (tuple(left), tuple(right)) != (self._left, self._right):
            self._left, self._right = tuple(left), tuple(right)
            self.refresh()

    @property
    def text(self) -> str:
        """What is to be read, at any width: for tests and for the clipboard."""
        return "".join(spot.text for spot in (*self._left, *self._right))

    def render_line(self, y: int) -> Strip:
        """The line."""
        width = self.size.width
        base = self.rich_style
        if y:
            return Strip.blank(width, base)
        left, right = arrange(self._left, self._right, width)
        gap = max(0, width - sum(cell_len(spot.text) for spot in (*left, *right)))
        segments: list[Segment] = []
        self._actions = []
        at = 0
        for spot in (*left, Spot(" " * gap), *right):
            cells = cell_len(spot.text)
            if spot.action:
                self._actions.append((at, at + cells, spot.action))
            segments.append(Segment(spot.text, base + self._look(spot.look)))
            at += cells
        return Strip(segments).adjust_cell_length(width, base)

    async def on_click(self, event: events.Click) -> None:
        """Do what the spot is for."""
        for begin, end, action in self._actions:
            if begin <= event.x < end:
                await self.screen.run_action(action)


def arrange(
    left: Sequence[Spot], right: Sequence[Spot], width: int
) -> tuple[tuple[Spot, ...], tuple[Spot, ...]]:
    """The spots that fit: those of high rank take their short forms, then they go."""
    every = [*left, *right]
    room = width - sum(cell_len(spot.text) for spot in every)
    at_right = len(left)
    shown: list[Spot | None] = list(every)
    ranks = sorted({spot.rank for spot in every if spot.rank}, reverse=True)
    for take, rank in [(take, rank) for take in ("short", "leave") for rank in ranks]:
        if room >= 0:
            break
        for at in range(len(every)):  # all of a rank: a key never stays without its word
            spot = shown[at]
            if spot is None or spot.rank != rank:
                continue
            if take == "leave":
                shown[at] = None
                room += cell_len(spot.text)
            elif spot.short:
                shown[at] = Spot(spot.short, spot.look, spot.action, spot.rank)
                room += cell_len(spot.text) - cell_len(spot.short)
    return (
        tuple(spot for spot in shown[:at_right] if spot),
        tuple(spot for spot in shown[at_right:] if spot),
    )
