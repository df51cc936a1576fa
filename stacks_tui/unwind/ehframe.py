"""An ELF image's unwind table: every function's rules as rows of 8 bytes, in order of address.

Comes in: an `ElfImage` (of a file or the vDSO), possibly hostile. Goes out: an `UnwindTable`.
.eh_frame is what counts; Go's own table and .debug_frame fill the code that it leaves out.

Code between functions with no rule of its own gets a row NONE (walk by frame pointer) when the
hole is wide enough to hold a function, else it is padding and the rule before goes on over it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt

from stacks_tui.elf import EM_AARCH64, EM_X86_64, ElfImage, Segment
from stacks_tui.unwind.cfi import AARCH64, X86_64, Budget, Machine
from stacks_tui.unwind.crt import DT_NEEDED, begin_rows, dynamic_entries, start_rows
from stacks_tui.unwind.entries import FdeList, debug_frame, eh_frame
from stacks_tui.unwind.golang import GoCode, go_code
from stacks_tui.unwind.lanes import LANE, LOCATION, Entries, Ints, run
from stacks_tui.unwind.pack import expand_plt, pack
from stacks_tui.unwind.rows import ROW, Kind, Rows

GAP = 16
"""A hole shorter than this between two functions is padding, bytes: functions are aligned to it."""
SCALAR_STEPS = 2_000_000
"""Instructions that go one by one in one file: a second of work. libc has 2,000."""
ROWS_LIMIT = 1 << 22
"""Rows of one file; a table that is longer is cut."""

_PAGE = 4096
_SPAN = 1 << 32


@dataclass(frozen=True, slots=True)
class UnwindTable:
    """What one file gives to unwinding."""

    rows: Rows
    """Empty when there are no rules at all. Else ascending by pc, the first pc 0."""
    base: int
    """The file's address from which rows count."""
    source: str
    """`.eh_frame`, `.gopclntab`, `.debug_frame`, joined by `+`; `none`; `unsupported` and why."""
    functions: int
    """FDEs used."""
    one_by_one: int
    """FDEs that had to be interpreted singly."""
    code_bytes: int
    """Bytes of the executable segments."""
    ruled_bytes: int
    """Those of them that belong to a function with rules."""

    @property
    def supported(self) -> bool:
        """Whether code without rows may be walked by frame pointer."""
        return not self.source.startswith("unsupported")


def base_of(loads: tuple[Segment, ...]) -> int:
    """The address from which the rows of a file with these executable loads count."""
    return min((load.vaddr for load in loads), default=0) & -_PAGE


def parse(image: ElfImage, followed: int | None = None) -> UnwindTable:
    """The unwind table of an image. Its work is bounded, whatever the file says.

    `followed`: a register (by its DWARF number) whose place the rows tell in place of rbp's.

    Raises:
        ElfError: the file is cut short, or can't be read.
    """
    machine = {EM_X86_64: X86_64, EM_AARCH64: AARCH64}.get(image.machine)
    code_bytes = sum(load.filesz for load in image.loads)
    base = base_of(image.loads)
    if machine is not None and followed is not None:
        machine = replace(machine, frame_pointer=followed)
    if machine is None or image.elfclass != 64:
        source = f"unsupported: {image.elfclass}-bit code of machine {image.machine}"
        return UnwindTable(np.zeros(0, ROW), base, source, 0, 0, code_bytes, 0)
    budget = Budget(SCALAR_STEPS)
    found: list[tuple[str, FdeList]] = []
    ruled = _Ranges()
    go: GoCode | None = None
    for name, read in ((".eh_frame", eh_frame), (".debug_frame", debug_frame)):
        fdes = read(image, machine, budget)
        if fdes is not None:
            fdes = _within(fdes, image.loads, base, ruled)
            if len(fdes.stop):
                found.append((name, fdes))
                ruled = ruled.joined(fdes.entries.start, fdes.stop)
        if name == ".eh_frame" and followed is None:
            go = go_code(image, base)
            if go is not None:
                ruled = ruled.joined(np.array([go.start]), np.array([go.stop]))
    sigreturn = _sigreturn(image, found, go) if image.machine == EM_X86_64 else []
    if not found and not sigreturn and go is None:
        return UnwindTable(np.zeros(0, ROW), base, "none", 0, 0, code_bytes, 0)
    parts: list[Rows] = [np.zeros(1, ROW), ruled.ends(base)]
    parts += [
        rows
        for rows in start_rows(image, base)
        if not ruled.hold(rows["pc"][:-1].astype(np.int64) + base).any()
    ]
    parts += begin_rows(image, base, ruled.first, ruled.last)
    one_by_one = functions = 0
    if go is not None:
        parts.append(go.rows)
        functions = go.functions
    for _, fdes in found:
        made, slow = _rows(fdes, base, machine, budget)
        parts.append(made)
        one_by_one += slow
        functions += len(fdes.stop)
    rows = _ordered(np.concatenate(parts))
    for address in sigreturn:
        rows = _with_signal(rows, address - base)
    return UnwindTable(
        rows[:ROWS_LIMIT],
        base,
        "+".join([*(name for name, _ in found), *([".gopclntab"] if go else [])]) or "none",
        functions,
        one_by_one,
        code_bytes,
        ruled.bytes,
    )


