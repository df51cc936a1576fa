"""Where the frames of a flame graph lie. Pure: a graph and a width in, boxes by depth out.

Siblings stand in order of their names, so that a box keeps its place while its width changes. Of a
comparison, a box is as wide as the mean of its two shares, which add up as the values do.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from stacks_tui.live.snapshot import Graph


@dataclass(frozen=True, slots=True)
class Box:
    """A frame in its place."""

    node: int
    """Place in `Graph.nodes`."""
    begin: int
    """Cells from the left."""
    end: int


@dataclass(frozen=True, slots=True)
class Layout:
    """Boxes by depth, from left to right; depth 0 is the root."""

    levels: tuple[tuple[Box, ...], ...]
    depth: tuple[int, ...]
    """Of each node."""
    children: tuple[tuple[int, ...], ...]
    """Of each node, in order of names."""

    def box(self, node: int) -> Box | None:
        """The box of a node; None: it is too thin to be seen."""
        if not 0 <= node < len(self.depth):
            return None
        level = self.depth[node]
        if level >= len(self.levels):
            return None
        return next((box for box in self.levels[level] if box.node == node), None)


def weights(graph: Graph, *, compares: bool) -> tuple[float, ...]:
    """How much room each node wants, in any unit; what shrank wants none."""
    if not graph.nodes:
        return ()
    if not compares:
        return tuple(float(max(0, node.total)) for node in graph.nodes)
    a = max(1, graph.nodes[0].total)
    b = max(1, graph.nodes[0].b_total)
    return tuple(max(0, node.total) / a + max(0, node.b_total) / b for node in graph.nodes)


def lay_out(
    graph: Graph, width: int, *, compares: bool = False, zoom: Sequence[str] = ()
) -> Layout:
    """Place all nodes in so many cells; those of less than half a cell are left out.

    `zoom`: the path of the frame that takes the whole width, with all above it.
    """
    nodes = graph.nodes
    above: dict[int, int] = {}  # a frame above the zoomed one → the child that leads there
    at = find(graph, zoom)
    while at > 0:
        above[nodes[at].parent] = at
        at = nodes[at].parent
    wanted = weights(graph, compares=compares)
    children: list[list[int]] = [[] for _ in nodes]
    depth = [0] * len(nodes)
    for at, node in enumerate(nodes):
        if node.parent >= 0:
            children[node.parent].append(at)
            depth[at] = depth[node.parent] + 1
    for some in children:
        some.sort(key=lambda at: (nodes[at].name, nodes[at].module, at))
    levels: list[list[Box]] = []
    begins = [0.0] * len(nodes)
    ends = [0.0] * len(nodes)
    if nodes:
        ends[0] = float(width)
    for at in range(len(nodes)):  # a node comes after its parent
        begin, end = begins[at], ends[at]
        first, last = round(begin), round(end)
        if last <= first:
            continue
        while len(levels) <= depth[at]:
            levels.append([])
        levels[depth[at]].append(Box(at, first, last))
        some = [above[at]] if at in above else children[at]
        claimed = sum(wanted[one] for one in some)
        if at not in above:
            claimed = max(wanted[at], claimed)
        scale = (end - begin) / claimed if claimed else 0.0
        for one in some:
            begins[one] = begin
            begin += wanted[one] * scale
            ends[one] = begin
    for level in levels:
        level.sort(key=lambda box: box.begin)
    return Layout(tuple(map(tuple, levels)), tuple(depth), tuple(tuple(some) for some in children))


def path(graph: Graph, node: int) -> tuple[str, ...]:
    """The keys from below the root down to a node."""
    keys = []
    while node > 0:
        keys.append(graph.nodes[node].key)
        node = graph.nodes[node].parent
    return tuple(reversed(keys))


def find(graph: Graph, keys: Sequence[str]) -> int:
    """The node with this path; 0 (the root), if it is gone."""
    by_place = {(node.parent, node.key): at for at, node in enumerate(graph.nodes)}
    at = 0
    for key in keys:
        at = by_place.get((at, key), -1)
        if at < 0:
            return 0
    return at


def matched(graph: Graph, sought: str) -> tuple[frozenset[int], int]:
    """Nodes whose name holds the text (any case), and their sum, nothing counted twice."""
    if not sought:
        return frozenset(), 0
    low = sought.lower()
    hits = {at for at, node in enumerate(graph.nodes) if at and low in node.name.lower()}
    below = [False] * len(graph.nodes)
    total = 0
    for at, node in enumerate(graph.nodes):
        over = node.parent >= 0 and below[node.parent]
        below[at] = over or at in hits
        if at in hits and not over:
            total += node.total
    return frozenset(hits), total
