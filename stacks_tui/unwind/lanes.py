"""The instructions of many FDEs run at once: one lane each, one NumPy step an opcode of every lane.

Comes in: where each FDE's instructions are. Goes out: table lines as one array. Lanes with seldom
opcodes, or with very many, are finished one by one by `cfi.interpret`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from stacks_tui.unwind.cfi import (
    BAD,
    EXPRESSION,
    FAR,
    LOST,
    PADDING,
    SAME,
    Budget,
    Cie,
    Frames,
    Line,
    Machine,
    interpret,
)

Ints = npt.NDArray[np.int64]
Bytes = npt.NDArray[np.uint8]

LOCATION, CFA, OFFSET, FP, RA, LANE = range(6)
"""Columns of a line; LANE is the FDE's index."""

LANES_AT_ONCE = 1 << 17
"""Bounds the memory of a step: about 200 bytes a lane."""
_STEPS = 96
_FEW = 64
"""With fewer lanes than this alive, one by one is faster."""
_DEPTH = 4
"""States that a lane remembers; deeper ones go on one by one."""
_LINES_LIMIT = 1 << 24
"""Lines of one file at most; what is over is left out as BAD."""

(
    _NOP,
    _ADVANCE,
    _OFFSET,
    _RESTORE,
    _CFA_OFFSET,
    _REMEMBER,
    _RESTORE_STATE,
    _ADVANCE1,
    _ADVANCE2,
    _DEF_CFA,
    _CFA_REGISTER,
    _ARGS_SIZE,
) = range(12)
_SELDOM = 255


@dataclass(frozen=True, slots=True)
class Entries:
    """FDEs: instructions at [at, end) of the section, first address, index of the CIE."""

    at: Ints
    end: Ints
    start: Ints
    cie: Ints

    def part(self, which: slice) -> Entries:
        """Some of them."""
        return Entries(self.at[which], self.end[which], self.start[which], self.cie[which])


def run(
    frames: Frames, entries: Entries, cies: list[Cie], machine: Machine, budget: Budget
) -> tuple[Ints, int]:
    """The lines of all FDEs, shape (lines, 6), and how many FDEs went one by one.

    The lines of one FDE are in order of their making: of two at one location the later holds.
    """
    classes = _classes(machine)
    data = np.frombuffer(frames.data, np.uint8)
    parts: list[Ints] = []
    one_by_one = lines = 0
    for first in range(0, len(entries.at), LANES_AT_ONCE):
        if lines > _LINES_LIMIT:
            rest = np.zeros((len(entries.at) - first, 6), np.int64)
            rest[:, LOCATION] = entries.start[first:]
            rest[:, CFA:LANE] = BAD, 0, SAME, SAME
            rest[:, LANE] = np.arange(first, len(entries.at))
            parts.append(rest)
            break
        some = entries.part(slice(first, first + LANES_AT_ONCE))
        lanes = _Lanes(frames, data, some, cies, machine, classes)
        found, slow = lanes.run(budget)
        found[:, LANE] += first
        parts.append(found)
        one_by_one += slow
        lines += len(found)
    return np.concatenate(parts) if parts else np.zeros((0, 6), np.int64), one_by_one


