"""Unwinds a copied stack, when the kernel had no table for it yet: the same rules, in Python.

Comes in: the registers and the stack's memory of one moment, with the address space of that moment.
Goes out: the addresses that the BPF unwinder would have found, and what ended the walk. Needed in a
process's first milliseconds, and for what that one can't say, so it may take its time; twin of
bpf/unwind.h. It goes further in one thing: where a frame is known by another register than rsp and
rbp (the dynamic linker's look-ups, some assembler), it finds that one where its callees saved it.
"""

from __future__ import annotations

import contextlib
import struct
import time
from collections import OrderedDict
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from stacks_tui.diskcache import DiskCache
from stacks_tui.elf import ElfError, Segment
from stacks_tui.records import StackStatus
from stacks_tui.spaces import AddressSpace, Mapping
from stacks_tui.unwind.cached import load_table
from stacks_tui.unwind.catalog import Opener
from stacks_tui.unwind.ehframe import UnwindTable
from stacks_tui.unwind.frame import Frame, frame_without_code
from stacks_tui.unwind.identity import VDSO, FileKey, file_key
from stacks_tui.unwind.modules import row_bias
from stacks_tui.unwind.rows import RBP_AT_RBP, RBP_SAME, RBP_UNKNOWN, ROW, Kind, find_row
from stacks_tui.unwind.vdso import read_vdso

REGISTERS = 21
"""Words of struct pt_regs (arch/x86/include/asm/ptrace.h)."""
WHOLE_COPY = 5120
"""Words that bpf/stack.h copies at most: a walk that leaves them was cut, not wrong."""
RED_ZONE = 128
"""Bytes below rsp that it copies too."""
PAGE = 4096
TABLES_KEPT = 64
RULES_KEPT = 1 << 16
"""Rules of a module that are kept by address."""
UNREADABLE_S = 1.0
"""How long a file that couldn't be opened isn't tried again."""

_BP, _START_STACK, _IP, _FRAME, _SP, _PAGES = 4, 15, 16, 17, 19, 20
"""Places in struct pt_regs; bpf/stack.h puts the program's first stack pointer at orig_ax, how
the innermost frame stands at cs, and which pages from rsp on are there at ss, a bit each."""
_BY_DWARF = (10, 12, 11, 5, 13, 14, 4, 19, 9, 8, 7, 6, 3, 2, 1, 0)
"""DWARF's register numbers 0…15 (System V ABI, x86-64) as places in struct pt_regs."""
_CALLEE_SAVED = (3, 12, 13, 14, 15)
"""rbx, r12…r15 by DWARF number: what callees save, and rows do not follow."""
_IN_SIGNAL = (144, 136, 152, 128, 112, 104, 120, 160, 40, 48, 56, 64, 72, 80, 88, 96)
"""By DWARF number: where the kernel's signal frame keeps the registers, from rsp."""
_MASK = (1 << 64) - 1
_word = struct.Struct("<Q").unpack_from


@dataclass(frozen=True, slots=True)
class LateStack:
    """What a copied stack holds."""

    addresses: npt.NDArray[np.uint64]
    """Leaf first, as in a `StackRecord`."""
    status: StackStatus
    by_frame_pointer: int


Rule = tuple[Kind, int, int]
"""kind, off and rbp of a row."""


_BY_POINTER: dict[Frame, Rule] = {
    Frame.WHOLE: (Kind.RBP, 2, -2),
    Frame.UNSURE: (Kind.RBP, 2, -2),
    Frame.PUSHED: (Kind.RSP, 2, -2),
    Frame.NONE: (Kind.RSP, 1, RBP_SAME),
}
"""How code without rules is walked: by a frame pointer, but for the innermost frame."""


@dataclass(frozen=True, slots=True)
class _Module:
    table: UnwindTable
    loads: tuple[Segment, ...]
    of_registers: dict[int, UnwindTable] = field(default_factory=dict)
    """The same with another register in rbp's place, as far as one was needed."""
    rules: dict[tuple[int, int | None], Rule] = field(default_factory=dict)
    """What was looked up, by address from the base and register."""


class Unreadable(Exception):
    """An address that is not in the copy."""


