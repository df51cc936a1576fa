"""Terms of a filter as one types them: made for what the cursor is on. Text alone, no arrays.

Comes in: a filter, a field, a name made of any characters. Goes out: the filter that also asks for
this name, which `live.filters` reads.
"""

from __future__ import annotations

import re

_PLAIN = re.compile(r"[\w.:@<>,~*+-]+", re.ASCII)
_SPECIAL = frozenset("\\.^$*+?{}[]()|")


def also(before: str, field: str, text: str) -> str:
    """The filter with one term more: of this field, all of this text."""
    term = f"{field}={quoted(text)}"
    return before if term in before else f"{before} {term}".strip()


def span_term(name: str) -> str:
    """The term that only spans of this name pass."""
    return also("", "span", name)


def quoted(name: str) -> str:
    """A text as a term has it: between quotes, or as a regular expression if it has quotes."""
    if _PLAIN.fullmatch(name):
        return name
    if '"' not in name:
        return f'"{name}"'
    return f"/^{''.join(_within(char) for char in name)}$/"


def _within(char: str) -> str:
    return "(?s:.)" if char.isspace() or char in '/"\0' else escaped(char)


def escaped(char: str) -> str:
    """A character as a regular expression that means nothing but it."""
    if char in _SPECIAL:
        return "\\" + char
    return f"\\x{{{ord(char):x}}}" if char < " " or char == "\x7f" else char
