"""Which piece of JIT-compiled code an address belongs to, where later pieces take others' places.

Comes in: pieces of code in the order of their making. Goes out: the last one that holds an address.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt


@dataclass(frozen=True, slots=True)
class JitSymbol:
    """One piece of code with its name."""

    start: int
    size: int
    name: bytes
    lines: tuple[tuple[int, bytes, int], ...] = ()
    """(address, file, line) from there on, ascending; empty: not told."""


class JitCells:
    """The address space cut into cells, each with the last piece that covers it."""

    def __init__(self, pieces: Sequence[JitSymbol] = ()) -> None:
        self._pieces = tuple(pieces)
        starts = np.array([piece.start for piece in pieces], np.uint64)
        ends = np.array([piece.start + piece.size for piece in pieces], np.uint64)
        bounds = np.unique(np.concatenate((starts, ends)))
        owner = np.zeros(len(bounds), np.int64)
        low, high = np.searchsorted(bounds, starts), np.searchsorted(bounds, ends)
        number = np.arange(1, len(starts) + 1)
        # A piece covers its cells by two blocks of one power of two; blocks are handed down
        # from the largest size to the smallest, so this is n log n however pieces overlap.
        power = np.zeros(len(starts), np.int64)
        width = (high - low) >> 1
        while width.any():
            power += width > 0
            width >>= 1
        for level in range(int(power.max(initial=0)), -1, -1):
            block = 1 << level
            here = power == level
            if level < int(power.max(initial=0)):
                handed = owner.copy()
                np.maximum(handed[block:], owner[:-block], out=handed[block:])
                owner = handed
            np.maximum.at(owner, low[here], number[here])
            np.maximum.at(owner, high[here] - block, number[here])
        self._bounds, self._owner = bounds, owner

    def find(self, addresses: npt.NDArray[np.uint64]) -> list[JitSymbol | None]:
        """The piece that holds each address, None: there is none."""
        if not len(self._bounds):
            return [None] * len(addresses)
        cells = np.searchsorted(self._bounds, addresses, "right") - 1
        owners = np.where(cells >= 0, self._owner[cells], 0)
        return [self._pieces[owner - 1] if owner else None for owner in owners.tolist()]
