"""A table of many rows that is redrawn often: each visible line is built once per change.

Comes in: columns and lines, both plain values. Goes out: `Table.Chosen`, `Activated`, `Sorted`.
The cursor stays with the row it was put on, by the row's key, when rows move.
"""

from __future__ import annotations

import textwrap
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from rich.segment import Segment
from rich.style import Style
from textual import events
from textual.binding import Binding, BindingType
from textual.geometry import Region, Size
from textual.message import Message
from textual.scroll_view import ScrollView
from textual.strip import Strip

from stacks_tui.tui.cells import Piece, fit
from stacks_tui.tui.widgets.looks import Look, Looks

Cell = str | tuple[Piece, ...]


@dataclass(frozen=True, slots=True)
class Column:
    """One column."""

    key: str
    title: str
    width: int
    """Cells; 0: what the others leave (one column of a table has it)."""
    right: bool = False
    sortable: bool = False
    leave: int = 0
    """Order in which narrow screens leave columns out, 1 first; 0: never."""
    least: int = 40
    """Cells of the one without a width: with less it says little."""


@dataclass(frozen=True, slots=True)
class Line:
    """One row."""

    key: Hashable
    cells: tuple[Cell, ...]
    """As many as columns, printable; or one that takes the whole width."""
    look: str = ""
    """A look for the whole row (`dim`, `pinned`), or empty."""


_WHOLE = Column("", "", 0)


