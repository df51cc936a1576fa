"""How the parts of a widget that draws its own lines look, in the colours of the theme.

Comes in: a table of looks, by name. Goes out: their styles. They are no component classes: Textual
makes a node of each, for each widget, and matches all stylesheets with it at every change of focus,
which took more time than everything else that a key does.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from rich.style import Style
from textual.color import Color
from textual.widget import Widget


@dataclass(frozen=True, slots=True)
class Look:
    """One look; colours are names of the theme's variables, with a share to let shine through
    (`primary 30%`)."""

    color: str = ""
    """Of text; empty: as the widget's."""
    on: str = ""
    """Of what is behind; empty: text of this look has the background that is there."""
    bold: bool = False


class Looks:
    """The styles of one widget, each computed once until the theme changes."""

    def __init__(self, widget: Widget, looks: Mapping[str, Look]) -> None:
        self._widget, self._looks = widget, looks
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
            found = self._known[name] = self._style(self._looks[name])
        return found

    def _style(self, look: Look) -> Style:
        _, behind = self._widget.background_colors
        if look.on:
            behind += self._color(look.on, behind)
        return Style(
            color=(behind + self._color(look.color, behind)).rich_color if look.color else None,
            bgcolor=behind.rich_color if look.on else None,
            bold=look.bold or None,
        )

    def _color(self, told: str, behind: Color) -> Color:
        name, _, part = told.partition(" ")
        value = self._widget.app.theme_variables[name]
        if value.startswith("auto "):  # black or white, whichever is read better
            return behind.get_contrast_text(_share(value.removeprefix("auto ")))
        color = Color.parse(value)
        return color.multiply_alpha(_share(part)) if part else color

    def under(self, name: str) -> Style:
        """Only the background and weight of a look, to lie under text of any colour."""
        full = self(name)
        return Style(bgcolor=full.bgcolor, bold=full.bold)

    def forget(self) -> None:
        """Compute them anew: a class of the widget changed."""
        self._known.clear()


def _share(percent: str) -> float:
    return float(percent.removesuffix("%")) / 100
