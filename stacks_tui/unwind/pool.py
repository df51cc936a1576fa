"""Room in an array of chunks: extents that never cross a chunk, taken by best fit and given back.

Comes in: how many elements. Goes out: where they may lie. Neighbours that are free become one, so
what is free is as whole as the extents in use let it be.
"""

from __future__ import annotations

import bisect
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Extent:
    """`count` elements of a chunk, from `first`."""

    chunk: int
    first: int
    count: int


class Pool:
    """The free elements of `chunks` chunks of `chunk_size`, handed out in multiples of `grain`."""

    def __init__(self, chunks: int, chunk_size: int, grain: int) -> None:
        self.total = chunks * chunk_size
        self.used = 0
        self._chunk_size = chunk_size
        self._grain = grain
        self._firsts = [[0] for _ in range(chunks)]  # of free extents, ascending, by chunk
        self._counts = [{0: chunk_size} for _ in range(chunks)]  # first → count
        self._by_size = [(chunk_size, chunk, 0) for chunk in range(chunks)]

    def take(self, count: int) -> Extent | None:
        """The smallest free extent that holds `count`, cut to it; None: there is none."""
        size = self._rounded(count)
        at = bisect.bisect_left(self._by_size, (size, -1, -1))
        if at == len(self._by_size):
            return None
        have, chunk, first = self._by_size[at]
        self._forget(have, chunk, first)
        if have > size:
            self._add(have - size, chunk, first + size)
        self.used += size
        return Extent(chunk, first, count)

    def take_pieces(self, count: int, smallest: int) -> list[Extent] | None:
        """Extents that hold `count` together, none but the last under `smallest`; None: no room.

        As few as there can be: whole chunks first, then the largest that are free.
        """
        pieces: list[Extent] = []
        left = count
        while left:
            piece = self.take(min(left, self._chunk_size))
            if piece is None:
                largest = self._by_size[-1][0] if self._by_size else 0
                if largest < smallest:
                    for taken in pieces:
                        self.give(taken)
                    return None
                piece = self.take(largest)
                assert piece is not None
            pieces.append(piece)
            left -= piece.count
        return pieces

    def give(self, extent: Extent) -> None:
        """Make an extent free again."""
        size, chunk, first = self._rounded(extent.count), extent.chunk, extent.first
        self.used -= size
        firsts, counts = self._firsts[chunk], self._counts[chunk]
        at = bisect.bisect_left(firsts, first)
        if at < len(firsts) and firsts[at] == first + size:
            after = counts[firsts[at]]
            self._forget(after, chunk, first + size)
            size += after
        if at and firsts[at - 1] + counts[firsts[at - 1]] == first:
            first = firsts[at - 1]
            before = counts[first]
            self._forget(before, chunk, first)
            size += before
        self._add(size, chunk, first)

    def _rounded(self, count: int) -> int:
        return min(-(-count // self._grain) * self._grain, self._chunk_size)

    def _add(self, size: int, chunk: int, first: int) -> None:
        bisect.insort(self._firsts[chunk], first)
        self._counts[chunk][first] = size
        bisect.insort(self._by_size, (size, chunk, first))

    def _forget(self, size: int, chunk: int, first: int) -> None:
        firsts = self._firsts[chunk]
        firsts.pop(bisect.bisect_left(firsts, first))
        del self._counts[chunk][first]
        self._by_size.pop(bisect.bisect_left(self._by_size, (size, chunk, first)))
