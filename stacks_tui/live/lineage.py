"""In which spans each span lies, by name: what its costs count for, children included.

Comes in: spans in the order of their first enters. Goes out: for each the number of its chain, the
set of the names that it and those around it have. Programs nest in few ways, so costs are summed by
chain, whatever the number of spans; memory is bounded.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Keys = npt.NDArray[np.uint64]

MOST_KNOWN = 1 << 18
"""Spans, open or closed, in which others may still be entered (5 MB); beyond, the oldest half of
the closed ones is forgotten."""
MOST_CHAINS = 1 << 12
LOST = 0
"""The chain of what is nested in one way too many: it is in no set."""
_NOWHERE = 1
"""The empty set: around what lies in nothing."""


class Lineage:
    """Spans by a number that stands for process and id; the newest use of an id counts."""

    def __init__(self) -> None:
        self._ids: Keys = np.zeros(0, np.uint64)
        """Sorted."""
        self._chains = np.zeros(0, np.int32)
        self._ages = np.zeros(0, np.int64)
        self._age = 0
        self._sets: list[frozenset[int]] = [frozenset(), frozenset()]
        self._numbers: dict[frozenset[int], int] = {frozenset(): _NOWHERE}
        self._steps: dict[tuple[int, int], int] = {}
        """(chain, name): the chain of a span of that name in one of that chain."""

    def add(
        self, ids: Keys, parents: Keys, names: npt.NDArray[np.integer]
    ) -> npt.NDArray[np.int32]:
        """The chains of new spans, in the order of their first enters; a parent 0: none."""
        count = len(ids)
        above = _earlier(ids, parents)
        around = np.full(count, _NOWHERE, np.int32)
        outside = np.flatnonzero((above < 0) & (parents != 0))
        at, known = find(self._ids, parents[outside])
        around[outside[known]] = self._chains[at[known]]
        chains = np.full(count, -1, np.int32)
        rest = np.arange(count)
        while len(rest):  # a level of the nesting at a time
            inner = above[rest]
            ready = (inner < 0) | (chains[inner] >= 0)
            now, inner = rest[ready], inner[ready]
            within = np.where(inner < 0, around[now], chains[inner])
            chains[now] = self._entered(within, names[now])
            rest = rest[~ready]
        self._remember(ids, chains)
        return chains

    def forget(self, still_open: Keys) -> None:
        """Keep bounded what is known: of closed spans the newer ones."""
        if len(self._ids) <= MOST_KNOWN:
            return
        ages = np.where(np.isin(self._ids, still_open), self._age, self._ages)
        kept = np.sort(np.argsort(ages)[-MOST_KNOWN // 2 :])
        self._ids, self._chains, self._ages = self._ids[kept], self._chains[kept], ages[kept]

    def chains_of(self, ids: Keys) -> npt.NDArray[np.int32]:
        """The chain of each; LOST: it is not known any more."""
        at, known = find(self._ids, ids)
        found = np.full(len(ids), LOST, np.int32)
        found[known] = self._chains[at[known]]
        return found

    def members(self, chains: npt.NDArray[np.integer]) -> tuple[Ints, Ints]:
        """Places in these chains, and a name for each: every name of every chain."""
        names = [sorted(self._sets[chain]) for chain in chains.tolist()]
        places = np.repeat(np.arange(len(names)), [len(one) for one in names])
        return places, np.array([name for one in names for name in one], np.int64)

    def _remember(self, ids: Keys, chains: npt.NDArray[np.int32]) -> None:
        newest = len(ids) - 1 - np.unique(ids[::-1], return_index=True)[1]  # of one id the last
        ages = self._age + newest
        self._age += len(ids)
        ids, chains = ids[newest], chains[newest]
        at, known = find(self._ids, ids)
        self._chains[at[known]], self._ages[at[known]] = chains[known], ages[known]
        new = ~known
        self._ids = np.insert(self._ids, at[new], ids[new])
        self._chains = np.insert(self._chains, at[new], chains[new])
        self._ages = np.insert(self._ages, at[new], ages[new])

    def _entered(
        self, around: npt.NDArray[np.int32], names: npt.NDArray[np.integer]
    ) -> npt.NDArray[np.int32]:
        """The chains of spans with these names in spans of these chains."""
        pairs = (around.astype(np.int64) << 32) + (names.astype(np.int64) + _NAMES)
        different, places = np.unique(pairs, return_inverse=True)
        found = [
            self._step(pair >> 32, (pair & 0xFFFFFFFF) - _NAMES) for pair in different.tolist()
        ]
        return np.array(found, np.int32)[places]

    def _step(self, chain: int, name: int) -> int:
        known = self._steps.get((chain, name))
        if known is not None:
            return known
        names = self._sets[chain] | {name}
        number = LOST if chain == LOST else self._numbers.get(names)
        if number is None:
            number = LOST
            if len(self._sets) < MOST_CHAINS:
                number = self._numbers[names] = len(self._sets)
                self._sets.append(names)
        if len(self._steps) < 4 * MOST_CHAINS:
            self._steps[chain, name] = number
        return number


_NAMES = 1 << 16
"""Added to a name's number, which may be below 0."""


def find(table: Keys, keys: Keys) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.bool_]]:
    """Places in a sorted table, and whether the keys are there; else they belong before these."""
    at = np.searchsorted(table, keys)
    known = at < len(table)
    known[known] = table[at[known]] == keys[known]
    return at, known


def _earlier(ids: Keys, parents: Keys) -> Ints:
    """For each span the place of the newest one before it whose id is its parent's; -1: none."""
    count = len(ids)
    numbers = np.unique(np.concatenate([ids, parents]), return_inverse=True)[1]
    places = np.arange(count)
    mine = numbers[:count] * count + places
    order = np.argsort(mine)
    at = np.searchsorted(mine[order], numbers[count:] * count + places) - 1
    found = order[at]
    right = (at >= 0) & (numbers[found] == numbers[count:]) & (parents != 0)
    earlier: Ints = np.where(right, found, -1)
    return earlier
