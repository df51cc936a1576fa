"""The tables of stacks in a profile for Firefox Profiler, shared by all its threads.

Comes in: stacks. Goes out: strings, frames, functions, resources, libraries and native symbols,
each once, in the columns of processed profiles: src/types/profile.ts of
github.com/firefox-devtools/profiler, at version 60.
"""

from __future__ import annotations

from pathlib import PurePath
from typing import Any

from stacks_tui.export.calltree import I64, Tree, grow, paths_of
from stacks_tui.export.functions import INLINED, KERNEL, PYTHON, UNKNOWN, USER, kind_of, shown
from stacks_tui.export.model import Line, Location, Stacks

VERSION = 60
"""Of processed profiles: the first whose tables of stacks are shared by all threads."""
CATEGORIES = (("Other", "grey"), ("User", "yellow"), ("Kernel", "orange"), ("Python", "blue"))
"""(name, colour)"""
_CATEGORY_OF = {USER: 1, INLINED: 1, KERNEL: 2, PYTHON: 3, UNKNOWN: 0}
_EXACT = 2**53
_LIBRARY, _OTHER_RESOURCE = 1, 0
_NOTHING = Location((Line("[no stack]"),), 0, None, None)


class Strings:
    """The profile's strings, each once."""

    def __init__(self) -> None:
        self.index: dict[str, int] = {}
        """Text → place, in the order of places."""

    def __call__(self, value: str | None) -> int:
        """The place of a text of the system, as it is shown."""
        return self.index.setdefault(shown(value), len(self.index))


def tables_of(stacks: Stacks, strings: Strings) -> tuple[dict[str, Any], Tree]:
    """The shared tables, and the tree whose nodes are rows of the stack table.

    One more row says that there is no stack: viewers drop samples that have none.
    """
    tables = _Tables(strings)
    keys = [tables.frames_of(location) for location in stacks.locations]
    tree = grow(paths_of(stacks, keys))
    (nothing,) = tables.frames_of(_NOTHING)
    made = tables.columns()
    made["stackTable"] = {
        "frame": [*tree.key.tolist(), nothing],
        "prefix": [*_nullable(tree.parent), None],
        "length": len(tree) + 1,
    }
    return made, tree


class _Tables:
    """Frames, functions, resources, libraries, native symbols: each once."""

    def __init__(self, strings: Strings) -> None:
        self._strings = strings
        self._frames: list[tuple[int, int, int, int, int | None, int | None]] = []
        self._functions: dict[tuple[int, int, int | None], int] = {}
        self._resources: dict[tuple[int, int | None], int] = {}
        self._libs: dict[tuple[str, bytes | None], int] = {}
        self._symbols: dict[tuple[int, int, int], int] = {}
        self._sources: dict[int, int] = {}

    def frames_of(self, location: Location) -> list[int]:
        """The rows of a location's lines, innermost first."""
        name, buildid = location.module or "", location.buildid
        lib = None
        if name.startswith("/"):
            lib = self._libs.setdefault((name, buildid), len(self._libs))
        resource = -1
        if name:
            key = self._strings(PurePath(name).name or name), lib
            resource = self._resources.setdefault(key, len(self._resources))
        symbol, address = None, -1
        if lib is not None and location.address < _EXACT:
            address = location.address
            outer = self._strings(location.lines[-1].name)
            key_ = lib, location.function_address, outer
            symbol = self._symbols.setdefault(key_, len(self._symbols))
        rows = []
        for at, line in enumerate(location.lines):
            source = None
            if line.file:
                source = self._sources.setdefault(self._strings(line.file), len(self._sources))
            function = self._strings(line.name), resource, source
            rows.append(len(self._frames))
            self._frames.append(
                (
                    address,
                    len(location.lines) - 1 - at,
                    _CATEGORY_OF[kind_of(location, at)],
                    self._functions.setdefault(function, len(self._functions)),
                    symbol,
                    line.line or None,
                )
            )
        return rows

    def columns(self) -> dict[str, Any]:
        """The tables as the profile has them, and `libs`."""
        frames = list(zip(*self._frames, strict=True)) or [()] * 6
        address, depth, category, function, symbol, line = map(list, frames)
        rows = len(self._frames)
        functions, symbols = list(self._functions), list(self._symbols)
        return {
            "libs": [_lib(path, buildid) for path, buildid in self._libs],
            "frameTable": {
                "address": address,
                "inlineDepth": depth,
                "category": category,
                "subcategory": [0] * rows,
                "func": function,
                "nativeSymbol": symbol,
                "innerWindowID": [0] * rows,
                "line": line,
                "column": [None] * rows,
                "length": rows,
            },
            "funcTable": {
                "name": [name for name, _, _ in functions],
                "isJS": [False] * len(functions),
                "relevantForJS": [False] * len(functions),
                "resource": [resource for _, resource, _ in functions],
                "source": [source for _, _, source in functions],
                "lineNumber": [None] * len(functions),
                "columnNumber": [None] * len(functions),
                "length": len(functions),
            },
            "resourceTable": {
                "name": [name for name, _ in self._resources],
                "lib": [lib for _, lib in self._resources],
                "host": [None] * len(self._resources),
                "type": [
                    _OTHER_RESOURCE if lib is None else _LIBRARY for _, lib in self._resources
                ],
                "length": len(self._resources),
            },
            "nativeSymbols": {
                "libIndex": [lib for lib, _, _ in symbols],
                "address": [begin for _, begin, _ in symbols],
                "name": [name for _, _, name in symbols],
                "functionSize": [None] * len(symbols),
                "length": len(symbols),
            },
            "sources": {
                "id": [None] * len(self._sources),
                "filename": list(self._sources),
                "length": len(self._sources),
            },
        }


def _lib(path: str, buildid: bytes | None) -> dict[str, Any]:
    name = shown(PurePath(path).name)
    return {
        "arch": "x86_64",
        "name": name,
        "path": shown(path),
        "debugName": name,
        "debugPath": shown(path),
        "breakpadId": _breakpad(buildid),
        "codeId": buildid.hex() if buildid else None,
    }


def _breakpad(buildid: bytes | None) -> str:
    """The first 16 bytes as a GUID, whose first three fields are little-endian, and age 0."""
    if not buildid:
        return ""
    full = buildid[:16].ljust(16, b"\0")
    return (full[3::-1] + full[5:3:-1] + full[7:5:-1] + full[8:]).hex().upper() + "0"


def _nullable(rows: I64) -> list[int | None]:
    """Indices as JSON has them; negative ones are none."""
    return [row if row >= 0 else None for row in rows.tolist()]
