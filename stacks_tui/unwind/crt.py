"""Rules for what libc's and GCC's start files bring into every program without any.

Comes in: an ELF image. Goes out: rows, where `_init` and `_fini` are exactly the code that glibc's
or musl's start files have (sysdeps/x86_64/crti.S and crtn.S; crt/x86_64/crti.s and crtn.s), where
the four functions of GCC's (libgcc/crtstuff.c) are as it makes them, and for a static program's
jumps to what it chose at its start, such as memcpy. Without these the first page of every library
that is touched at its start or its end is touched by code with no rule.
"""

from __future__ import annotations

import itertools
import re

import numpy as np

from stacks_tui.elf import EM_X86_64, PT_DYNAMIC, ElfError, ElfImage
from stacks_tui.unwind.lanes import Ints
from stacks_tui.unwind.rows import ROW, Kind, Rows

_BODY = re.compile(
    rb"(?:\xf3\x0f\x1e\xfa)?"  # endbr64
    rb"(?:\x48\x83\xec\x08|\x50)"  # sub $8, %rsp or push %rax
    rb"(?P<body>(?:\x48(?:\x8b\x05|\xc7\xc0).{4}\x48\x85\xc0\x74\x02\xff\xd0)?"  # __gmon_start__
    rb"(?:\xe8.{4}){0,4})"  # calls of what older compilers put there
    rb"(?:\x48\x83\xc4\x08|\x58)"  # add $8, %rsp or pop %rax
    rb"(?P<ret>\xc3)",
    re.DOTALL,
)
_PAD = rb"[\x66\x2e\x0f\x1f\x40\x44\x80\x84\x00\x90]{0,16}?"
_MARK = rb"(?:\xf3\x0f\x1e\xfa)?"  # endbr64
_CLONE_TABLE = (  # its function, if there is one, is jumped to
    rb"\x74.(?:\x48[\x8b\x8d]\x05.{4}|(?:\xb8|\x48\xc7\xc0).{4})\x48\x85\xc0\x74."
    rb"(?:\xbf.{4})?\xff\xe0" + _PAD + rb"\xc3" + _PAD
)
BEGIN = re.compile(
    rb"(?:\x48\x8d\x3d.{4}\x48\x8d\x05.{4}\x48\x39\xf8|\xb8.{4}\x48\x3d.{4})"
    + _CLONE_TABLE  # deregister_tm_clones
    + rb"(?:\x48\x8d\x3d.{4}\x48\x8d\x35.{4}\x48\x29\xfe|\xbe.{4}\x48\x81\xee.{4})"
    + rb"(?:\x48\x89\xf0\x48\xc1\xee\x3f\x48\xc1\xf8\x03"
    + rb"|\x48\xc1\xfe\x03\x48\x89\xf0\x48\xc1\xe8\x3f)"
    + rb"\x48\x01\xc6\x48\xd1\xfe"
    + _CLONE_TABLE  # register_tm_clones
    + _MARK
    + rb"\x80\x3d.{4}\x00\x75.\x55(?P<body>(?:\x48\x83\x3d.{4}\x00)?\x48\x89\xe5"
    + rb"(?:\x74.\x48\x8b\x3d.{4}\xe8.{4})?\xe8.{4}"
    + rb"(?:\xb8.{4}\x48\x85\xc0\x74.\xbf.{4}\xe8.{4})?"
    + rb"\xc6\x05.{4}\x01\x5d)\xc3"
    + _PAD
    + rb"\xc3"
    + _PAD  # __do_global_dtors_aux
    + _MARK
    + rb"(?:\xb8.{4}\x48\x85\xc0\x74.\x55(?P<more>\xbe.{4}\xbf.{4}\x48\x89\xe5\xe8.{4}\x5d)"
    + rb"\xe9.{4}"
    + _PAD
    + rb")?(?:\xe9.{4}|\xeb.)",  # frame_dummy
    re.DOTALL,
)
_LARGEST_HOLE = 4096
_JUMPS = re.compile(rb"(?:" + _MARK + rb"\xf2?\xff\x25.{4}" + _PAD + rb")+", re.DOTALL)
_JUMP_SECTIONS = (".plt", ".iplt", ".plt.sec", ".plt.got")
_JUMPS_LIMIT = 1 << 16
DT_NEEDED = 1
_LONGEST = 64
_PLACES = ((".init", 12), (".fini", 13))
"""Sections, and the tags by which the dynamic linker finds them: DT_INIT, DT_FINI."""


