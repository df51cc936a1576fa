"""Rules of Go programs, from the table by which their own runtime walks stacks (`.gopclntab`).

Comes in: an ELF image. Goes out: rows for all of Go's code, stripped or not. They go before Go's
.debug_frame, which takes functions that change to another stack for ordinary ones: what lies there
is no return address. Such a function ends a walk; the runtime's starts end it as complete.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from stacks_tui.elf import EM_X86_64, ElfError, ElfImage
from stacks_tui.unwind.entries import SECTION_LIMIT
from stacks_tui.unwind.lanes import Ints
from stacks_tui.unwind.rows import RBP_UNKNOWN, ROW, Kind, Rows

SECTIONS = (".gopclntab", ".data.rel.ro.gopclntab", ".data.rel.ro")
"""Where the table may be; in the last among others, after another linker than Go's own."""
BUILD_INFO = ".go.buildinfo"

_MAGICS = {0xFFFFFFF0: 36, 0xFFFFFFF1: 40}
"""Of Go 1.18 and of 1.20 and later: where a function's record has its id and flags."""
_HEADER = struct.Struct("<IHBB8Q")
_NAME, _PCSP, _FLAGS = 4, 16, 1
"""Places in a function's record; the flags are behind the id."""
_SWITCHES = 2
"""The flag of functions that write the stack pointer (SPWRITE)."""
_STARTS = (b"runtime.goexit", b"runtime.rt0_go", b"runtime.mcall")
"""Outermost frames of goroutines, of the program, and of what a thread does between goroutines:
mcall leaves the goroutine's stack for good."""
_CLONE, _CLONE_SIZE = b"runtime.clone", 512
_CALL = b"\x41\xff\xd4"
"""In it, `call *%r12`: where a new thread begins, on a stack that nobody called it on."""
_FUNCTIONS_LIMIT = 1 << 21
_STEPS, _LINES_LIMIT = 4096, 1 << 22
"""Changes of the stack's depth in one function, and in all; what is beyond has no rule."""
_PADDING = 32

Bytes = npt.NDArray[np.uint8]


@dataclass(frozen=True, slots=True)
class GoCode:
    """Go's part of a file."""

    rows: Rows
    start: int
    stop: int
    functions: int


def go_code(image: ElfImage, base: int) -> GoCode | None:
    """The rows of Go's functions; None: there are none, or in a form that is not known here."""
    table = _table(image)
    if table is None:
        return None
    magic, _, _, _, count, _, text, *places = _HEADER.unpack_from(table)
    names, _, _, depths, functions = places
    size = len(table)
    last = functions + 8 * count
    inside = max(names, depths) < size and last + 4 <= size
    if not inside or not 0 < count <= _FUNCTIONS_LIMIT or not 0 <= text - base < 1 << 31:
        return None
    data = np.frombuffer(table + bytes(_PADDING), np.uint8)
    pairs = np.frombuffer(table, "<u4", 2 * count + 1, functions).astype(np.int64)
    start, record = pairs[::2], functions + pairs[1::2]
    if not (start[1:] > start[:-1]).all() or record.max() + _MAGICS[magic] + 8 > size:
        return None
    stop = text + int(start[-1])
    if not any(load.vaddr <= text and stop <= load.vaddr + load.filesz for load in image.loads):
        return None
    name = names + _word(data, record + _NAME)
    rows = _depths(data, depths + _word(data, record + _PCSP), start, size)
    switches = data[record + _MAGICS[magic] + _FLAGS] & _SWITCHES != 0
    starts = np.zeros(count, np.bool_)
    starts[_named(table, name, _STARTS)] = True
    ends = np.where(starts, Kind.STOP, Kind.BAD)
    rows = rows[~(switches | starts)[np.searchsorted(start, rows["pc"], side="right") - 1]]
    whole = np.zeros(int((switches | starts).sum()), ROW)
    whole["pc"] = start[:-1][switches | starts]
    whole["kind"] = ends[switches | starts]
    threads = [_thread_rows(image, text, int(start[at])) for at in _named(table, name, (_CLONE,))]
    rows = np.concatenate([rows, whole, *threads])
    rows = rows[np.argsort(rows["pc"], kind="stable")]
    rows["pc"] += text - base
    return GoCode(rows, text, stop, count)


