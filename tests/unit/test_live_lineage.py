"""Chains of names: what a span's costs count for, children included."""

from __future__ import annotations

import numpy as np
import pytest

from stacks_tui.live import lineage as module
from stacks_tui.live.lineage import LOST, Lineage


def sets(lineage: Lineage, chains: np.ndarray[tuple[int], np.dtype[np.int32]]) -> list[set[int]]:
    places, names = lineage.members(chains)
    return [set(names[places == at].tolist()) for at in range(len(chains))]


def add(lineage: Lineage, *spans: tuple[int, int, int]) -> list[set[int]]:
    ids, parents, names = (np.array(one) for one in zip(*spans, strict=True))
    chains = lineage.add(ids.astype(np.uint64), parents.astype(np.uint64), names)
    return sets(lineage, chains)


def test_a_span_counts_for_each_name_around_it_once() -> None:
    lineage = Lineage()
    assert add(lineage, (1, 0, 10), (2, 1, 11), (3, 2, 11), (4, 3, 10)) == [
        {10}, {10, 11}, {10, 11}, {10, 11},
    ]  # fmt: skip
    assert add(lineage, (5, 3, 12), (6, 99, 13)) == [{10, 11, 12}, {13}]  # 99: never told
    assert sets(lineage, lineage.chains_of(np.array([5, 7], np.uint64))) == [{10, 11, 12}, set()]


def test_of_an_id_that_is_used_again_the_use_before_counts() -> None:
    lineage = Lineage()
    found = add(lineage, (1, 0, 10), (2, 1, 20), (1, 0, 11), (3, 1, 20), (1, 2, 12), (4, 1, 20))
    assert found == [{10}, {10, 20}, {11}, {11, 20}, {10, 20, 12}, {10, 20, 12}]


def test_spans_that_are_each_other_s_parents_end() -> None:
    lineage = Lineage()
    assert add(lineage, (1, 2, 10), (2, 1, 11), (3, 3, 12)) == [{10}, {10, 11}, {12}]


def test_ways_to_nest_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_CHAINS", 10)
    lineage = Lineage()
    add(lineage, *((at + 1, at, at) for at in range(20)))
    chains = lineage.chains_of(np.arange(1, 21, dtype=np.uint64))
    assert (chains[:8] != LOST).all() and (chains[8:] == LOST).all()
    assert add(lineage, (50, 20, 3), (51, 0, 0)) == [set(), {0}]  # what is known stays


def test_spans_that_are_known_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST_KNOWN", 100)
    lineage = Lineage()
    for turn in range(10):
        add(lineage, *((1 + turn * 50 + at, 0, turn) for at in range(50)))
        lineage.forget(np.array([1], np.uint64))
    known = lineage.chains_of(np.array([1, 2, 500], np.uint64))
    assert known[0] != LOST and known[1] == LOST and known[2] != LOST  # open, old, new
    assert len(lineage._ids) <= 100
