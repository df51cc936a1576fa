"""From the kernel's monotonic clock to the time of day.

Comes in: ns of CLOCK_MONOTONIC, the clock of every event. Goes out: ns since the Unix epoch.
"""

from __future__ import annotations

import time
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

_PAIRS = 16


@dataclass(frozen=True, slots=True)
class Clock:
    """The distance of both clocks at one moment; later steps of the time of day don't move it."""

    offset_ns: int
    """CLOCK_REALTIME - CLOCK_MONOTONIC."""
    error_ns: int
    """The true distance is within this of `offset_ns`."""

    def to_epoch(self, monotonic_ns: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
        """ns since the Unix epoch, a new u64 array of the same shape."""
        return np.add(monotonic_ns, np.uint64(self.offset_ns), dtype=np.uint64)

    def to_epoch_ns(self, monotonic_ns: int) -> int:
        """One time: ns since the Unix epoch."""
        return monotonic_ns + self.offset_ns


def read_clock() -> Clock:
    """Read both clocks, one between two readings of the other; the tightest of several counts."""
    best = Clock(0, 1 << 62)
    for _ in range(_PAIRS):
        before = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
        real = time.clock_gettime_ns(time.CLOCK_REALTIME)
        after = time.clock_gettime_ns(time.CLOCK_MONOTONIC)
        half = (after - before + 1) // 2
        if half < best.error_ns:
            best = Clock(real - before - half, half)
    return best
