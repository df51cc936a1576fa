"""Rules for `_init` and `_fini`, which libc's start files bring into every program without any.

Comes in: an ELF image. Goes out: rows, where the two are exactly the code that glibc's or musl's
start files have (sysdeps/x86_64/crti.S and crtn.S; crt/x86_64/crti.s and crtn.s). Without these the
first page of every library that is touched at its start is touched by code with no rule.
"""

from __future__ import annotations

import re

import numpy as np

from stacks_tui.elf import EM_X86_64, PT_DYNAMIC, ElfError, ElfImage
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
DT_NEEDED = 1
_LONGEST = 64
_PLACES = ((".init", 12), (".fini", 13))
"""Sections, and the tags by which the dynamic linker finds them: DT_INIT, DT_FINI."""


def start_rows(image: ElfImage, base: int) -> list[Rows]:
    """The rows of `_init` and of `_fini`, each with a NONE at its end; pcs count from `base`."""
    found: list[Rows] = []
    if image.machine != EM_X86_64:
        return found
    told = dynamic_entries(image) or {}
    for name, tag in _PLACES:
        section = image.section(name)
        address = told.get(tag, section.addr if section is not None else 0)
        match = _BODY.match(_code_at(image, address))
        pc = address - base
        if match is None or not 0 <= pc < 1 << 31:
            continue
        rows = np.zeros(4, ROW)
        rows["pc"] = pc, pc + match.start("body"), pc + match.start("ret"), pc + match.end()
        rows["kind"][:3] = Kind.RSP
        rows["off"][:3] = 1, 2, 1
        found.append(rows)
    return found


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


def _code_at(image: ElfImage, address: int) -> bytes:
    for load in image.loads:
        if load.vaddr <= address < load.vaddr + load.filesz:
            offset = address - load.vaddr
            try:
                return image.read(load.offset + offset, min(_LONGEST, load.filesz - offset))
            except ElfError:
                return b""
    return b""