class Table(ScrollView, can_focus=True):
    """See the module."""

    DEFAULT_CSS = """
    Table {
        height: 1fr; background: $background; overflow-x: hidden; scrollbar-size-vertical: 1;
    }
    """
    LOOKS: ClassVar[dict[str, Look]] = {
        "head": Look("text-muted", on="surface", bold=True),
        "sorted": Look("accent", on="surface", bold=True),
        "cursor": Look(on="primary 30%", bold=True),
        "left": Look(on="panel", bold=True),
        "dim": Look("text-muted"),
        "pinned": Look("accent"),
        "leaf": Look("foreground", bold=True),
        "caller": Look("text-muted"),
        "kernel": Look("primary"),
        "bar": Look("frame-b"),
        "rise": Look("error"),
        "fall": Look("primary"),
        "warn": Look("warning"),
    }
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("up,k", "step(-1)", "row up", show=False, id="table.up"),
        Binding("down,j", "step(1)", "row down", show=False, id="table.down"),
        Binding("pageup", "page(-1)", "page up", show=False, id="table.pageup"),
        Binding("pagedown", "page(1)", "page down", show=False, id="table.pagedown"),
        Binding("home", "step(-1000000)", "first row", show=False, id="table.home"),
        Binding("end", "step(1000000)", "last row", show=False, id="table.end"),
        Binding("left", "shift(-8)", "text left", show=False, id="table.left"),
        Binding("right", "shift(8)", "text right", show=False, id="table.right"),
        Binding("enter", "activate", "open", show=False, id="table.open"),
    ]

    @dataclass
    class Chosen(Message):
        """The cursor is on another row (None: there are none)."""

        table: Table
        line: Line | None

        @property
        def control(self) -> Table:
            """For `on`."""
            return self.table

    @dataclass
    class Activated(Message):
        """Enter or a second click on a row."""

        table: Table
        line: Line

        @property
        def control(self) -> Table:
            """For `on`."""
            return self.table

    @dataclass
    class Sorted(Message):
        """A click on the head of a sortable column."""

        table: Table
        column: Column

        @property
        def control(self) -> Table:
            """For `on`."""
            return self.table

    def __init__(
        self,
        columns: Sequence[Column] = (),
        *,
        empty: str = "nothing yet",
        id: str | None = None,  # noqa: A002  # as every widget has it
    ) -> None:
        super().__init__(id=id)
        self._columns = tuple(columns)
        self._lines: tuple[Line, ...] = ()
        self._sort: tuple[str, bool] = ("", True)
        self._empty = empty
        self._at = 0
        self._held: Hashable | None = None
        self._shift = 0
        self._strips: dict[tuple[int, bool], tuple[Line, Strip]] = {}
        self._look = Looks(self, self.LOOKS)

    @property
    def line(self) -> Line | None:
        """The row that the cursor is on."""
        return self._lines[self._at] if 0 <= self._at < len(self._lines) else None

    @property
    def lines(self) -> tuple[Line, ...]:
        """All rows, as shown."""
        return self._lines

    @property
    def columns(self) -> tuple[Column, ...]:
        """All columns, also those that this width leaves out."""
        return self._columns

    def show(
        self,
        columns: Sequence[Column],
        lines: Sequence[Line],
        sort: tuple[str, bool] = ("", True),
        *,
        empty: str | None = None,
    ) -> None:
        """Show these; only lines that differ are drawn again. `sort`: (column's key, falling)."""
        columns = tuple(columns)
        lines = tuple(lines)
        whole = columns != self._columns or sort != self._sort
        if empty is not None and empty != self._empty:
            self._empty, whole = empty, True
        before, chosen = self._lines, self.line
        self._columns, self._sort, self._lines = columns, sort, lines
        if self._held is not None:
            at = next((n for n, line in enumerate(lines) if line.key == self._held), None)
            if at is not None:
                self._at = at
        self._at = max(0, min(self._at, len(lines) - 1))
        if len(lines) != len(before):
            self.virtual_size = Size(0, len(lines) + 1)
            whole = True
        if whole:
            self._forget()
        else:
            top = int(self.scroll_offset.y)
            for y in range(max(0, self.size.height - 1)):
                at = top + y
                if at < len(lines) and (
                    lines[at] != before[at] or (at == self._at) != (before[at] is chosen)
                ):
                    self.refresh(Region(0, y + 1, self.size.width, 1))
        if self.line != chosen:
            self.post_message(self.Chosen(self, self.line))

    def move_to(self, key: Hashable) -> bool:
        """Put the cursor on the row with this key; whether there is one."""
        for at, line in enumerate(self._lines):
            if line.key == key:
                self._go(at)
                return True
        return False

    def release(self) -> None:
        """Let the cursor stay at the top rather than with its row."""
        self._held = None
        self._go(0, hold=False)

    def _forget(self) -> None:
        self._strips.clear()
        self._look.forget()
        self.refresh()

    def notify_style_update(self) -> None:
        """Draw all anew: the theme changed."""
        super().notify_style_update()
        self._strips.clear()
        self._look.forget()

    def on_resize(self) -> None:
        """Build the lines for the new width; keep the cursor in sight."""
        self.virtual_size = Size(0, len(self._lines) + 1)
        self._forget()
        self._see()

    def on_focus(self) -> None:
        """The cursor looks different."""
        self._forget()

    def on_blur(self) -> None:
        """The cursor looks different."""
        self._forget()

    def widths(self) -> list[int]:
        """Cells of each column at this width; 0: left out."""
        room = self.size.width
        shown = dict.fromkeys(range(len(self._columns)), True)

        def used() -> int:
            return sum(
                (one.width or one.least) + 1 for at, one in enumerate(self._columns) if shown[at]
            )

        for _, at in sorted((one.leave, at) for at, one in enumerate(self._columns) if one.leave):
            if used() <= room:
                break
            shown[at] = False
        fixed = sum(
            one.width + 1 for at, one in enumerate(self._columns) if shown[at] and one.width
        )
        rest = max(0, room - fixed)
        return [(one.width or rest) if shown[at] else 0 for at, one in enumerate(self._columns)]

    def render_line(self, y: int) -> Strip:
        """The head, or the row at this place."""
        width = self.size.width
        if y == 0:
            return self._head(width)
        at = int(self.scroll_offset.y) + y - 1
        if at >= len(self._lines):
            said = textwrap.wrap(self._empty, max(20, width - 4)) if not self._lines else []
            if 2 <= y < 2 + len(said):
                look = self.rich_style + self._look("dim")
                return Strip([Segment(fit("  " + said[y - 2], width), look)], width)
            return Strip.blank(width, self.rich_style)
        line = self._lines[at]
        key = (at, at == self._at)
        kept = self._strips.get(key)
        if kept is not None and kept[0] == line:
            return kept[1]
        strip = self._row(line, key[1], width)
        if len(self._strips) > 2000:
            self._strips.clear()
        self._strips[key] = (line, strip)
        return strip

    def _head(self, width: int) -> Strip:
        base = self.rich_style + self._look("head")
        segments = []
        for column, cells in zip(self._columns, self.widths(), strict=True):
            if not cells:
                continue
            sorted_by = column.key == self._sort[0]
            title = column.title + (" ▾" if self._sort[1] else " ▴") * sorted_by
            style = base + self._look("sorted") if sorted_by else base
            segments.append(Segment(fit(title, cells, right=column.right) + " ", style))
        return Strip(segments).adjust_cell_length(width, base)

    def _row(self, line: Line, cursor: bool, width: int) -> Strip:
        base = self.rich_style
        if line.look:
            base += self._look(line.look)
        place = "cursor" if self.has_focus else "left"
        over = self._look.under(place) if cursor else Style.null()
        segments = []
        widths: Sequence[tuple[Column, int]] = list(zip(self._columns, self.widths(), strict=True))
        if len(line.cells) == 1:
            widths = [(_WHOLE, width - 1)]
        for (column, cells), cell in zip(widths, line.cells, strict=True):
            if not cells:
                continue
            if isinstance(cell, str):
                shown = cell[self._shift :] if not column.width and self._shift else cell
                segments.append(Segment(fit(shown, cells, right=column.right) + " ", base + over))
                continue
            skip = self._shift if not column.width else 0
            used = Strip(
                [
                    Segment(text, (base + self._look(look) if look else base) + over)
                    for text, look in cell
                ]
            )
            if skip:
                used = used.crop(min(skip, used.cell_length))
            if used.cell_length > cells:
                used = Strip([*used.crop(0, cells - 1), Segment("…", base + over)])
            segments.extend(used.adjust_cell_length(cells, base + over))
            segments.append(Segment(" ", base + over))
        return Strip(segments).adjust_cell_length(width, base + over)

    def _go(self, at: int, *, hold: bool = True) -> None:
        at = max(0, min(at, len(self._lines) - 1))
        if not self._lines:
            return
        before, self._at = self._at, at
        if hold:
            self._held = self._lines[at].key
        self._see()
        if before != at:
            top = int(self.scroll_offset.y)
            for row in (before, at):
                self.refresh(Region(0, row - top + 1, self.size.width, 1))
            self.post_message(self.Chosen(self, self.line))

    def _see(self) -> None:
        """Scroll so that the cursor is in sight."""
        page = self.size.height - 1
        top = int(self.scroll_offset.y)
        if page <= 0:
            return
        if self._at < top:
            self.scroll_to(y=self._at, animate=False, immediate=True)
        elif self._at >= top + page:
            self.scroll_to(y=self._at - page + 1, animate=False, immediate=True)

    def action_step(self, rows: int) -> None:
        """Move the cursor."""
        self._go(self._at + rows)

    def action_page(self, pages: int) -> None:
        """Move the cursor by what is in sight."""
        self._go(self._at + pages * max(1, self.size.height - 2))

    def action_shift(self, cells: int) -> None:
        """Scroll the text of the wide column."""
        self._shift = max(0, min(4096, self._shift + cells))
        self._forget()

    def action_activate(self) -> None:
        """Say that the row is wanted."""
        if self.line is not None:
            self.post_message(self.Activated(self, self.line))

    def on_click(self, event: events.Click) -> None:
        """A row: choose it, then open it; the head: sort."""
        self.focus()
        if event.y == 0:
            at = 0
            for column, cells in zip(self._columns, self.widths(), strict=True):
                at += cells + 1 if cells else 0
                if cells and event.x < at:
                    if column.sortable:
                        self.post_message(self.Sorted(self, column))
                    return
            return
        at = int(self.scroll_offset.y) + event.y - 1
        if at < len(self._lines):
            if at == self._at and event.chain > 1:
                self.action_activate()
            self._go(at)

    def watch_scroll_y(self, old_value: float, new_value: float) -> None:
        """Lines move, the head stays: draw all."""
        super().watch_scroll_y(old_value, new_value)
        self.refresh()
