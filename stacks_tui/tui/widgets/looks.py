"""Styles of a widget's component classes, for what it renders line by line.

A look colours text; only those that are meant to bring their own background do.
"""

from __future__ import annotations

from collections.abc import Collection

from rich.style import Style
from textual.widget import Widget


class Looks:
    """The styles of one widget, each computed once until the theme changes."""

    def __init__(self, widget: Widget, prefix: str, filled: Collection[str] = ()) -> None:
        self._widget, self._prefix, self._filled = widget, prefix, frozenset(filled)
        self._known: dict[str, Style] = {}
        self._theme = ""

    def __call__(self, name: str) -> Style:
        """The style called `name`; empty: none."""
        if not name:
            return Style.null()
        if self._theme != self._widget.app.theme:
            self._known.clear()
            self._theme = self._widget.app.theme
        found = self._known.get(name)
        if found is None:
            full = self._widget.get_component_rich_style(f"{self._prefix}--{name}")
            if name not in self._filled:
                full = Style(
                    color=full.color, bold=full.bold, italic=full.italic, underline=full.underline
                )
            found = self._known[name] = full
        return found

    def under(self, name: str) -> Style:
        """Only the background and weight of a look, to lie under text of any colour."""
        full = self(name)
        return Style(bgcolor=full.bgcolor, bold=full.bold)

    def forget(self) -> None:
        """Compute them anew: a class of the widget changed."""
        self._known.clear()
