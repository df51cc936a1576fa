"""Stacks as a tree: a node for each distinct path from the outermost frame.

Comes in: stacks, and which of them count. Goes out: arrays of nodes, made level by level, so that a
million stacks need no object each.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from stacks_tui.export.model import Stacks

I64 = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class FrameTree:
    """Nodes, callers before what they call."""

    place: I64
    """[nodes] index into `Stacks.locations`."""
    parent: I64
    """[nodes] the caller's node; -1: the outermost frame."""
    leaf: I64
    """[stacks + 1] the node of each stack's leaf; -1: the stack is empty, or does not count; at the
    end for -1, which stands for none."""


def frame_tree(stacks: Stacks, used: I64) -> FrameTree:
    """The tree of the stacks with these indices."""
    begins, ends = stacks.offsets[used], stacks.offsets[used + 1]
    length = ends - begins
    leaf = np.full(len(stacks) + 1, -1, np.int64)
    node = np.full(len(used), -1, np.int64)
    places: list[I64] = []
    parents: list[I64] = []
    made = 0
    for depth in range(int(length.max(initial=0))):
        deep = np.flatnonzero(length > depth)
        place = stacks.places[ends[deep] - 1 - depth].astype(np.int64)
        key = (node[deep] + 1) * len(stacks.locations) + place
        _, first, which = np.unique(key, return_index=True, return_inverse=True)
        places.append(place[first])
        parents.append(node[deep[first]])
        node[deep] = made + which.reshape(len(deep))
        made += len(first)
    leaf[used] = node
    none = [np.zeros(0, np.int64)]
    return FrameTree(np.concatenate(places or none), np.concatenate(parents or none), leaf)