def _table(image: ElfImage) -> bytes | None:
    """The table, from its header on."""
    section = next(filter(None, map(image.section, SECTIONS)), None)
    if section is None or image.section(BUILD_INFO) is None:
        return None
    if image.machine != EM_X86_64 or image.elfclass != 64:
        return None
    try:
        content = image.content(section, SECTION_LIMIT)
    except ElfError:
        return None
    heads = [struct.pack("<IHBB", magic, 0, 1, 8) for magic in _MAGICS]
    at = min((at for at in map(content.find, heads) if at >= 0), default=len(content))
    return content[at:] if len(content) - at >= _HEADER.size else None


def _thread_rows(image: ElfImage, text: int, pc: int) -> Rows:
    """The start of threads in the function that makes them, which is else without rules."""
    rows = np.zeros(2, ROW)
    load = next(load for load in image.loads if load.vaddr <= text < load.vaddr + load.filesz)
    offset = load.offset + text + pc - load.vaddr
    try:
        at = image.read(offset, _CLONE_SIZE).find(_CALL)
    except ElfError:
        return rows[:0]
    rows["pc"] = pc + at, pc + at + len(_CALL)
    rows["kind"] = Kind.STOP, Kind.BAD
    return rows[: 2 * (at >= 0)]


def _named(table: bytes, name: Ints, wanted: tuple[bytes, ...]) -> Ints:
    """The functions that bear these names."""
    texts = [text for start in wanted for text in (start, start + b".abi0")]
    places = [table.find(b"\0" + text + b"\0") + 1 for text in texts]
    return np.nonzero(np.isin(name, places))[0]


def _word(data: Bytes, at: Ints) -> Ints:
    words = data[at[:, None] + np.arange(4)]
    return np.ascontiguousarray(words).view("<u4")[:, 0].astype(np.int64)


def _depths(data: Bytes, at: Ints, start: Ints, size: int) -> Rows:
    """A row for each change of a function's stack depth, from pairs of numbers: depth and pc.

    Each is a difference to the one before, in up to five bytes of seven bits; the depth's is in
    zigzag, and ends the list where it is 0 but for the first.
    """
    pc, depth = start[:-1].copy(), np.full(len(at), -1)
    stop = start[1:]
    bad = (at >= size) | (at <= 0)
    lanes = np.nonzero(~bad)[0]
    parts: list[Rows] = []
    made = 0
    for step in range(_STEPS):
        if not len(lanes) or made > _LINES_LIMIT:
            break
        made += len(lanes)
        change, places = _number(data, at[lanes], size)
        goes_on = (change != 0) | (step == 0)
        lanes, change, places = lanes[goes_on], change[goes_on], places[goes_on]
        length, at[lanes] = _number(data, places, size)
        depth[lanes] += (change >> 1) ^ -(change & 1)
        here = depth[lanes]
        known = (here >= 0) & (here % 8 == 0) & (here < 1 << 17) & (at[lanes] < size)
        rows = np.zeros(len(lanes), ROW)
        rows["pc"] = np.minimum(pc[lanes], stop[lanes] - 1)
        rows["kind"] = np.where(known, Kind.RSP, Kind.BAD)
        rows["off"] = np.where(known, here // 8 + 1, 0)
        rows["rbp"] = np.where(known & (here > 0), RBP_UNKNOWN, 0)
        parts.append(rows)
        pc[lanes] += length
        lanes = lanes[(pc[lanes] < stop[lanes]) & (at[lanes] < size)]
    bad[lanes] = True
    rest = np.zeros(int(bad.sum()), ROW)
    rest["pc"], rest["kind"] = start[:-1][bad], Kind.BAD
    rows = np.concatenate([*parts, rest]) if parts else rest
    return rows[np.argsort(rows["pc"], kind="stable")]


def _number(data: Bytes, at: Ints, size: int) -> tuple[Ints, Ints]:
    """The numbers at these places, and the places behind them; those past the end are 0."""
    value = np.zeros(len(at), np.int64)
    at = np.minimum(at, size)
    more = np.ones(len(at), np.bool_)
    for shift in range(0, 35, 7):
        byte = data[at].astype(np.int64)
        value = np.where(more, value | (byte & 127) << shift, value)
        at = at + more
        more &= byte >= 128
        if not more.any():
            break
    return value, at