def start_rows(image: ElfImage, base: int) -> list[Rows]:
    """The rows of `_init`, `_fini` and jumps, each with a NONE at its end; pcs are from `base`."""
    found: list[Rows] = []
    if image.machine != EM_X86_64:
        return found
    for jumps in filter(None, map(image.section, _JUMP_SECTIONS)):
        code = _code_at(image, jumps.addr, min(jumps.size, _JUMPS_LIMIT))
        pc = jumps.addr - base
        if len(code) == jumps.size and _JUMPS.fullmatch(code) and 0 <= pc < 1 << 31:
            rows = np.zeros(2, ROW)
            rows["pc"] = pc, pc + len(code)
            rows["kind"][0], rows["off"][0] = Kind.RSP, 1
            found.append(rows)
    told = dynamic_entries(image) or {}
    for name, tag in _PLACES:
        section = image.section(name)
        address = told.get(tag, section.addr if section is not None else 0)
        match = _BODY.match(_code_at(image, address, _LONGEST))
        pc = address - base
        if match is None or not 0 <= pc < 1 << 31:
            continue
        rows = np.zeros(4, ROW)
        rows["pc"] = pc, pc + match.start("body"), pc + match.start("ret"), pc + match.end()
        rows["kind"][:3] = Kind.RSP
        rows["off"][:3] = 1, 2, 1
        found.append(rows)
    return found


def begin_rows(image: ElfImage, base: int, first: Ints, last: Ints) -> list[Rows]:
    """The rows of what GCC's start files have, in the holes between ranges with rules."""
    found: list[Rows] = []
    if image.machine != EM_X86_64:
        return found
    for load in image.loads:
        inside = (first >= load.vaddr) & (last <= load.vaddr + load.filesz)
        starts = np.append(load.vaddr, last[inside])
        stops = np.append(first[inside], load.vaddr + load.filesz)
        size = stops - starts
        fits = (size > _LONGEST) & (size <= _LARGEST_HOLE)
        for hole, length in zip(starts[fits].tolist(), size[fits].tolist(), strict=True):
            match = BEGIN.search(_code_at(image, hole, length))
            if match is not None and 0 <= hole - base < 1 << 31:
                found.append(_rows_of(match, hole - base))
                return found
    return found


def _rows_of(match: re.Match[bytes], pc: int) -> Rows:
    pushed = [match.span(name) for name in ("body", "more") if match[name] is not None]
    rows = np.zeros(2 + 2 * len(pushed), ROW)
    rows["pc"] = [pc + at for at in (match.start(), *itertools.chain(*pushed), match.end())]
    rows["kind"][:-1], rows["off"][:-1] = Kind.RSP, 1
    rows["off"][1:-1:2], rows["rbp"][1:-1:2] = 2, -2
    return rows


def dynamic_entries(image: ElfImage) -> dict[int, int] | None:
    """What the dynamic linker is told, by tag (the last of equal ones); None: it can't be read."""
    segment = image.segment(PT_DYNAMIC)
    if segment is None:
        return {}
    try:
        data = image.read(segment.offset, min(segment.filesz, 1 << 16) & -16)
    except ElfError:
        return None
    return dict(np.frombuffer(data, "<i8").reshape(-1, 2).tolist())


def _code_at(image: ElfImage, address: int, size: int) -> bytes:
    for load in image.loads:
        if load.vaddr <= address < load.vaddr + load.filesz:
            offset = address - load.vaddr
            try:
                return image.read(load.offset + offset, min(size, load.filesz - offset))
            except ElfError:
                return b""
    return b""
