"""Table lines → rows: what a machine's states look like in 8 bytes.

Comes in: lines as `lanes.run` makes them, with their FDEs' ranges. Goes out: rows in the order of
the lines, their pc relative to the module's base. What can't be told in a row is BAD, or a frame
pointer that is unknown: never a guess.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from stacks_tui.unwind.cfi import (
    AARCH64,
    AT_FP,
    BAD,
    EXPRESSION,
    FAR,
    IN_REGISTER,
    PLT_AT,
    SAME,
    UNDEFINED,
    X86_64,
    Machine,
)
from stacks_tui.unwind.lanes import CFA, FP, LOCATION, OFFSET, RA, Ints
from stacks_tui.unwind.rows import (
    RA_ALONE,
    RA_ALONE_LOST,
    RA_AT_BASE,
    RA_BESIDE_FP,
    RA_IN_LR,
    RBP_AT_RBP,
    RBP_SAME,
    RBP_UNKNOWN,
    ROW,
    Kind,
    Rows,
)

Mask = npt.NDArray[np.bool_]

PLT_ENTRY = 16
_X86_REGISTERS = 16
_SIGNAL_RSP = 160
"""Where the kernel's signal frame keeps rsp, from rsp: tells its rules from others' with an S."""


def pack(lines: Ints, pc: Ints, signal: Mask, machine: Machine) -> Rows:
    """One row a line. `pc`: from the base, u32; `signal`: lines of a CIE with augmentation S.

    Lines of PLT_AT kinds become BAD: expand them first.
    """
    kind, off, rbp = (_x86_64 if machine.name == X86_64.name else _aarch64)(lines, signal)
    rows = np.zeros(len(lines), ROW)
    ends = (kind == Kind.STOP) | (kind == Kind.BAD) | (kind == Kind.SIGNAL)
    rows["pc"] = pc
    rows["kind"] = kind
    rows["off"] = np.where(ends, 0, off)
    rows["rbp"] = np.where(ends, 0, rbp)
    return rows


def expand_plt(lines: Ints, stop: Ints) -> tuple[Ints, npt.NDArray[np.intp]]:
    """Lines of PLT_AT kinds as two lines an entry of 16 bytes, up to `stop` (one per line).

    Returns the lines and, for each, the index of the line that it comes from.
    """
    threshold = (lines[:, CFA] & 63) - PLT_AT
    which = np.nonzero((lines[:, CFA] >= EXPRESSION) & (threshold > 0))[0]
    if not which.size:
        return lines, np.arange(len(lines))
    parts: list[npt.NDArray[Any]] = []
    source: list[npt.NDArray[np.intp]] = []
    last = 0
    for index in which.tolist():
        parts.append(lines[last:index])
        source.append(np.arange(last, index))
        begin, end = int(lines[index, LOCATION]), int(stop[index])
        if index + 1 < len(lines) and lines[index + 1, -1] == lines[index, -1]:
            end = min(end, int(lines[index + 1, LOCATION]))
        limit = int(threshold[index])
        entries = np.arange(begin & -PLT_ENTRY, end, PLT_ENTRY, dtype=np.int64)
        made = np.repeat(lines[index : index + 1], 2 * len(entries), axis=0)
        made[0::2, LOCATION] = np.maximum(entries, begin)
        made[1::2, LOCATION] = np.maximum(entries + limit, begin)
        made[:, CFA] = 7
        made[0::2, OFFSET] = 8
        made[1::2, OFFSET] = 16
        parts.append(made)
        source.append(np.full(len(made), index))
        last = index + 1
    parts.append(lines[last:])
    source.append(np.arange(last, len(lines)))
    return np.concatenate(parts), np.concatenate(source)


def _x86_64(lines: Ints, signal: Mask) -> tuple[Ints, Ints, Ints]:
    cfa, offset, fp, ra = lines[:, CFA], lines[:, OFFSET], lines[:, FP], lines[:, RA]
    by_expression = cfa >= EXPRESSION
    kind = np.where(by_expression, cfa & 63, int(Kind.REG))
    offset = np.where(by_expression, (cfa >> 8) - FAR, offset)
    ours = by_expression & (kind == Kind.DRSP) & (offset == _SIGNAL_RSP)
    kind[cfa == 7] = Kind.RSP
    kind[cfa == 6] = Kind.RBP
    off = offset >> 3
    unfit = (offset & 7 != 0) | (off < -32768) | (off > 32767)
    in_register = (ra >= IN_REGISTER) & (ra < IN_REGISTER + _X86_REGISTERS)
    kind[in_register & (kind == Kind.RSP)] = Kind.RAREG
    short = (kind == Kind.REG) | (kind == Kind.RAREG)
    unfit |= short & ((off < 0) | (off > 255))
    unfit |= (kind == Kind.REG) & (cfa >= _X86_REGISTERS)
    register = np.where(kind == Kind.RAREG, ra - IN_REGISTER, cfa)
    off = np.where(short, (register & 15) << 8 | off & 255, off)
    unfit |= (ra != -8) & (kind != Kind.RAREG)
    kind[unfit | (kind > Kind.RAREG)] = Kind.BAD
    kind[ra == UNDEFINED] = Kind.STOP
    kind[signal] = np.where(ours, int(Kind.SIGNAL), int(Kind.BAD))[signal]
    rbp = np.full(len(lines), RBP_UNKNOWN, np.int64)
    rbp[fp == SAME] = RBP_SAME
    rbp[fp == AT_FP] = RBP_AT_RBP
    near = (fp & 7 == 0) & (fp < 0) & (fp >= -1024)
    rbp[near] = fp[near] >> 3
    return kind, off, rbp


def _aarch64(lines: Ints, signal: Mask) -> tuple[Ints, Ints, Ints]:
    cfa, offset, fp, ra = lines[:, CFA], lines[:, OFFSET], lines[:, FP], lines[:, RA]
    on_sp, on_fp = cfa == AARCH64.stack_pointer, cfa == AARCH64.frame_pointer
    off = offset >> 3
    unfit = (cfa >= EXPRESSION) | (offset & 7 != 0) | (off < -32768) | (off > 32767)
    other = ~(on_sp | on_fp) & (cfa < EXPRESSION)
    unfit |= other & ((off < 0) | (off > 255) | (cfa > 30))
    off = np.where(other, (cfa & 31) << 8 | off & 255, off)

    def near(where: Ints) -> Mask:
        found: Mask = (where & 7 == 0) & (where < 0) & (where >= -1024)
        return found

    # x29 first; then how x30 stands to it
    rbp = np.full(len(lines), RBP_UNKNOWN, np.int64)
    rbp[fp == SAME] = RBP_SAME
    rbp[near(fp)] = fp[near(fp)] >> 3
    returns = np.full(len(lines), -1, np.int64)
    returns[ra == SAME] = RA_IN_LR
    alone = near(ra) & (fp == SAME)
    lost = near(ra) & (fp != SAME)
    returns[alone], returns[lost] = RA_ALONE, RA_ALONE_LOST
    rbp[alone | lost] = ra[alone | lost] >> 3
    beside = near(fp) & (ra == fp + 8)
    returns[beside], rbp[beside] = RA_BESIDE_FP, fp[beside] >> 3
    at_base = ~near(fp) & (fp == -offset) & (ra == fp + 8) & (on_sp | on_fp)
    returns[at_base], rbp[at_base] = RA_AT_BASE, 0
    unfit |= returns < 0
    kind = np.where(on_sp, int(Kind.RSP), np.where(on_fp, int(Kind.RBP), int(Kind.REG)))
    kind = np.where(unfit, int(Kind.BAD), kind | np.maximum(returns, 0))
    kind[ra == UNDEFINED] = Kind.STOP
    kind[signal] = Kind.SIGNAL
    kind[(cfa == BAD)] = Kind.BAD
    return kind, off, rbp