class _Ranges:
    """Address ranges of functions; those that overlap or nearly touch are one."""

    def __init__(self, start: Ints | None = None, stop: Ints | None = None) -> None:
        none = np.zeros(0, np.int64)
        self._start = none if start is None else start
        self._stop = none if stop is None else stop
        order = np.argsort(self._start, kind="stable")
        starts, stops = self._start[order], self._stop[order]
        reach = np.maximum.accumulate(stops) if len(stops) else stops
        before = np.concatenate([starts[:1], reach[:-1]]) if len(starts) else starts
        self.bytes = int(np.maximum(reach - np.maximum(starts, before), 0).sum())
        opens = np.append(True, starts[1:] - reach[:-1] >= GAP) if len(starts) else none > 0
        self.first = starts[opens]
        self.last = reach[np.append(opens[1:], True)] if len(starts) else reach

    def joined(self, start: Ints, stop: Ints) -> _Ranges:
        return _Ranges(np.concatenate([self._start, start]), np.concatenate([self._stop, stop]))

    def hold(self, address: Ints) -> npt.NDArray[np.bool_]:
        if not len(self.first):
            return np.zeros(len(address), np.bool_)
        at = np.searchsorted(self.first, address, side="right") - 1
        found: npt.NDArray[np.bool_] = (at >= 0) & (address < self.last[np.maximum(at, 0)])
        return found

    def ends(self, base: int) -> Rows:
        """A row NONE at the end of each."""
        inside = self.last[self.last - base < _SPAN]
        rows = np.zeros(len(inside), ROW)
        rows["pc"] = inside - base
        return rows


def _within(fdes: FdeList, loads: tuple[Segment, ...], base: int, ruled: _Ranges) -> FdeList:
    """Those in executable segments, not ruled yet; of two with the same start the first."""
    start = fdes.entries.start
    keep = np.zeros(len(start), np.bool_)
    stop = fdes.stop.copy()
    for load in loads:
        end = min(load.vaddr + load.filesz, base + _SPAN)
        if end >= 1 << 62:  # no address of code
            continue
        inside = (start >= load.vaddr) & (start < end)
        stop[inside] = np.minimum(stop[inside], end)
        keep |= inside
    keep &= np.append(True, start[1:] != start[:-1])[: len(start)] & ~ruled.hold(start)
    which = np.nonzero(keep)[0]
    old = fdes.entries
    entries = Entries(old.at[which], old.end[which], start[which], old.cie[which])
    return FdeList(fdes.frames, fdes.cies, entries, stop[which])


def _rows(fdes: FdeList, base: int, machine: Machine, budget: Budget) -> tuple[Rows, int]:
    """The rows of all functions, unordered, but those of one function in order of their making."""
    lines, one_by_one = run(fdes.frames, fdes.entries, fdes.cies, machine, budget)
    lines = lines[lines[:, LOCATION] < fdes.stop[lines[:, LANE]]]
    lines, _ = expand_plt(lines, fdes.stop[lines[:, LANE]])
    signal = np.array([cie.signal for cie in fdes.cies], np.bool_)[fdes.entries.cie]
    return pack(lines, lines[:, LOCATION] - base, signal[lines[:, LANE]], machine), one_by_one


def _ordered(rows: Rows) -> Rows:
    """By pc; of several at one pc the last, of several with one rule in a row the first."""
    rows = rows[np.argsort(rows["pc"], kind="stable")]
    rows = rows[np.append(rows["pc"][1:] != rows["pc"][:-1], True)]
    rule = rows.view("<u8") >> np.uint64(32)
    kept: Rows = rows[np.append(True, rule[1:] != rule[:-1])]
    return kept


_SIGRETURN = b"\x0f\x00\x00\x00\x0f\x05"  # …, 15; syscall
_LOADS_RAX = (b"\x48\xc7\xc0", b"\xb8")  # mov $15, %rax or %eax
_TEXT_LIMIT = 64 << 20


def _sigreturn(image: ElfImage, found: list[tuple[str, FdeList]], go: GoCode | None) -> list[int]:
    """Addresses of signal returns that no rule marks: musl's, Go's.

    Only a program that brings its own libc has one, or Go's code, so only these are searched.
    """
    if any(cie.signal for _, fdes in found for cie in fdes.cies):
        return []
    entries = dynamic_entries(image)
    if entries is None or (DT_NEEDED in entries and go is None):
        return []
    addresses: list[int] = []
    for load in image.loads:
        if load.filesz > _TEXT_LIMIT:
            continue
        text = image.read(load.offset, load.filesz)
        at = text.find(_SIGRETURN)
        while at >= 0 and len(addresses) < 16:
            heads = [len(head) for head in _LOADS_RAX if text.endswith(head, 0, at)]
            addresses += [load.vaddr + at - length for length in heads]
            at = text.find(_SIGRETURN, at + 1)
    return sorted(addresses)


def _with_signal(rows: Rows, pc: int) -> Rows:
    """The rows with a signal frame's rule over the two instructions at `pc`, and a return there.

    The kernel makes a handler return to `pc` itself, and return addresses are looked up a byte
    before: glibc has a nop there, musl the end of whatever function comes before.
    """
    after = pc + 9
    if not 1 <= pc < _SPAN - 16 or not len(rows):
        return rows
    inside = (rows["pc"] >= pc - 1) & (rows["pc"] <= after)
    at = int(np.searchsorted(rows["pc"], after, side="right")) - 1
    made = np.zeros(3, ROW)
    made["pc"] = pc - 1, pc, after
    made["kind"][:2] = Kind.SIGNAL
    made["off"][0] = 1
    made["off"][2], made["kind"][2], made["rbp"][2] = rows[at].tolist()[1:]
    return _ordered(np.concatenate([np.zeros(1, ROW), rows[~inside], made]))
