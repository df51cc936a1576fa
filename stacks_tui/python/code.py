"""Code objects as values: name, file, and the line of each instruction.

Comes in: a `CodeRecord`, that is the beginnings of a code object and its strings as the kernel side
copied them, and the process's memory for what is longer. Goes out: a `Code`, or None where no code
object was. All of it is foreign memory: nothing is believed, nothing raises.
"""

from __future__ import annotations

import bisect
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property

from stacks_tui.python.layout import (
    BYTES_DATA,
    BYTES_LENGTH,
    CODE_LAYOUTS,
    STRING_LENGTH,
    STRING_STATE,
    CodeLayout,
)
from stacks_tui.python.runtime import Memory
from stacks_tui.records import CodeRecord

TEXT_LIMIT = 4096
"""Characters of a name or path that are kept."""
TABLE_LIMIT = 1 << 20
"""Bytes of a location table that are read."""
UNIT = 2
"""Bytes of an instruction."""
_CODECS = {1: "latin-1", 2: "utf-16-le", 4: "utf-32-le"}
_NO_LINE = 15
_word = struct.Struct("<Q")
_pointer = _word.unpack_from


@dataclass(frozen=True)
class Code:
    """One code object."""

    name: str
    """Qualified; `…` ends one that couldn't be read whole."""
    file: str
    first_line: int
    address: int
    instructions: int
    """Offset of the first instruction."""
    table: bytes
    """The location table, or its beginning."""

    @property
    def is_trampoline(self) -> bool:
        """3.13 and later wrap specialised calls of classes into a frame that no source has."""
        return self.name == self.file == "__init__"

    @cached_property
    def _lines(self) -> tuple[list[int], list[int | None]]:
        ends, lines = [], []
        for end, line in line_table(self.table, self.first_line):
            ends.append(end)
            lines.append(line)
        return ends, lines

    def line(self, offset: int) -> int | None:
        """The line of the instruction at `offset` from the code object; None: it has none.

        Before the first instruction: where the code begins.
        """
        at = offset - self.instructions
        if at < 0:
            return self.first_line
        ends, lines = self._lines
        place = bisect.bisect_right(ends, at)
        return lines[place] if place < len(lines) else None


def read_code(record: CodeRecord, memory: Memory | None) -> Code | None:
    """The code object of a record; None: there was none at its address."""
    layout = CODE_LAYOUTS.get(record.minor)
    if layout is None or len(record.object) < 256:
        return None
    if not record.type or _pointer(record.object, 8)[0] != record.type:
        return None
    reader = _Reader(record, layout, memory)
    name = reader.text(record.qualname, layout.qualname)
    file = reader.text(record.filename, layout.filename)
    if name is None or file is None:
        return None
    (first_line,) = struct.unpack_from("<i", record.object, layout.firstlineno)
    return Code(
        name,
        file,
        max(first_line, 0),
        record.address,
        layout.instructions,
        reader.table(),
    )


class _Reader:
    """What a code object points to: from the copy, else from memory while the object is there."""

    def __init__(self, record: CodeRecord, layout: CodeLayout, memory: Memory | None) -> None:
        self._record = record
        self._layout = layout
        self._memory = memory

    def text(self, copy: bytes, pointer: int) -> str | None:
        """The str at `pointer` of the code object; None: it is none."""
        size, data, kind = self._string(copy)
        if not kind:
            copy = self._later(pointer, 256)
            size, data, kind = self._string(copy)
            if not kind:
                return None
        wanted = min(size, TEXT_LIMIT)
        raw = copy[data : data + wanted * kind]
        if len(raw) < wanted * kind:
            whole = self._later(pointer, data + wanted * kind)
            raw = whole[data:] or raw[: len(raw) // kind * kind]
        found = raw.decode(_CODECS[kind], "surrogatepass" if kind == 2 else "replace")
        return found if len(raw) == size * kind else found + "…"

    def table(self) -> bytes:
        """The location table, or as much of it as can be had."""
        copy = self._record.linetable
        size = _length(copy)
        if not size:
            copy = self._later(self._layout.linetable, BYTES_DATA)
            size = _length(copy)
        size = min(size, TABLE_LIMIT)
        if BYTES_DATA + size > len(copy):
            copy = self._later(self._layout.linetable, BYTES_DATA + size) or copy
        return copy[BYTES_DATA : BYTES_DATA + size]

    def _string(self, copy: bytes) -> tuple[int, int, int]:
        """(length, where the characters begin, bytes of each); 0 bytes: no compact str."""
        (size,) = _pointer(copy, STRING_LENGTH) if len(copy) >= 64 else (0,)
        (state,) = struct.unpack_from("<I", copy, STRING_STATE) if len(copy) >= 64 else (0,)
        for shift in (2, 8, 16):  # `interned` before it: 2 bits, in some builds 8 or 16
            kind, compact, ascii_ = (
                state >> shift & 7,
                state >> shift + 3 & 1,
                state >> shift + 4 & 1,
            )
            if kind in _CODECS and compact and not (ascii_ and kind != 1):
                return size, self._layout.ascii if ascii_ else self._layout.wide, kind
        return 0, 0, 0

    def _later(self, pointer: int, size: int) -> bytes:
        """What the code object still points to, if it is still the same; else nothing."""
        if self._memory is None:
            return b""
        (address,) = _pointer(self._record.object, pointer)
        try:
            found = self._memory.read(address, size)
            now = self._memory.read(self._record.address, 256)
        except OSError:
            return b""
        return found if self._same(now) else b""

    def _same(self, now: bytes) -> bool:
        then, layout = self._record.object, self._layout
        parts = [(layout.identity, 16), (8, 8), (layout.filename, 32)]
        return all(now[at : at + size] == then[at : at + size] for at, size in parts)


def _length(copy: bytes) -> int:
    """The length that a bytes object tells of itself."""
    return int(_pointer(copy, BYTES_LENGTH)[0]) if len(copy) >= BYTES_DATA else 0


def line_table(table: bytes, line: int) -> Iterator[tuple[int, int | None]]:
    """(end, line) of each run of instructions, in bytes from the first: 3.11's location table.

    A table that is cut or damaged ends early.
    """
    at = end = 0
    while at < len(table):
        first = table[at]
        kind = first >> 3 & 15
        end += ((first & 7) + 1) * UNIT
        at += 1
        if kind in (13, 14):
            value = shift = 0
            while True:
                if at >= len(table) or shift > 60:
                    return
                part = table[at]
                at += 1
                value |= (part & 63) << shift
                shift += 6
                if not part & 64:
                    break
            line += -(value >> 1) if value & 1 else value >> 1
        elif 10 <= kind <= 12:
            line += kind - 10
        yield end, None if kind == _NO_LINE or not 0 <= line < 1 << 31 else line
        while at < len(table) and not table[at] & 128:
            at += 1
