"""C++ and Rust names as a person writes them, by LLVM's demanglers (pycxxfilt).

Comes in: a symbol's bytes. Goes out: text that always decodes. Mangled names refer back to their
own parts, so 100 hostile bytes may stand for gigabytes: a name is demangled only when a bound on
its expansion is small, and stays as it is otherwise.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from functools import lru_cache

import pycxxfilt

MANGLED_LIMIT = 4096
SHOWN_LIMIT = 4096
_EXPANSION_LIMIT = 1 << 24
"""Bytes of a demangled name, by its bound: under 0.1 s. 1 of 300 names of large C++ libraries
(LLVM, DuckDB, Arrow) has a larger bound, though none is longer than 50,000 in truth."""

_ITANIUM_REFERENCE = re.compile(r"S([0-9A-Z]{0,3})_|T[0-9]*_")
_RUST_REFERENCE = re.compile(r"B([0-9a-zA-Z]*_)")
_LEGACY_RUST = re.compile(r"_ZN.*17h[0-9a-f]{16}E(?:\.llvm\.[0-9A-F]+)?")
_LEGACY_HASH = re.compile(r"::h[0-9a-f]{16}(?: \(\.llvm\.[0-9A-F]+\))?$")
_LEGACY_ESCAPE = re.compile(r"\$(u[0-9a-f]{1,6}|[A-Z]{1,2})\$|\.\.")
_LEGACY_LETTERS = {
    "SP": "@",
    "BP": "*",
    "RF": "&",
    "LT": "<",
    "GT": ">",
    "LP": "(",
    "RP": ")",
    "C": ",",
}


@lru_cache(maxsize=1 << 16)
def demangle(name: bytes) -> str:
    """The name to show for a symbol: demangled if it is mangled, at most `SHOWN_LIMIT` long."""
    text = name.decode("utf-8", "backslashreplace")
    if len(name) <= MANGLED_LIMIT and text.startswith(("_Z", "__Z", "_R")):
        text = _demangled(text) or text
    return text if len(text) <= SHOWN_LIMIT else text[: SHOWN_LIMIT - 1] + "…"


def _demangled(name: str) -> str | None:
    # A suffix of the compiler (.cold, .part.0, @plt) is no part of the mangling of v0.
    plain, at, suffix = name.partition("@")
    try:
        if plain.startswith("_R"):
            if _rust_bound(plain) > _EXPANSION_LIMIT:
                return None
            shown = pycxxfilt.rust_demangle(plain)
        else:
            if _itanium_bound(plain) > _EXPANSION_LIMIT:
                return None
            shown = pycxxfilt.itanium_demangle(plain)
    except ValueError:
        return None
    if shown is None:
        return None
    if _LEGACY_RUST.fullmatch(plain):
        shown = _legacy_rust(shown)
    return shown + at + suffix


def _legacy_rust(shown: str) -> str:
    def plain(match: re.Match[str]) -> str:
        escape = match[1]
        if escape is None:
            return "::"
        if escape.startswith("u"):
            code = int(escape[1:], 16)
            printable = code <= 0x10FFFF and chr(code).isprintable()
            return chr(code) if printable else match[0]
        return _LEGACY_LETTERS.get(escape, match[0])

    parts = [
        part[1:] if part.startswith("_$") else part
        for part in _LEGACY_HASH.sub("", shown).split("::")
    ]
    return "::".join(_LEGACY_ESCAPE.sub(plain, part) for part in parts)


def _itanium_bound(name: str) -> int:
    """No Itanium name demangles to more bytes than some small multiple of this.

    Substitutions are numbered as they are made, so one is at most as long as everything up to
    the first reference to it or a later one. Template parameters count as long as everything
    before. A pack expansion repeats its pattern for each element, at most once per letter.
    """
    total, done = 0, 0
    made: list[int] = []
    lengths: list[int] = []
    for match in _ITANIUM_REFERENCE.finditer(name):
        total += match.start() - done
        done = match.end()
        number = match[1]
        if number is None:
            total += total
        else:
            index = int(number, 36) + 1 if number else 0
            if not made or index > made[-1]:
                made.append(index)
                lengths.append(total)
            total += lengths[bisect_left(made, index)]
        if total > _EXPANSION_LIMIT:
            return total
    total += len(name) - done
    if "J" in name:
        elements = len(name) - name.index("J")
        total *= elements ** min(name.count("Dp") + name.count("sp"), 8)
    return total


def _rust_bound(name: str) -> int:
    """The same for Rust v0, where a reference names the place of what it repeats."""
    total, done = 0, 0
    lengths: dict[str, int] = {}
    for match in _RUST_REFERENCE.finditer(name):
        total += match.start() - done
        done = match.end()
        total += lengths.setdefault(match[1], total)
        if total > _EXPANSION_LIMIT:
            return total
    return total + len(name) - done
