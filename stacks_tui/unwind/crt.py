"""Rules for `_init` and `_fini`, which libc's start files bring into every program without any.

Comes in: an ELF image. Goes out: rows, where the two are exactly the code that glibc's or musl's
start files have (sysdeps/x86_64/crti.S and crtn.S; crt/x86_64/crti.s and crtn.s). Without these the
first page of every library that is touched at its start is touched by code with no rule.
"""

from __future__ import annotations

import re

import numpy as np

from stacks_tui.elf import EM_X86_64, SHT_NOBITS, ElfError, ElfImage
from stacks_tui.unwind.rows import ROW, Kind, Rows

_BODY = re.compile(
    rb"(?:\xf3\x0f\x1e\xfa)?"  # endbr64
    rb"(?:\x48\x83\xec\x08|\x50)"  # sub $8, %rsp or push %rax
    rb"(?P<body>(?:\x48\x8b\x05.{4}\x48\x85\xc0\x74\x02\xff\xd0)?"  # call *__gmon_start__, if it is
    rb"(?:\xe8.{4}){0,4})"  # calls of what older compilers put there
    rb"(?:\x48\x83\xc4\x08|\x58)"  # add $8, %rsp or pop %rax
    rb"(?P<ret>\xc3)",
    re.DOTALL,
)
_LONGEST = 64


def start_rows(image: ElfImage, base: int) -> list[Rows]:
    """The rows of `_init` and of `_fini`, each with a NONE at its end; pcs count from `base`."""
    found: list[Rows] = []
    if image.machine != EM_X86_64:
        return found
    for name in (".init", ".fini"):
        section = image.section(name)
        if section is None or section.type == SHT_NOBITS or not 0 < section.size <= _LONGEST:
            continue
        try:
            code = image.content(section)
        except ElfError:
            continue
        match = _BODY.fullmatch(code)
        pc = section.addr - base
        if match is None or not 0 <= pc < 1 << 31:
            continue
        rows = np.zeros(4, ROW)
        rows["pc"] = pc, pc + match.start("body"), pc + match.start("ret"), pc + match.end()
        rows["kind"][:3] = Kind.RSP
        rows["off"][:3] = 1, 2, 1
        found.append(rows)
    return found
