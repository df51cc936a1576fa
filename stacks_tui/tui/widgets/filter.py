"""The line in which a filter is typed.

Comes in: the filter that holds. Goes out: `Typed` while one types, at rest; `Closed` with the one
that is to hold: what was typed (enter), or the one before (escape).
"""

from __future__ import annotations

from typing import ClassVar

from textual import on
from textual.binding import Binding, BindingType
from textual.message import Message
from textual.timer import Timer
from textual.widgets import Input

_REST_S = 0.3


class FilterLine(Input):
    """See the module."""

    DEFAULT_CSS = """
    FilterLine, FilterLine:focus {
        height: 1; border: none; padding: 0 1; background: $panel; color: $foreground;
        display: none;
    }
    FilterLine.-open { display: block; }
    """
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("escape", "cancel", "leave it as it was", show=False, id="filter.cancel")
    ]

    class Typed(Message):
        """Typing rests; this is there."""

        def __init__(self, value: str) -> None:
            super().__init__()
            self.value = value

    class Closed(Message):
        """The line is gone."""

        def __init__(self, before: str, value: str) -> None:
            super().__init__()
            self.before = before
            """The filter when it was opened."""
            self.value = value
            """The filter that is to hold."""

    def __init__(self) -> None:
        super().__init__(
            placeholder="text !text /regex/ frame: module: process: thread: span: reason: cgroup:",
            id="filter",
            select_on_focus=False,
        )
        self._before = ""
        self._rest: Timer | None = None

    def open(self, now: str) -> None:
        """Show the line, with this in it."""
        self._before = now
        self.value = now
        self.add_class("-open")
        self.focus()
        self.action_end()

    def action_cancel(self) -> None:
        """The filter stays as it was."""
        self._close(self._before)

    @on(Input.Changed)
    def _changed(self, event: Input.Changed) -> None:
        event.stop()
        if self.has_class("-open"):
            self._stop()
            value = event.value.strip()
            self._rest = self.set_timer(_REST_S, lambda: self.post_message(self.Typed(value)))

    @on(Input.Submitted)
    def _submitted(self, event: Input.Submitted) -> None:
        event.stop()
        self._close(event.value.strip())

    def _close(self, value: str) -> None:
        self._stop()
        self.remove_class("-open")
        self.post_message(self.Closed(self._before, value))

    def _stop(self) -> None:
        if self._rest is not None:
            self._rest.stop()
