"""Stacks as a tree: what calls what, and what each path adds up to.

Comes in: stacks of keys (functions, or finer), values by stack. Goes out: nodes, level by level, in
arrays; sums below each node; the order in which a page or a table lists them. A node is a path of
keys; recursion makes a longer path. Work is by level, never by stack.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from stacks_tui.export.model import Stacks

I32 = npt.NDArray[np.int32]
I64 = npt.NDArray[np.int64]
F64 = npt.NDArray[np.float64]

CUT = -1
"""Key of a node that stands for several; the first among its siblings."""


@dataclass(frozen=True, slots=True)
class Paths:
    """Stacks as keys. Stack `s` is `keys[offsets[s]:offsets[s + 1]]`, leaf first."""

    keys: I32
    """[sum of depths] each 0 or more."""
    offsets: I64
    """[stacks + 1]"""


@dataclass(frozen=True, slots=True)
class Tree:
    """Nodes in columns, level by level; in each level sorted by parent, then by key."""

    parent: I64
    """[nodes] index of the node before it on its path, which is smaller; -1: it is a top node."""
    key: I32
    """[nodes]"""
    levels: I64
    """[depth + 1] index of the first node of each level, and the number of nodes."""
    last: I64
    """[stacks] the node at which each stack ends, or was cut; -1: it is empty."""
    share: F64
    """[nodes] of the whole; empty where none was asked for."""

    def __len__(self) -> int:
        """Number of nodes."""
        return len(self.key)

    def depth(self) -> I64:
        """[nodes] the level of each: 0 for top nodes."""
        return np.repeat(np.arange(len(self.levels) - 1), np.diff(self.levels))

    def own(self, values: I64) -> I64:
        """[nodes, columns] sums of `values` [stacks, columns] of the stacks that end there."""
        sums = np.zeros((len(self), values.shape[1]), np.int64)
        there = self.last >= 0
        for column in range(values.shape[1]):
            np.add.at(sums[:, column], self.last[there], values[there, column])
        return sums

    def sums(self, own: I64) -> I64:
        """[nodes, columns] of `own` [nodes, columns]: the node and all that is below it."""
        total = own.copy()
        for begin, end in zip(self.levels[1:-1][::-1], self.levels[2:][::-1], strict=True):
            parents, first = np.unique(self.parent[begin:end], return_index=True)
            total[parents] += np.add.reduceat(total[begin:end], first, axis=0)
        return total

    def preorder(self) -> I64:
        """[nodes] the place of each node where children follow their parent, in order."""
        sizes = self.sums(np.ones((len(self), 1), np.int64))[:, 0]
        place = np.zeros(len(self), np.int64)
        for begin, end in zip(self.levels[:-1], self.levels[1:], strict=True):
            before = np.cumsum(sizes[begin:end]) - sizes[begin:end]
            parents = self.parent[begin:end]
            _, first, which = np.unique(parents, return_index=True, return_inverse=True)
            place[begin:end] = before - before[first][which]
            place[begin:end] += np.where(parents < 0, 0, place[parents] + 1)
        return place


def paths_of(stacks: Stacks, keys: Sequence[Sequence[int]]) -> Paths:
    """The stacks with each location replaced by its keys (its lines: innermost first)."""
    lengths = np.array([len(one) for one in keys] or [0], np.int64)
    begins = np.cumsum(lengths) - lengths
    flat = np.array([key for one in keys for key in one], np.int32)
    if len(flat) == len(keys):  # nothing inlined: half the memory
        return Paths(flat[stacks.places], stacks.offsets)
    many = lengths[stacks.places]
    ends = np.concatenate([np.zeros(1, np.int64), np.cumsum(many)])
    # place p's keys lie at begins[p] and following
    at = np.arange(ends[-1]) + np.repeat(begins[stacks.places] - ends[:-1], many)
    return Paths(flat[at], ends[stacks.offsets])


def grow(
    paths: Paths, *, from_leaf: bool = False, shares: F64 | None = None, least: float = 0.0
) -> Tree:
    """The tree of these paths, from the outermost frame on, or from the leaf to its callers.

    Args:
        paths: the stacks.
        from_leaf: from the leaf on.
        shares: [stacks, columns] of each stack in the whole. A node's share is its largest.
        least: a node with a smaller share has nothing below it: its stacks are cut there.
    """
    begins, ends = paths.offsets[:-1], paths.offsets[1:]
    depth = ends - begins
    width = int(paths.keys.max(initial=0)) + 1
    last = np.full(len(depth), -1, np.int64)
    parents: list[I64] = []
    keys: list[I64] = []
    levels = [0]
    share: list[F64] = []
    active = np.flatnonzero(depth > 0)
    while len(active):
        level = len(levels) - 1
        at = begins[active] + level if from_leaf else ends[active] - 1 - level
        mixed = (last[active] + 1) * width + paths.keys[at]
        distinct, which = np.unique(mixed, return_inverse=True)
        before, key = np.divmod(distinct, width)
        parents.append(before - 1)
        keys.append(key)
        which = which.reshape(len(active))
        last[active] = levels[-1] + which
        levels.append(levels[-1] + len(distinct))
        further = depth[active] > level + 1
        if shares is not None:
            sums = [np.bincount(which, column[active], len(distinct)) for column in shares.T]
            share.append(np.max(sums, axis=0))
            further &= share[-1][which] >= least
        active = active[further]
    none = np.zeros(0, np.int64)
    return Tree(
        np.concatenate([none, *parents]),
        np.concatenate([none, *keys]).astype(np.int32),
        np.array(levels, np.int64),
        last,
        np.concatenate([np.zeros(0), *share]),
    )


def pruned(tree: Tree, own: I64, kept: npt.NDArray[np.bool_]) -> tuple[Tree, I64]:
    """The tree of these nodes alone, and what ends at each; no sum changes.

    Args:
        tree: of which.
        own: [nodes, columns] what ends at each node.
        kept: [nodes]; a node that is kept has a parent that is.

    Returns:
        A tree in which all that was cut off below a node is one node of the key `CUT`, and its
        `own`. Its `last` and `share` are empty.
    """
    cut = ~kept & ((tree.parent < 0) | kept[tree.parent])
    above, which = np.unique(tree.parent[cut], return_inverse=True)
    rest = np.zeros((len(above), own.shape[1]), np.int64)
    np.add.at(rest, which, tree.sums(own)[cut])
    stays = np.flatnonzero(kept)
    parent = np.concatenate([tree.parent[stays], above])
    number = np.cumsum(kept) - 1
    parent = np.where(parent < 0, -1, number[parent])
    key = np.concatenate([tree.key[stays], np.full(len(above), CUT, np.int32)])
    depths = tree.depth()
    depth = np.concatenate([depths[stays], np.where(above < 0, 0, depths[above] + 1)])
    order = np.lexsort((key, parent, depth))
    # nodes of a level come in the order of their parents, whose numbers have changed
    again = np.empty(len(order), np.int64)
    again[order] = np.arange(len(order))
    parent = np.where(parent[order] < 0, -1, again[parent[order]])
    levels = np.concatenate([[0], np.cumsum(np.bincount(depth))]).astype(np.int64)
    left = Tree(parent, key[order], levels, np.zeros(0, np.int64), np.zeros(0))
    return left, np.concatenate([own[stays], rest])[order]
