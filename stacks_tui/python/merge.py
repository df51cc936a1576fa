"""Where Python's frames belong among the native ones: by address, not by name.

Comes in: the native frames' stack pointers and the pairs of a record, leaf first. Goes out: the
order of both, with each evaluation loop's native frame replaced by the Python frames that ran in
it; or None where that is not certain. Each loop has left a mark in its own frame on the C stack, so
the mark lies between that frame's stack pointer and its caller's.
"""

from __future__ import annotations

import bisect
import itertools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

MARK = 1 << 40
"""PYTHON_MARK of bpf/python.h."""
_LOW = (1 << 32) - 1


@dataclass(frozen=True, slots=True)
class Place:
    """One frame of the merged stack."""

    python: bool
    index: int
    """Of the native frame, or of the pair."""


@dataclass(frozen=True, slots=True)
class Merged:
    """The whole stack, leaf first."""

    places: tuple[Place, ...]
    loops: frozenset[int]
    """Native frames that have a mark: those replaced, and loops in which no Python frame is."""


def merge(stack_pointers: Sequence[int], pairs: npt.NDArray[np.void]) -> Merged | None:
    """Merge `pairs` (dtype PYTHON_PAIR) into as many native frames as there are stack pointers.

    None: the frames were caught while they changed, or the native stack does not reach their loops.
    """
    codes, words = pairs["code"].tolist(), pairs["at"].tolist()
    if not stack_pointers:
        return None
    low = int(stack_pointers[0])
    heights = [(int(pointer) - low) & _LOW for pointer in stack_pointers]
    if any(one > other for one, other in itertools.pairwise(heights)):
        return None  # a signal's own stack, or another switch of stacks
    groups: dict[int, list[int]] = {}
    group: list[int] = []
    last = -1
    for index, (code, word) in enumerate(zip(codes, words, strict=True)):
        if code or not word & MARK:
            group.append(index)
            continue
        place = bisect.bisect_right(heights, (word - low) & _LOW) - 1
        # The outermost frame is a start; where the stack is incomplete, of unknown extent.
        if place <= last or place >= len(heights) - 1:
            return None
        groups[place] = group
        group, last = [], place
    if group or not groups:
        return None
    places: list[Place] = []
    for native in range(len(heights)):
        inside = groups.get(native)
        if inside:
            places += [Place(True, index) for index in inside]
        else:
            places.append(Place(False, native))
    return Merged(tuple(places), frozenset(groups))
