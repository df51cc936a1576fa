"""Text for people: strings made safe to print, or to stand in SQL; numbers with units; cell widths.

Every string that came from the system (a comm, symbol, path, message of a library) passes through
`printable` before it reaches a terminal. Numbers are rounded, but never to a lie: a share that is
not zero never shows as 0 %, one that is not whole never as 100 %.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable

ELLIPSIS = "…"

_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Zl", "Zp"})
"""Categories that steer a terminal or a reader's eye: controls, bidi and other format characters,
surrogates (bytes that were not UTF-8), line and paragraph separators."""


def printable(text: str) -> str:
    r"""The text with all that is not plainly visible written as an escape: `\x1b`, `\n`, `\u202e`.

    A byte that was not UTF-8 (decoded with `surrogateescape`) is written as that byte: `\xff`.
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(map(_visible, text))


def _visible(char: str) -> str:
    if unicodedata.category(char) not in _HIDDEN:
        return char
    code = ord(char)
    if 0xDC80 <= code <= 0xDCFF:
        return f"\\x{code - 0xDC00:02x}"
    return char.encode("unicode_escape").decode("ascii")


def valid(text: str) -> str:
    """The text with bytes that were not UTF-8 as escapes, and nothing else changed: for JSON."""
    try:
        raw = text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:  # a surrogate that stands for no byte
        raw = text.encode("utf-8", "backslashreplace")
    return raw.decode("utf-8", "backslashreplace")


def cell_width(text: str) -> int:
    """Columns that printable text takes on a terminal."""
    if text.isascii():
        return len(text)
    return sum(map(_char_width, text))


def _char_width(char: str) -> int:
    if char.isascii():
        return 1
    if unicodedata.category(char) in {"Mn", "Me"} or "\u1160" <= char <= "\u11ff":
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


def truncate(text: str, cells: int) -> str:
    """The text cut to at most this many columns, the cut shown by an ellipsis."""
    if cell_width(text) <= cells:
        return text
    if cells <= 0:
        return ""
    room = cells - 1
    kept = []
    for char in text:
        room -= _char_width(char)
        if room < 0:
            break
        kept.append(char)
    return "".join(kept) + ELLIPSIS


def pad(text: str, cells: int, *, right: bool = False) -> str:
    """The text filled with spaces to this many columns; `right` puts the text at the right."""
    spaces = " " * max(0, cells - cell_width(text))
    return spaces + text if right else text + spaces


def chain(names: Iterable[str], cells: int, arrow: str = " ← ") -> str:
    """A stack on one line, leaf first: as many callers as fit in this many columns."""
    return truncate(arrow.join(map(printable, names)), cells)


def count(value: int) -> str:
    """A number of things in full, in groups of three: `1,234,567`."""
    return f"{value:,}"


_THOUSANDS = ("", "k", "M", "G", "T", "P", "E")
_BINARY = ("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB")


def si(value: float) -> str:
    """A number with three digits and an SI prefix: `999`, `1.23k`, `45.6M`."""
    return _scaled(value, 1000, _THOUSANDS, "", whole=float(value).is_integer())


def size(value: int) -> str:
    """Bytes with three digits and a binary prefix: `512 B`, `1.21 MiB`; signed for a change."""
    return _scaled(value, 1024, _BINARY, " ", whole=True)


def _scaled(value: float, base: int, units: tuple[str, ...], gap: str, *, whole: bool) -> str:
    sign, rest = ("-", -value) if value < 0 else ("", float(value))
    at = 0
    # 999.5 shows as 1000 with three digits: it belongs to the next unit
    while rest >= (999.5 if base == 1000 or at else base) and at < len(units) - 1:
        rest /= base
        at += 1
    shown = f"{rest:.0f}" if whole and not at else _three_digits(rest)
    return f"{sign}{shown}{gap}{units[at]}"


def _three_digits(value: float) -> str:
    if value < 9.995:
        return f"{value:.2f}"
    return f"{value:.1f}" if value < 99.95 else f"{value:.0f}"


def duration(ns: int) -> str:
    """Nanoseconds in the unit that fits: `17 ns`, `1.23 ms`, `12.3 s`, `4m 05s`, `2h 03m`."""
    if ns < 0:
        return "-" + duration(-ns)
    if ns < 1000:
        return f"{ns} ns"
    for factor, unit in ((1_000, "µs"), (1_000_000, "ms"), (1_000_000_000, "s")):
        value = ns / factor
        if value < (99.95 if unit == "s" else 999.5):
            return f"{_three_digits(value)} {unit}"
    seconds = round(ns / 1e9)
    if seconds < 3600:
        return f"{seconds // 60}m {seconds % 60:02d}s"
    minutes = round(ns / 6e10)
    return f"{minutes // 60}h {minutes % 60:02d}m"


def percent(share: float) -> str:
    """A share of 0 to 1 with one decimal: `0.0 %`, `<0.1 %`, `12.3 %`, `>99.9 %`, `100.0 %`."""
    if 0 < share < 0.0005:
        return "<0.1 %"
    if 0.9995 <= share < 1:
        return ">99.9 %"
    return f"{share * 100:.1f} %"


def quantity(value: int, unit: str) -> str:
    """A value in its unit (`ns`, `bytes`, or things named in the plural such as `events`)."""
    if unit == "ns":
        return duration(value)
    if unit == "bytes":
        return size(value)
    return f"{count(value)} {unit}"


def sql_literal(what: str) -> str:
    """A text as SQL has it."""
    return "'" + what.replace("'", "''") + "'"
