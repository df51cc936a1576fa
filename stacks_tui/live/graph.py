"""Trees and flame graphs: the frames of all call paths merged from the root on.

Comes in: material. Goes out: a `Graph`. Every path counts: what is too small to be sent is in its
parent. Level by level on arrays, and never below what is left out.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from stacks_tui.live.groups import gave_way, paths_of_cells
from stacks_tui.live.measures import unit_of
from stacks_tui.live.snapshot import Graph, Node
from stacks_tui.live.stacks import StackTable
from stacks_tui.live.totals import Ints, Material
from stacks_tui.live.view import Group, View

NODES_PER_ROW = 20
MOST_DEEP = 1100
"""Levels: 512 user frames, 127 of the kernel, and room for inlined ones."""


@dataclass(slots=True)
class _Level:
    """The nodes of one depth."""

    parent: npt.NDArray[np.intp]
    """Places among the nodes of the level before."""
    frame: npt.NDArray[np.int64]
    total: Ints
    """(side, node)."""
    count: Ints
    weight: npt.NDArray[np.float64]
    """Of a node: its share at least, never more than its parent's."""


def make_graph(material: Material, view: View) -> Graph:
    """The graph of this view."""
    stacks = material.stacks
    gone = gave_way(material.cells, Group.STACK)
    whole = material.total()
    other = material.take(gone).total()
    kept = material.take(~gone)
    paths = paths_of_cells(kept.cells, stacks, view)
    size = len(paths.kernel)
    value = kept.sums(paths.codes, size, kept.value)
    count = kept.sums(paths.codes, size, kept.cells.count)
    flat, ends = paths.frames(stacks)
    all_count = int(material.cells.count[material.side == 0].sum())
    levels, cut = _levels(_Paths(flat, ends, view.inverted), value, count, stacks, view)
    most = NODES_PER_ROW * view.top
    nodes, dropped = _nodes(levels, stacks, whole, all_count, most)
    two = material.sides > 1
    return Graph(
        unit_of(view),
        nodes,
        view.inverted,
        cut + dropped,
        int(other[0]),
        int(other[1]) if two else 0,
    )


@dataclass(frozen=True, slots=True)
class _Paths:
    """Frames by depth below the root."""

    flat: npt.NDArray[np.int32]
    ends: npt.NDArray[np.int64]
    inverted: bool

    def deep(self, chosen: npt.NDArray[np.intp], depth: int) -> npt.NDArray[np.bool_]:
        """Which of these paths have a frame at this depth."""
        return (self.ends[chosen + 1] - self.ends[chosen]) > depth

    def frames(self, chosen: npt.NDArray[np.intp], depth: int) -> npt.NDArray[np.int64]:
        """Their frames at this depth."""
        at = self.ends[chosen] + depth if self.inverted else self.ends[chosen + 1] - 1 - depth
        return self.flat[at].astype(np.int64)


def _levels(
    paths: _Paths, value: Ints, count: Ints, stacks: StackTable, view: View
) -> tuple[list[_Level], int]:
    chosen = np.arange(value.shape[1])
    node = np.zeros(len(chosen), np.int64)
    heavy = np.abs(value)
    base = np.maximum(heavy.sum(axis=1), 1).astype(np.float64)
    levels: list[_Level] = []
    cut = 0
    most = NODES_PER_ROW * view.top
    for depth in range(MOST_DEEP):
        inside = paths.deep(chosen, depth)
        chosen, node = chosen[inside], node[inside]
        frames = paths.frames(chosen, depth)
        zoomed = depth < len(view.zoom)
        if zoomed:
            unique, back = np.unique(frames, return_inverse=True)
            same = [stacks.key([frame]) == view.zoom[depth] for frame in unique.tolist()]
            inside = np.array(same, np.bool_)[back]
            chosen, node, frames = chosen[inside], node[inside], frames[inside]
            base = np.maximum(heavy[:, chosen].sum(axis=1), 1).astype(np.float64)
        if not len(chosen):
            break
        codes, back = np.unique((node << 32) | frames, return_inverse=True)
        total, number, weigh = (
            _by_node(columns[:, chosen], back, len(codes)) for columns in (value, count, heavy)
        )
        weight = (weigh / base[:, None]).max(axis=0)
        kept = weight >= (0 if zoomed else view.minimum_share)
        if int(kept.sum()) > most:
            kept[np.argsort(-weight, kind="stable")[most:]] = False
        cut += int((~kept).sum())
        levels.append(
            _Level(
                (codes[kept] >> 32).astype(np.intp),
                codes[kept] & 0xFFFFFFFF,
                total[:, kept],
                number[:, kept],
                np.ones(int(kept.sum())) if zoomed else weight[kept],
            )
        )
        inside = kept[back]
        renumbered = np.cumsum(kept) - 1
        chosen, node = chosen[inside], renumbered[back[inside]].astype(np.int64)
    return levels, cut


def _by_node(values: Ints, back: npt.NDArray[np.intp], size: int) -> Ints:
    found = np.zeros((len(values), size), np.int64)
    for side, row in enumerate(values):
        np.add.at(found[side], back, row)
    return found


def _nodes(
    levels: list[_Level], stacks: StackTable, whole: Ints, count: int, most: int
) -> tuple[tuple[Node, ...], int]:
    """The heaviest nodes, a level after the other; the second: how many were dropped."""
    weights = np.concatenate([np.zeros(0), *(level.weight for level in levels)])
    limit = -np.sort(-weights)[most - 1] if len(weights) > most else -1.0
    parents, frames, totals, counts = [-1], [-1], [whole], [count]
    own = [whole.copy()]
    above = np.zeros(1, np.intp)
    dropped = 0
    for level in levels:
        places = np.full(len(level.frame), -1, np.intp)
        names = [stacks.names[frame] for frame in level.frame.tolist()]
        order = sorted(
            range(len(names)),
            key=lambda at: (  # siblings together, the heaviest first, equals by name
                int(above[level.parent[at]]),
                -int(level.total[:, at].sum()),
                names[at],
                stacks.modules[int(level.frame[at])],
            ),
        )
        for at in order:
            parent = int(above[level.parent[at]])
            if parent < 0 or level.weight[at] < limit or len(parents) > most:
                dropped += 1
                continue
            places[at] = len(parents)
            parents.append(parent)
            frames.append(int(level.frame[at]))
            totals.append(level.total[:, at])
            counts.append(int(level.count[0, at]))
            own[parent] = own[parent] - level.total[:, at]
            own.append(level.total[:, at])
        above = places
    two = len(whole) > 1
    nodes = tuple(
        Node(
            parent,
            stacks.key([frame]) if frame >= 0 else "",
            stacks.names[frame] if frame >= 0 else "",
            stacks.modules[frame] if frame >= 0 else "",
            int(left[0]),
            int(total[0]),
            number,
            int(left[1]) if two else 0,
            int(total[1]) if two else 0,
        )
        for parent, frame, left, total, number in zip(
            parents, frames, own, totals, counts, strict=True
        )
    )
    return nodes, dropped