class Memory:
    """A copy of a stack: words from below `sp` on, of the pages that `pages` has bits for."""

    def __init__(self, words: npt.NDArray[np.uint64], sp: int, pages: int) -> None:
        self._low = address = ((sp & ~7) - RED_ZONE) & _MASK
        self._data = data = words.tobytes()
        self._parts: list[tuple[int, bytes]] = []  # (start, content), where pages are missing
        if not pages & (pages + 1):
            return
        self._data, joins = b"", False
        while data and pages:
            size = PAGE - address % PAGE
            if pages & 1:
                low, before = self._parts.pop() if joins else (address, b"")
                self._parts.append((low, before + data[:size]))
                data = data[size:]
            joins = bool(pages & 1)
            address += size
            pages >>= 1

    def read(self, address: int) -> int:
        """The word at an address.

        Raises:
            Unreadable: it is not in the copy.
        """
        at = address - self._low
        if 0 <= at <= len(self._data) - 8:
            return int(_word(self._data, at)[0])
        for low, data in self._parts:
            if 0 <= address - low <= len(data) - 8:
                return int(_word(data, address - low)[0])
        raise Unreadable


class LateUnwinder:
    """Keeps the tables that it needed last. For one thread."""

    def __init__(self, opener: Opener, cache: DiskCache | None, max_frames: int) -> None:
        self._opener = opener
        self._cache = cache
        self._max_frames = max_frames
        self._modules: OrderedDict[object, _Module | None] = OrderedDict()
        self._failed: dict[object, float] = {}
        self._space: AddressSpace | None = None
        self._placed: dict[int, tuple[_Module, int]] = {}
        """Of that space: the module and bias of the mapping that starts there."""

    def unwind(
        self, words: npt.NDArray[np.uint64], space: AddressSpace | None, tgid: int
    ) -> LateStack:
        """Walk a copy (`REGISTERS` words, then the stack) as the BPF side would."""
        registers = [int(word) for word in words[:REGISTERS]]
        memory = Memory(words[REGISTERS:], registers[_SP], registers[_PAGES])
        read = memory.read
        whole = len(words) - REGISTERS >= WHOLE_COPY
        start_stack = registers[_START_STACK]
        ip, sp, bp = registers[_IP], registers[_SP], registers[_BP]
        frames: list[int] = []
        by_frame_pointer = 0
        exact = True
        followed = False  # the frame before was found by frame pointer
        signal = 0  # where the last signal frame is
        trail: list[tuple[int, int]] = []  # (pc, CFA) of the frames since
        unsure = False  # a caller may be missing

        def end(status: StackStatus) -> LateStack:
            if status is StackStatus.COMPLETE and unsure:
                status = StackStatus.FP_END
            return LateStack(np.array(frames, np.uint64), status, by_frame_pointer)

        if space is None:
            frames.append(ip)
            return end(StackStatus.NO_SPACE)
        mapped = space

        def value_of(register: int) -> int | None:
            """A register as the frame at hand has it; None: nobody kept it."""
            if trail and register not in _CALLEE_SAVED:
                return None
            if signal:
                value = read(signal + _IN_SIGNAL[register])
            else:
                value = registers[_BY_DWARF[register]]
            for pc, cfa in trail:
                kind, _, place = self._rule(mapped, pc, tgid, register)
                if kind is Kind.NONE or place > 0:
                    return None
                if place:
                    value = read(cfa + 8 * place)
            return value

        while len(frames) < self._max_frames:
            frames.append(ip)
            pc = ip if exact else ip - 1
            kind, off, rbp = self._rule(mapped, pc, tgid)
            try:
                if kind is Kind.STOP:
                    return end(StackStatus.COMPLETE)
                if kind is Kind.SIGNAL and not (off and exact):
                    exact, followed, signal = True, False, sp
                    trail.clear()
                    ip, bp, sp = read(sp + 168), read(sp + 120), read(sp + 160)
                    continue
                innermost, exact = exact, False
                if kind in (Kind.RAREG, Kind.REG):
                    value = value_of(off >> 8 & 15)
                    if value is None or (kind is Kind.RAREG and rbp):
                        return end(StackStatus.NO_RULE)
                    if kind is Kind.RAREG:
                        ip, sp = value, sp + (off & 255) * 8
                        trail.append((pc, sp))
                        continue
                    sp = value
                    kind, off = Kind.RSP, off & 255
                elif kind is Kind.NONE:
                    frame = Frame.WHOLE
                    if innermost:
                        frame = Frame(registers[_FRAME] & 3)
                        if signal:  # of what it interrupted, a copy has no code
                            top = read(sp)
                            is_code = mapped.find(top) is not None
                            frame = frame_without_code(is_code, top, sp, bp)
                        unsure |= frame is Frame.UNSURE
                    if bp < sp and frame not in (Frame.PUSHED, Frame.NONE):
                        start = bp == 0 and (followed or 0 <= start_stack - sp < 64)
                        return end(StackStatus.COMPLETE if start else StackStatus.FP_END)
                    by_frame_pointer += 1
                    kind, off, rbp = _BY_POINTER[frame]
                    followed = True
                elif kind is Kind.ABSENT:
                    return end(StackStatus.NO_SPACE)
                elif kind in (Kind.BAD, Kind.SIGNAL):
                    return end(StackStatus.NO_RULE)
                else:
                    followed = False
                by_rbp = kind in (Kind.RBP, Kind.DRBP, Kind.DRBP8)
                cfa = (bp if by_rbp else sp) + off * 8
                if kind is Kind.PLT and ip & 15 >= 11:
                    cfa += 8
                elif kind in (Kind.DRSP, Kind.DRBP):
                    cfa = read(cfa)
                elif kind in (Kind.DRSP8, Kind.DRBP8):
                    cfa = read(cfa) + 8
                ip = read(cfa - 8)
                if rbp == RBP_UNKNOWN:
                    bp = 1
                elif rbp == RBP_AT_RBP:
                    bp = read(bp)
                elif rbp:
                    bp = read(cfa + 8 * rbp)
            except Unreadable:
                return end(StackStatus.CUT if whole else StackStatus.FAULT)
            sp = cfa & _MASK
            trail.append((pc, sp))
            if ip == 0:
                return end(StackStatus.FP_END if followed else StackStatus.COMPLETE)
        return end(StackStatus.CUT)

    def _rule(self, space: AddressSpace, pc: int, tgid: int, register: int | None = None) -> Rule:
        """The row that holds for `pc`; BAD where the file can't be read.

        ABSENT where no code is mapped: what led there was no return address, and to follow the
        frame pointer from it could end at a start that has nothing to do with this stack.
        """
        mapping = space.find(pc)
        if mapping is None:
            return Kind.ABSENT, 0, 0
        if space is not self._space:
            self._space = space
            self._placed.clear()
        placed = self._placed.get(mapping.start)
        if placed is None:
            key = file_key(mapping, tgid)
            if key is None:
                return Kind.NONE, 0, 0
            module = self._module(key, mapping, tgid)
            if module is None or not module.table.supported:
                return Kind.BAD, 0, 0
            if not len(module.table.rows):
                return Kind.NONE, 0, 0
            bias = row_bias(module.loads, mapping)
            if bias is None:
                return Kind.BAD, 0, 0
            placed = self._placed[mapping.start] = module, bias
        module, bias = placed
        relative = (pc - bias) & _MASK
        rule = module.rules.get((relative, register))
        if rule is None:
            if len(module.rules) > RULES_KEPT:
                module.rules.clear()
            rule = self._look_up(module, relative, mapping, tgid, register)
            module.rules[relative, register] = rule
        return rule

    def _look_up(
        self, module: _Module, pc: int, mapping: Mapping, tgid: int, register: int | None
    ) -> Rule:
        rows = module.table.rows
        if register is not None:
            if register not in module.of_registers:
                module.of_registers[register] = self._load_other(mapping, tgid, register)
            rows = module.of_registers[register].rows
            if not len(rows):
                return Kind.NONE, 0, 0
        row = rows[find_row(rows, pc)]
        return Kind(int(row["kind"])), int(row["off"]), int(row["rbp"])

    def _module(self, key: FileKey, mapping: Mapping, tgid: int) -> _Module | None:
        if not mapping.buildid and mapping.path != VDSO:
            key = (*key, tgid)  # an inode may be another file once nobody has it mapped
        if key in self._modules:
            self._modules.move_to_end(key)
            return self._modules[key]
        now = time.monotonic()
        if now - self._failed.get(key, -UNREADABLE_S) < UNREADABLE_S:
            return None
        try:
            found = self._load(mapping, tgid)
        except (ElfError, OSError):
            found = None
        if found is None:
            if len(self._failed) > 4096:
                self._failed.clear()
            self._failed[key] = now
            return None
        self._modules[key] = found
        if len(self._modules) > TABLES_KEPT:
            self._modules.popitem(last=False)
        return found

    def _load(self, mapping: Mapping, tgid: int) -> _Module | None:
        if mapping.path == VDSO:
            image = read_vdso()
            return _Module(load_table(image, self._cache), image.loads)
        with self._opener(mapping, tgid) as opened:
            if opened is None:
                return None
            return _Module(load_table(opened, self._cache), opened.loads)

    def _load_other(self, mapping: Mapping, tgid: int, register: int) -> UnwindTable:
        """The table that follows another register; one without rows where it can't be had."""
        with contextlib.suppress(ElfError, OSError):
            if mapping.path == VDSO:
                return load_table(read_vdso(), self._cache, register)
            with self._opener(mapping, tgid) as opened:
                if opened is not None:
                    return load_table(opened, self._cache, register)
        return UnwindTable(np.zeros(0, ROW), 0, "none", 0, 0, 0, 0)
