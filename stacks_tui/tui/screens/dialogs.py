"""Small questions: choose one of a list, type one line, read some lines.

Comes in: what may be chosen. Goes out: the choice, or None if the person turned away.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from textual import events, on
from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.screen import ModalScreen
from textual.widgets import Input, Static

from stacks_tui import text
from stacks_tui.tui.widgets.paper import Paper, PaperLine
from stacks_tui.tui.widgets.table import Column, Line, Table


@dataclass(frozen=True, slots=True)
class Option:
    """One thing to choose."""

    key: Hashable
    name: str
    says: str = ""


class Choose(ModalScreen[Hashable | None]):
    """A list; typing narrows it where it is long. In a short one a digit chooses, and so does the
    letter with which one name alone begins."""

    DEFAULT_CSS = """
    Choose { align: center middle; background: $background 50%; }
    Choose > Vertical {
        width: 74; max-width: 96%; height: auto; max-height: 80%; background: $surface;
        border: round $primary; padding: 0 1;
    }
    Choose Table { height: auto; max-height: 20; background: $surface; }
    Choose Input, Choose Input:focus { border: none; height: 1; padding: 0; background: $panel; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "leave", "back", id="choose.leave"),
        Binding("down", "step(1)", show=False, priority=True, id="choose.down"),
        Binding("up", "step(-1)", show=False, priority=True, id="choose.up"),
    ]

    def __init__(
        self, title: str, options: Sequence[Option], now: Hashable = None, *, narrow: bool = False
    ) -> None:
        super().__init__()
        self._title = title
        self._options = tuple(options)
        self._now = now
        self._narrow = narrow

    def compose(self) -> ComposeResult:
        """Title, what narrows it, the list."""
        with Vertical() as box:
            box.border_title = text.printable(self._title)
            if self._narrow:
                yield Input(placeholder="type to narrow", id="narrow")
            yield Table(id="options")

    def on_mount(self) -> None:
        """Begin at what is chosen now."""
        self._show(self._options)
        table = self.query_one("#options", Table)
        table.move_to(self._now)
        if self._narrow:
            self.query_one("#narrow", Input).focus()
        else:
            table.focus()

    def _show(self, options: Sequence[Option]) -> None:
        wide = max((text.cell_width(one.name) for one in options), default=10)
        columns = (
            Column("digit", "", 0 if self._narrow else 1),
            Column("name", "", min(40, max(10, wide))),
            Column("says", "", 0),
        )[self._narrow :]
        lines = [
            Line(
                one.key,
                (
                    ((str(at) if at <= 9 else " ", "pinned"),),
                    ((text.printable(one.name), "leaf"),),
                    ((text.printable(one.says), "caller"),),
                )[self._narrow :],
            )
            for at, one in enumerate(options, 1)
        ]
        table = self.query_one("#options", Table)
        table.show(columns, lines, empty="nothing matches")
        table.styles.height = min(20, max(4, len(lines) + 1))

    def action_step(self, rows: int) -> None:
        """Move, also while one types."""
        self.query_one("#options", Table).action_step(rows)

    def on_key(self, event: events.Key) -> None:
        """A digit or a first letter chooses."""
        found = [] if self._narrow else pointed_at(self._options, event.character or "")
        if len(found) == 1:
            event.stop()
            self.dismiss(found[0].key)

    def action_leave(self) -> None:
        """Choose nothing."""
        self.dismiss(None)

    @on(Input.Changed, "#narrow")
    def _narrowed(self, event: Input.Changed) -> None:
        self._show(narrowed(self._options, event.value))

    @on(Input.Submitted, "#narrow")
    def _submitted(self) -> None:
        line = self.query_one("#options", Table).line
        if line is not None:
            self.dismiss(line.key)

    @on(Table.Activated, "#options")
    def _activated(self, event: Table.Activated) -> None:
        self.dismiss(event.line.key)


def pointed_at(options: Sequence[Option], char: str) -> list[Option]:
    """The option of this digit, or those that begin with this letter."""
    if char.isascii() and char.isdigit():
        return list(options[int(char) - 1 : int(char)]) if char != "0" else []
    return [one for one in options if char.isalpha() and one.name.lower().startswith(char.lower())]


