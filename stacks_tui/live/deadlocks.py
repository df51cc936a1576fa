"""Circles of waits: spans that wait for locks which they hold against each other.

Comes in: the open spans, among them those named `lock.wait` and `lock.hold`, whose `id` is the
lock's address and whose parent is who waits or holds. Goes out: each circle once, in words. What
several hold (a semaphore) keeps nobody waiting for one of them alone: it is in no circle.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from stacks_tui.live.instances import Instances
from stacks_tui.live.lock_spans import HOLD, WAIT

LONG_NS = 10**9
"""A running session's waits count from this age on: what is told of them may be half of it yet."""


@dataclass(frozen=True, slots=True)
class Deadlock:
    """One circle."""

    tgid: int
    spans: tuple[int, ...]
    """Ids of those who wait, each for the next."""
    locks: tuple[int, ...]
    """What each waits for."""
    says: str


def deadlocks(found: Instances, names: Sequence[str], now: int) -> tuple[Deadlock, ...]:
    """The circles among open spans; `now`: ns since the Unix epoch."""
    codes = {name: at for at, name in enumerate(names) if name in (WAIT, HOLD)}
    if len(codes) < 2:
        return ()
    owned = found["parent_id"] != 0
    waits = found[(found["name"] == codes[WAIT]) & owned]
    waits = waits[(waits["until"] > 0) | (waits["begin"] <= now - LONG_NS)]
    holds = found[(found["name"] == codes[HOLD]) & owned]
    holder: dict[tuple[int, int], int] = {}
    shared: set[tuple[int, int]] = set()
    for tgid, lock, owner in zip(*(holds[name].tolist() for name in _EDGE), strict=True):
        shared |= {(tgid, lock)} & holder.keys()
        holder[tgid, lock] = owner
    edges: dict[tuple[int, int], tuple[int, int]] = {}
    for tgid, lock, owner in zip(
        *(waits[np.argsort(waits["begin"])][name].tolist() for name in _EDGE), strict=True
    ):
        held = holder.get((tgid, lock))
        if held is not None and (tgid, lock) not in shared:
            edges.setdefault((tgid, owner), (lock, held))
    return tuple(_told(tgid, circle, edges, found, names) for tgid, circle in _circles(edges))


_EDGE = ("tgid", "id", "parent_id")


def _circles(
    edges: Mapping[tuple[int, int], tuple[int, int]],
) -> list[tuple[int, tuple[int, ...]]]:
    """Each from its smallest id on: from every span one edge leads on, so a walk finds it."""
    circles = []
    seen: set[tuple[int, int]] = set()
    for tgid, first in sorted(edges):
        path: dict[int, None] = {}
        at = first
        while (tgid, at) in edges and (tgid, at) not in seen:
            seen.add((tgid, at))
            path[at] = None
            at = edges[tgid, at][1]
        if at in path:
            order = list(path)
            order = order[order.index(at) :]
            least = order.index(min(order))
            circles.append((tgid, (*order[least:], *order[:least])))
    return circles


def _told(
    tgid: int,
    circle: tuple[int, ...],
    edges: Mapping[tuple[int, int], tuple[int, int]],
    found: Instances,
    names: Sequence[str],
) -> Deadlock:
    inside = found[(found["tgid"] == tgid) & np.isin(found["span_id"], circle)]
    named = {
        number: names[name]
        for number, name in zip(inside["span_id"].tolist(), inside["name"].tolist(), strict=True)
        if name >= 0
    }
    labels = [named.get(number, f"span {number}") for number in circle]
    alike = {label for label in labels if labels.count(label) > 1}
    labels = [
        f"{label} #{number}" if label in alike else label
        for label, number in zip(labels, circle, strict=True)
    ]
    locks = tuple(edges[tgid, number][0] for number in circle)
    steps = [
        f"{label} waits for lock {lock:#x} held by {held}"
        for label, lock, held in zip(labels, locks, [*labels[1:], labels[0]], strict=True)
    ]
    says = f"{'; '.join(steps)}; cycle: {' -> '.join([*labels, labels[0]])}"
    return Deadlock(tgid, circle, locks, says)