class _Lanes:
    def __init__(
        self,
        frames: Frames,
        data: Bytes,
        entries: Entries,
        cies: list[Cie],
        machine: Machine,
        classes: Bytes,
    ) -> None:
        count = len(entries.at)
        self._frames, self._data, self._machine, self._classes = frames, data, machine, classes
        self._cies, self._cie = cies, entries.cie
        self._at, self._end = entries.at.copy(), entries.end
        self._code_factor = np.array([c.code_factor for c in cies], np.int64)[entries.cie]
        self._data_factor = np.array([c.data_factor for c in cies], np.int64)[entries.cie]
        initial = np.array([c.state for c in cies], np.int64).reshape(-1, 4)[entries.cie]
        self._initial = initial
        self._line = np.empty((count, 6), np.int64)
        self._line[:, LOCATION] = entries.start
        self._line[:, CFA:LANE] = initial
        self._line[:, LANE] = np.arange(count)
        self._depth = np.zeros(count, np.int64)
        self._remembered = np.empty((_DEPTH, count, 4), np.int64)
        self._out: list[Ints] = []

    def run(self, budget: Budget) -> tuple[Ints, int]:
        plain = self._line[:, CFA] < EXPRESSION
        live = np.nonzero(plain)[0]
        slow = [np.nonzero(~plain)[0]]
        lines = 0
        for _ in range(_STEPS):
            done = self._at[live] >= self._end[live]
            if done.any():
                self._finish(live[done])
                live = live[~done]
            lines += live.size
            if live.size < _FEW or lines > _LINES_LIMIT:
                break
            seldom = self._step(live)
            if seldom.any():
                slow.append(live[seldom])
                live = live[~seldom]
        slow.append(live)
        rest = np.concatenate(slow)
        self._one_by_one(rest, budget)
        return (np.concatenate(self._out) if self._out else np.zeros((0, 6), np.int64)), rest.size

    def _finish(self, lanes: Ints) -> None:
        lines = self._line[lanes]
        lines[self._at[lanes] > self._end[lanes], CFA:LANE] = BAD, 0, SAME, SAME
        self._out.append(lines)

    def _step(self, live: Ints) -> npt.NDArray[np.bool_]:
        """One opcode of each lane; which lanes have one that is not known here."""
        opcode = self._data[self._at[live]]
        kind = self._classes[opcode]
        order = np.argsort(kind, kind="stable")
        counts = np.bincount(kind, minlength=256)
        ends = np.cumsum(counts)
        seldom = np.zeros(live.size, np.bool_)
        for number in np.nonzero(counts)[0].tolist():
            first = ends[number - 1] if number else 0
            chosen = order[first : ends[number]]
            if number == _SELDOM:
                seldom[chosen] = True
                continue
            lanes = live[chosen]
            if number == _REMEMBER:
                keep = self._depth[lanes] < _DEPTH
            elif number == _RESTORE_STATE:
                keep = self._depth[lanes] > 0
            else:
                self._apply(number, lanes, opcode[chosen])
                continue
            seldom[chosen[~keep]] = True
            self._apply(number, lanes[keep], opcode[chosen[keep]])
        return seldom

    def _apply(self, number: int, lanes: Ints, opcode: Bytes) -> None:
        at = self._at[lanes] + 1
        line = self._line
        match number:
            case 1:  # _ADVANCE
                self._advance(lanes, (opcode & 0x3F).astype(np.int64))
            case 2:  # _OFFSET
                value, at = self._uleb(at)
                register = opcode & 0x3F
                for column, wanted in (
                    (FP, self._machine.frame_pointer),
                    (RA, self._machine.return_address),
                ):
                    which = register == wanted
                    if which.any():
                        chosen = lanes[which]
                        offset = value[which] * self._data_factor[chosen]
                        line[chosen, column] = np.where(np.abs(offset) < FAR, offset, LOST)
            case 3:  # _RESTORE
                register = opcode & 0x3F
                for column, wanted in (
                    (FP, self._machine.frame_pointer),
                    (RA, self._machine.return_address),
                ):
                    chosen = lanes[register == wanted]
                    line[chosen, column] = self._initial[chosen, column - CFA]
            case 4:  # _CFA_OFFSET
                line[lanes, OFFSET], at = self._offset(at)
            case 5:  # _REMEMBER
                depth = self._depth[lanes]
                self._remembered[depth, lanes] = line[lanes, CFA:LANE]
                self._depth[lanes] = depth + 1
            case 6:  # _RESTORE_STATE
                depth = self._depth[lanes] - 1
                line[lanes, CFA:LANE] = self._remembered[depth, lanes]
                self._depth[lanes] = depth
            case 7:  # _ADVANCE1
                self._advance(lanes, self._data[at].astype(np.int64))
                at += 1
            case 8:  # _ADVANCE2
                self._advance(lanes, self._data[at] | self._data[at + 1].astype(np.int64) << 8)
                at += 2
            case 9:  # _DEF_CFA
                register, at = self._uleb(at)
                line[lanes, CFA] = np.where(register < EXPRESSION, register, BAD)
                line[lanes, OFFSET], at = self._offset(at)
            case 10:  # _CFA_REGISTER
                register, at = self._uleb(at)
                line[lanes, CFA] = np.where(register < EXPRESSION, register, BAD)
            case 11:  # _ARGS_SIZE
                _, at = self._uleb(at)
        self._at[lanes] = at

    def _advance(self, lanes: Ints, units: Ints) -> None:
        self._out.append(self._line[lanes])
        self._line[lanes, LOCATION] += units * self._code_factor[lanes]

    def _uleb(self, at: Ints) -> tuple[Ints, Ints]:
        """Values and where they end. A value of more than 35 bits becomes a large one."""
        data = self._data
        value = data[at].astype(np.int64)
        end = at + 1
        more = np.nonzero(value >= 128)[0]
        if more.size:
            value[more] &= 127
            for shift in range(7, 70, 7):
                byte = data[end[more]].astype(np.int64)
                end[more] += 1
                if shift <= 28:
                    value[more] |= (byte & 127) << shift
                else:
                    value[more[byte & 127 != 0]] = 1 << 36
                more = more[byte >= 128]
                if not more.size:
                    break
            end[more] = len(data) - PADDING // 2  # endless: beyond any FDE, and safe to read at
        return value, end

    def _offset(self, at: Ints) -> tuple[Ints, Ints]:
        value, at = self._uleb(at)
        return np.minimum(value, FAR), at

    def _one_by_one(self, lanes: Ints, budget: Budget) -> None:
        frames, lines = self._frames, self._line[lanes].tolist()
        cies, ends, starts = self._cie[lanes].tolist(), self._end[lanes].tolist(), self._at[lanes]
        found: list[Line] = []
        counts: list[int] = []
        for lane, line, cie, end, at in zip(
            lanes.tolist(), lines, cies, ends, starts.tolist(), strict=True
        ):
            remembered: list[Any] = [
                tuple(state) for state in self._remembered[: self._depth[lane], lane].tolist()
            ]
            before = len(found)
            location, *state = line[:LANE]
            interpret(
                frames,
                at,
                end,
                location,
                self._cies[cie],
                self._machine,
                (state[0], state[1], state[2], state[3]),
                remembered,
                found,
                budget,
            )
            counts.append(len(found) - before)
        if found:
            out = np.empty((len(found), 6), np.int64)
            out[:, :LANE] = found
            out[:, LANE] = np.repeat(lanes, counts)
            self._out.append(out)


def _classes(machine: Machine) -> Bytes:
    classes = np.full(256, _SELDOM, np.uint8)
    classes[0x40:0x80] = _ADVANCE
    classes[0x80:0xC0] = _OFFSET
    classes[0xC0:] = _RESTORE
    classes[0x00] = _NOP
    classes[0x02] = _ADVANCE1
    classes[0x03] = _ADVANCE2
    classes[0x0A] = _REMEMBER
    classes[0x0B] = _RESTORE_STATE
    classes[0x0C] = _DEF_CFA
    classes[0x0D] = _CFA_REGISTER
    classes[0x0E] = _CFA_OFFSET
    classes[0x2E] = _ARGS_SIZE
    classes[sorted(machine.no_operand)] = _NOP
    return classes
