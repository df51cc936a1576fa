"""Lines of pieces, scrolled: details, whole stacks, help, the log.

Comes in: lines. Goes out: nothing.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import ClassVar

from rich.segment import Segment
from textual.geometry import Size
from textual.scroll_view import ScrollView
from textual.strip import Strip

from stacks_tui.tui.cells import Piece
from stacks_tui.tui.widgets.looks import Look, Looks

PaperLine = tuple[Piece, ...]


class Paper(ScrollView, can_focus=True):
    """See the module."""

    DEFAULT_CSS = """
    Paper {
        background: $background; color: $foreground; overflow-x: hidden;
        scrollbar-size-vertical: 1;
    }
    """
    LOOKS: ClassVar[dict[str, Look]] = {
        "head": Look("accent", bold=True),
        "leaf": Look("foreground", bold=True),
        "dim": Look("text-muted"),
        "kernel": Look("primary"),
        "place": Look("text-muted"),
        "spark": Look("primary"),
        "warn": Look("warning"),
        "bad": Look("error", bold=True),
        "key": Look("accent", bold=True),
    }

    def __init__(self, *, id: str | None = None) -> None:  # noqa: A002  # as every widget has it
        super().__init__(id=id)
        self._lines: tuple[PaperLine, ...] = ()
        self._look = Looks(self, self.LOOKS)

    def show(self, lines: Sequence[PaperLine]) -> None:
        """Show these; only what differs is drawn."""
        before, self._lines = self._lines, tuple(lines)
        if len(before) != len(self._lines):
            self.virtual_size = Size(0, len(self._lines))
            self.refresh()
            return
        for at, line in enumerate(self._lines):
            if line != before[at]:
                self.refresh_lines(at)

    @property
    def text(self) -> str:
        """All lines, plain."""
        return "\n".join("".join(part for part, _ in line) for line in self._lines)

    def render_line(self, y: int) -> Strip:
        """The line at this place."""
        width = self.size.width
        base = self.rich_style
        at = int(self.scroll_offset.y) + y
        if at >= len(self._lines):
            return Strip.blank(width, base)
        segments = [Segment(text, base + self._look(look)) for text, look in self._lines[at]]
        return Strip(segments).adjust_cell_length(width, base)