_FUZZY_CELLS = 60
"""In a long text any letters stand in any order."""


def narrowed(options: Sequence[Option], sought: str) -> list[Option]:
    """Those that hold all letters in this order; whole words in them come first."""
    low = sought.lower().strip()
    if not low:
        return list(options)
    ranked = []
    for at, one in enumerate(options):
        where = f"{one.name} {one.says}".lower()
        place = where.find(low)
        if place >= 0:
            ranked.append((0, place, at, one))
        elif _fuzzy(low, where[:_FUZZY_CELLS]):
            ranked.append((1, 0, at, one))
    return [one for *_, one in sorted(ranked, key=lambda found: found[:3])]


def _fuzzy(sought: str, where: str) -> bool:
    rest = iter(where)
    return all(char in rest for char in sought)


class Ask(ModalScreen[str | None]):
    """One line of text; `check` says what is wrong with it, or nothing."""

    DEFAULT_CSS = """
    Ask { align: center middle; background: $background 50%; }
    Ask > Vertical {
        width: 74; max-width: 96%; height: auto; background: $surface; border: round $primary;
        padding: 0 1;
    }
    Ask Input, Ask Input:focus { border: none; height: 1; padding: 0; background: $panel; }
    Ask Static { height: auto; color: $text-muted; }
    Ask .-wrong { color: $error; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "leave", "back", id="ask.leave")]

    def __init__(
        self,
        title: str,
        says: str,
        value: str = "",
        check: Callable[[str], str] = lambda value: "",
    ) -> None:
        super().__init__()
        self._title, self._says, self._value, self._check = title, says, value, check

    def compose(self) -> ComposeResult:
        """Title, line, explanation."""
        with Vertical() as box:
            box.border_title = text.printable(self._title)
            yield Input(self._value, id="line")
            yield Static(text.printable(self._says), markup=False, id="says")

    def action_leave(self) -> None:
        """Say nothing."""
        self.dismiss(None)

    @on(Input.Submitted, "#line")
    def _submitted(self, event: Input.Submitted) -> None:
        wrong = self._check(event.value)
        if wrong:
            says = self.query_one("#says", Static)
            says.update(text.printable(wrong))
            says.add_class("-wrong")
        else:
            self.dismiss(event.value)


class Read(ModalScreen[None]):
    """Lines to read: help, a whole stack, the log."""

    DEFAULT_CSS = """
    /* what is below shines through: the trust strip is never hidden */
    Read { align: center middle; background: $background 50%; }
    Read > Vertical {
        width: 96%; max-width: 130; height: 90%; background: $surface; border: round $primary;
    }
    Read Paper { background: $surface; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape,q,enter,question_mark", "leave", "back", id="read.leave"),
        Binding("y", "copy", "copy", id="read.copy"),
    ]

    def __init__(
        self,
        title: str,
        lines: Callable[[int], Sequence[PaperLine]],
        copied: str = "",
        *,
        at_end: bool = False,
    ) -> None:
        """`lines` is asked for lines of so many cells; `copied` is what `y` copies."""
        super().__init__()
        self._title, self._lines, self._copied, self._at_end = title, lines, copied, at_end

    def compose(self) -> ComposeResult:
        """Title and lines."""
        with Vertical() as box:
            box.border_title = text.printable(self._title)
            box.border_subtitle = "esc back" + " · y copy" * bool(self._copied)
            yield Paper(id="paper")

    def on_mount(self) -> None:
        """Show from the top, or from the end."""
        paper = self.query_one("#paper", Paper)
        paper.focus()
        self.call_after_refresh(self._fill)

    def on_resize(self) -> None:
        """Lines for the new width."""
        self.call_after_refresh(self._fill)

    def _fill(self) -> None:
        paper = self.query_one("#paper", Paper)
        paper.show(tuple(self._lines(max(20, paper.size.width))))
        if self._at_end:
            paper.scroll_end(animate=False)

    def action_leave(self) -> None:
        """Back."""
        self.dismiss(None)

    def action_copy(self) -> None:
        """To the terminal's clipboard."""
        if self._copied:
            self.app.copy_to_clipboard(self._copied)
            self.notify(f"copied {len(self._copied.splitlines())} lines", markup=False)
