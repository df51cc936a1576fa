"""A tree of frames as lines of a table, with what is open remembered by place. Pure.

Comes in: a graph and which places were opened or closed. Goes out: lines, and the node of each.
A frame with a single callee of nearly the same weight is not indented further: chains stay narrow.
"""

from __future__ import annotations

from collections.abc import Mapping

from stacks_tui import text
from stacks_tui.live.snapshot import Graph
from stacks_tui.tui import words
from stacks_tui.tui.cells import bar, fit
from stacks_tui.tui.widgets.table import Column, Line

OPEN_SHARE = 0.1
"""A frame of this share of the whole is open at first."""
_MOST = 5000
_DEEPEST = 24
"""Steps of indentation; deeper frames stay there."""

COLUMNS = (
    Column("total", "total", 9, right=True),
    Column("own", "self", 9, right=True, leave=2),
    Column("share", "share", 14, leave=3),
    Column("label", "calls", 0),
    Column("module", "module", 18, leave=1),
)
COMPARE_COLUMNS = (
    Column("change", "B-A", 6, right=True),
    Column("total", "A", 9, right=True, leave=2),
    Column("b_total", "B", 9, right=True, leave=1),
    Column("label", "calls", 0),
    Column("module", "module", 18, leave=1),
)


def places(graph: Graph) -> tuple[int, ...]:
    """A number for the place of each node, the same in every snapshot."""
    found: list[int] = []
    for node in graph.nodes:
        found.append(hash((found[node.parent] if node.parent >= 0 else 0, node.key)))
    return tuple(found)


def lines(graph: Graph, opened: Mapping[int, bool], *, compares: bool = False) -> list[Line]:
    """The lines that are in sight: a closed frame hides what is below it."""
    nodes = graph.nodes
    if not nodes:
        return []
    place = places(graph)
    children: list[list[int]] = [[] for _ in nodes]
    for at, node in enumerate(nodes[1:], 1):
        children[node.parent].append(at)
    root = nodes[0]
    whole = max(1, abs(root.total)) if not compares else max(1, root.total + root.b_total)
    found: list[Line] = []
    todo = [(at, 0) for at in reversed(children[0])]
    while todo and len(found) < _MOST:
        at, depth = todo.pop()
        node = nodes[at]
        weight = node.total + node.b_total if compares else abs(node.total)
        some = children[at]
        is_open = bool(some) and opened.get(place[at], weight / whole >= OPEN_SHARE)
        sign = "▾ " if is_open else "▸ " if some else "· "
        if is_open:
            alone = len(some) == 1 and abs(nodes[some[0]].total) > 0.95 * abs(node.total)
            todo += [(one, depth if alone else depth + 1) for one in reversed(some)]
        look = "kernel" if node.module.startswith("[kernel") else "leaf"
        name = text.printable(node.name[:4096])
        label = ((" " * (2 * min(depth, _DEEPEST)) + sign, "caller"), (name, look))
        module = words.module_name(node.module)
        own = words.value(node.total, graph.unit)
        if compares:
            change = node.b_total / max(1, root.b_total) - node.total / max(1, root.total)
            toward = "rise" if change > 0 else "fall"
            b_total = words.value(node.b_total, graph.unit)
            found.append(
                Line(
                    place[at],
                    (
                        ((fit(words.change(change), 6, right=True), toward),),
                        own,
                        b_total,
                        label,
                        module,
                    ),
                )
            )
            continue
        part = node.total / whole
        share = (
            (bar(min(1.0, abs(part)), 8), "bar"),
            (fit(words.share(part), 6, right=True), ""),
        )
        self_value = words.value(node.own, graph.unit) if node.own else ""
        found.append(Line(place[at], (own, self_value, share, label, module)))
    return found
