"""The themes, and the colours of frames in them.

Comes in: nothing. Goes out: Textual themes named `dark`, `light`, `mono` and `safe` (for the
colour-blind: Okabe and Ito's palette). Their variables `frame-*`, `rise` and `fall` are used by the
stylesheets; a sign or glyph always says the same as a colour.
"""

from __future__ import annotations

from textual.theme import Theme

DEFAULT = "dark"


def _frames(
    user: tuple[str, str, str], kernel: str, unknown: str, ink: str, rise: str, fall: str
) -> dict[str, str]:
    """Variables: three shades of user code, the kernel's, code with no name; more and less."""
    return {
        "frame-a": user[0],
        "frame-b": user[1],
        "frame-c": user[2],
        "frame-kernel": kernel,
        "frame-unknown": unknown,
        "frame-ink": ink,
        "rise": rise,
        "fall": fall,
        "footer-key-foreground": "$accent",
        "block-cursor-text-style": "bold",
    }


THEMES: tuple[Theme, ...] = (
    Theme(
        "dark",
        primary="#5fb3d9",
        secondary="#8fb573",
        accent="#e5b567",
        warning="#e5b567",
        error="#f2666a",
        success="#8fb573",
        foreground="#d4d7dc",
        background="#14161a",
        surface="#1b1e24",
        panel="#262a32",
        dark=True,
        variables=_frames(
            ("#b5643c", "#c47a3d", "#a8553f"), "#3f7394", "#5b616b", "#fbf6ee", "#c2474b", "#3f7fb0"
        ),
    ),
    Theme(
        "light",
        primary="#1f6f9c",
        secondary="#4d7a2f",
        accent="#8f5a00",
        warning="#8f5a00",
        error="#b3202a",
        success="#4d7a2f",
        foreground="#22262c",
        background="#fcfcfa",
        surface="#f2f2ee",
        panel="#e4e4de",
        dark=False,
        variables=_frames(
            ("#f2c29b", "#f6d3a5", "#eab095"), "#a9d0e6", "#cfd2d6", "#1c1c1c", "#f0a3a3", "#a3c8ea"
        ),
    ),
    Theme(
        "mono",
        primary="#dddddd",
        secondary="#bbbbbb",
        accent="#ffffff",
        warning="#ffffff",
        error="#ffffff",
        success="#dddddd",
        foreground="#dddddd",
        background="#101010",
        surface="#191919",
        panel="#2a2a2a",
        dark=True,
        variables=_frames(
            ("#4a4a4a", "#585858", "#3f3f3f"), "#2e2e2e", "#222222", "#f4f4f4", "#6a6a6a", "#303030"
        ),
    ),
    Theme(
        "safe",
        primary="#56b4e9",
        secondary="#009e73",
        accent="#f0e442",
        warning="#e69f00",
        error="#ff8a3d",
        success="#56b4e9",
        foreground="#dcdfe4",
        background="#12151a",
        surface="#191d24",
        panel="#242a33",
        dark=True,
        variables=_frames(
            ("#a86d00", "#bd8000", "#8f5f0a"), "#1f6d9c", "#565d68", "#ffffff", "#c2571a", "#1f6d9c"
        ),
    ),
)

NAMES = tuple(theme.name for theme in THEMES)
