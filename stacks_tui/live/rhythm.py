"""Sums by second and kind: the header's gauges and the timeline, in bounded memory.

Comes in: the sums of each second that is over. Goes out: strips over the whole time, whose steps
grow as it does, and single seconds of the last minute.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from stacks_tui.kinds import Kind
from stacks_tui.live.measures import kind_unit, kind_value
from stacks_tui.live.snapshot import Gap, Gauge, Strip, Timeline

Ints = npt.NDArray[np.int64]

MOST_STEPS = 1800
MINUTE = 60
KINDS = 32
"""Codes of kinds stay below this; `Kind` is checked against it on import."""
if max(Kind) >= KINDS:
    raise AssertionError("a kind's code is beyond the table")


class Rhythm:
    """Filled by one thread."""

    def __init__(self) -> None:
        self.first = 0
        """The first second; 0: none yet."""
        self.step_s = 1
        self._steps = np.zeros((3, KINDS, 64), np.int64)
        self._used = 0
        self._seconds: dict[int, Ints] = {}

    def add(
        self, second: int, kinds: npt.NDArray[np.uint8], values: tuple[Ints, Ints, Ints]
    ) -> None:
        """Sums of a second, by cell: events, ns, amounts."""
        sums = np.zeros((3, KINDS), np.int64)
        for row, column in zip(sums, values, strict=True):
            np.add.at(row, kinds, column)
        if not self.first:
            self.first = second
        if second < self.first:
            second = self.first  # told late, of before the first: it belongs to the first
        at = (second - self.first) // self.step_s
        while at >= MOST_STEPS:
            self._halve()
            at = (second - self.first) // self.step_s
        if at >= self._steps.shape[2]:
            bigger = np.zeros((3, KINDS, max(2 * self._steps.shape[2], at + 1)), np.int64)
            bigger[:, :, : self._steps.shape[2]] = self._steps
            self._steps = bigger
        self._steps[:, :, at] += sums
        self._used = max(self._used, at + 1)
        self._seconds[second] = self._seconds.get(second, np.zeros_like(sums)) + sums
        newest = max(self._seconds)
        for old in [one for one in self._seconds if one < newest - 2 * MINUTE]:
            del self._seconds[old]

    def timeline(self, gaps: tuple[Gap, ...] = ()) -> Timeline:
        """The strips of all kinds that had events."""
        steps = self._steps[:, :, : self._used]
        return Timeline(self.first * 10**9, self.step_s, tuple(strips(steps)), gaps)

    def seconds(self, end: int, number: int) -> Ints:
        """(events, ns, amounts) × kind × second: the `number` seconds before `end`."""
        none = np.zeros((3, KINDS), np.int64)
        found = [self._seconds.get(one, none) for one in range(end - number, end)]
        return np.stack(found, axis=2) if found else np.zeros((3, KINDS, 0), np.int64)

    def _halve(self) -> None:
        used = self._steps[:, :, : self._used + self._used % 2]
        half = used.reshape(3, KINDS, -1, 2).sum(axis=3)
        self._steps = np.zeros((3, KINDS, MOST_STEPS), np.int64)
        self._steps[:, :, : half.shape[2]] = half
        self._used = half.shape[2]
        self.step_s *= 2


def strips(steps: Ints) -> list[Strip]:
    """The strips of (events, ns, amounts) × kind × step; a wait's values are blocked time."""
    found = []
    for kind in Kind:
        counts, durations, amounts = (column.tolist() for column in steps[:, kind])
        if any(counts):
            values = tuple(
                kind_value(kind, ns, amount) for ns, amount in zip(durations, amounts, strict=True)
            )
            found.append(Strip(kind.label, kind_unit(kind), values, tuple(counts)))
    return found


def gauges(
    past: Ints, step_s: float, resident: tuple[float, ...], kinds: frozenset[Kind], whole: bool
) -> tuple[Gauge, ...]:
    """The header's numbers.

    Args:
        past: (events, ns, amounts) × kind × step.
        step_s: how long a step is.
        resident: bytes by step; the last is now.
        kinds: those that are measured.
        whole: values are of all steps (resident bytes: the most), else of the last.
    """
    cpu = Kind.PROFILE if Kind.PROFILE in kinds else Kind.SWITCH

    def gauge(name: str, values: Ints, unit: float, needs: tuple[Kind, ...]) -> Gauge:
        rates = values / unit / step_s if step_s else values * 0.0
        shown = rates.mean() if whole and len(rates) else rates[-1] if len(rates) else 0.0
        measured = any(kind in kinds for kind in needs)
        return Gauge(name, float(shown), tuple(rates.tolist()), measured)

    ns, amounts = past[1], past[2]
    byte = {
        "read": (Kind.VFS_READ,),
        "write": (Kind.VFS_WRITE,),
        "received": (Kind.TCP_RECV, Kind.UDP_RECV),
        "sent": (Kind.TCP_SEND, Kind.UDP_SEND),
    }
    blocked = np.maximum(ns[Kind.WAIT] - amounts[Kind.WAIT], 0)
    now = resident[-1] if resident else 0.0
    return (
        gauge("cpu", ns[cpu], 1e9, (cpu,)),
        gauge("blocked", blocked, 1e9, (Kind.WAIT,)),
        gauge("runnable", amounts[Kind.WAIT], 1e9, (Kind.WAIT,)),
        Gauge("rss", max(resident) if whole and resident else now, resident, Kind.RSS in kinds),
        *(gauge(name, amounts[list(of)].sum(axis=0), 1.0, of) for name, of in byte.items()),
    )
