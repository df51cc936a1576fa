"""Unwind rows and mappings as the kernel reads them; types and codes only. Twin of bpf/unwind.h.

A row holds from its `pc` up to the next row's. It says where the caller's stack pointer was before
the call (the CFA), and where the caller's frame pointer was saved. On x86-64 the return address is
always at CFA - 8, but for RAREG.

A row's `pc` counts from the module's base: the lowest executable PT_LOAD's address, rounded down
to a page. So it fits 32 bits wherever the file was linked or prelinked to. A mapping's `bias` is
what to take from a live address to get there.
"""

from __future__ import annotations

from enum import IntEnum
from typing import Any

import numpy as np
import numpy.typing as npt

ROW = np.dtype([("pc", "<u4"), ("off", "<i2"), ("kind", "u1"), ("rbp", "i1")])
"""Unwind row, 8 bytes. `off` counts units of 8 bytes."""

MAPPING = np.dtype(
    [
        ("start", "<u8"),
        ("end", "<u8"),
        ("bias", "<u8"),
        ("first", "<u2"),
        ("count", "<u2"),
        ("chunk", "<u4"),
    ]
)
"""Executable range of a process, 32 bytes: its rows are rows[chunk][first : first + count]."""

ROWS_PER_CHUNK = 16384
"""Rows in one element of the kernel's array: a search takes 14 steps."""
MAPPINGS_PER_CHUNK = 1024
"""Mappings in one element, so the most that a process can have: a search takes 10 steps."""

Rows = npt.NDArray[Any]
"""One-dimensional, of dtype ROW, strictly ascending by pc, the first pc 0."""


class Kind(IntEnum):
    """How to get from a frame to its caller. `off` is in bytes below."""

    NONE = 0
    """No rule: walk by frame pointer (CFA = rbp + 16, rbp saved at CFA - 16)."""
    RSP = 1
    """CFA = rsp + off."""
    RBP = 2
    """CFA = rbp + off."""
    PLT = 3
    """CFA = rsp + off + 8 if (rip & 15) >= 11 else rsp + off; off is 8."""
    DRSP = 4
    """CFA = *(rsp + off)."""
    DRBP = 5
    """CFA = *(rbp + off)."""
    DRSP8 = 6
    """CFA = *(rsp + off) + 8."""
    DRBP8 = 7
    """CFA = *(rbp + off) + 8."""
    REG = 8
    """Innermost frame only. off is no length: register << 8 | n, CFA = register + 8 * n.

    The register by its DWARF number, 0 to 15.
    """
    SIGNAL = 9
    """The kernel's signal frame: rip, rsp, rbp at rsp + 168, 160, 120. Its rip is exact.

    off 1: the byte before a signal return, where only a return address is looked up that is the
    signal return's own; the instruction that is there has no rule.
    """
    STOP = 10
    """The outermost frame: the walk is complete."""
    BAD = 11
    """A rule that can't be told here: the walk ends, incomplete."""
    RAREG = 12
    """Innermost frame only. As REG, but CFA = rsp + 8 * n; the register has the return address."""
    ABSENT = 13
    """Rows that are not in the kernel, or not yet: the stack is copied and unwound later."""


RBP_SAME = 0
"""`rbp`: not saved, still the caller's."""
RBP_AT_RBP = 1
"""`rbp`: saved at *(rbp)."""
RBP_UNKNOWN = 127
"""`rbp`: saved where a row can't say, or lost. The walk goes on with no frame pointer: a later
frame that needs it (RBP, DRBP, DRBP8, NONE, `rbp` 1) ends the walk, incomplete."""
# Any n < 0: saved at CFA + 8 * n.

# aarch64: the same kinds, rsp = sp and rbp = x29. The return address is not at a fixed place, so
# the upper half of `kind` tells (kind & 15 is the Kind). No BPF program reads these rows yet.
RA_IN_LR = 0 << 4
"""aarch64: the return address is in x30 (innermost frame, or one that a signal interrupted)."""
RA_BESIDE_FP = 1 << 4
"""aarch64: x29 at CFA + 8 * rbp (x29 unchanged is impossible here), x30 in the word after it."""
RA_ALONE = 2 << 4
"""aarch64: x30 at CFA + 8 * rbp; x29 unchanged."""
RA_AT_BASE = 3 << 4
"""aarch64: x29 and x30 where the CFA's register points to: *(reg), *(reg + 8)."""
RA_ALONE_LOST = 4 << 4
"""aarch64: x30 at CFA + 8 * rbp; x29 is unknown from here on."""


def find_row(rows: Rows, pc: int) -> int:
    """The index of the row that holds for `pc` (from the base), as the kernel searches it."""
    return max(int(np.searchsorted(rows["pc"], pc, side="right")) - 1, 0)
