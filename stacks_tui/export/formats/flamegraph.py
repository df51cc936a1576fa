"""A flame graph: one HTML file with search, zoom, both directions and comparison; needs no network.

Comes in: samples, or two sides of a comparison. Goes out: a page (`export/assets/flamegraph.*`)
with two trees: from the outermost frame to the leaf, and from the leaf to its callers. What is too
small is drawn as one grey remainder beside its siblings, so all totals stay. The page reads:
`trees.*.frame` (0: all, 1: remainder, then `frames`), `depth`, `own` and `before` (a list for each
of `types`), all in preorder.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

from stacks_tui import __version__, text
from stacks_tui.export.calltree import I64, Tree, grow, paths_of
from stacks_tui.export.functions import KINDS, Functions, functions_of, shown
from stacks_tui.export.model import Origin, Samples
from stacks_tui.export.page import browser, json_text, write_page
from stacks_tui.export.registry import Format
from stacks_tui.export.samples import none_selected
from stacks_tui.export.task import Task
from stacks_tui.store.manifest import iso_time

BoolArray = npt.NDArray[np.bool_]

_MOST_NODES = 150_000
"""Of each tree, where no share is asked for: some 2 MB, and quick to draw."""
_ALL, _REMAINDER, _FIRST = 0, 1, 2
_EXACT = 2**53
"""Above it a page's numbers are rounded."""


def write_flamegraph(samples: Samples, out: BinaryIO, task: Task) -> None:
    """Write the page."""
    functions = functions_of(samples.stacks)
    task.step("making the tree", 0, 2)
    # one column for each type, then one for each type before
    values = [samples.by_stack(at) for at in range(len(samples.types))]
    if samples.before is not None:
        values += [samples.sums(column) for column in samples.before.values.T]
    by_stack = np.stack(values, axis=1)
    paths = paths_of(samples.stacks, functions.of_location)
    trees = {}
    for at, name in enumerate(("down", "up")):
        whole = grow(paths, from_leaf=name == "up")
        trees[name] = _Drawn(whole, by_stack, len(samples.types), task.options.minimum_share)
        task.step("making the tree", at + 1, 2)
    if any(one.left_out for one in trees.values()):
        task.note(_told(trees["down"], trees["up"]))
    if np.abs(by_stack).sum(axis=0, dtype=np.float64).max(initial=0) >= _EXACT:
        task.note("values above 2^53 are rounded in the page; its totals are exact.")
    title = task.options.title or _title(samples)
    write_page(out, "flamegraph", title, _json(samples, functions, trees, title, task))


class _Drawn:
    """What is left of a tree, with remainders, in preorder."""

    def __init__(self, tree: Tree, by_stack: I64, types: int, share: float | None) -> None:
        own = tree.own(by_stack)
        total = tree.sums(own)
        weight = _weights(tree, own, types)
        kept, self.share = _chosen(weight, share)
        self.left_out = int((~kept).sum())
        self.whole = len(tree)
        # remainders: the sum of all that is cut off below a node
        cut = ~kept & ((tree.parent < 0) | kept[tree.parent])
        sizes = tree.sums(np.ones((len(tree), 1), np.int64))[:, 0]
        above, which = np.unique(tree.parent[cut], return_inverse=True)
        rest = np.zeros((len(above), own.shape[1]), np.int64)
        np.add.at(rest, which, total[cut])
        inside = np.zeros(len(above), np.int64)
        np.add.at(inside, which, sizes[cut])
        # the root, what is kept, the remainders
        number = np.cumsum(kept, dtype=np.int64)
        at = np.flatnonzero(kept)
        none = np.zeros((1, own.shape[1]), np.int64)
        parent = np.concatenate([[-1], _number(tree.parent[at], number), _number(above, number)])
        key = np.concatenate(
            [[_ALL], tree.key[at].astype(np.int64) + _FIRST, np.full(len(above), _REMAINDER)]
        )
        depth_of = tree.depth()
        below = np.where(above < 0, 0, depth_of[above] + 1) if len(tree) else above
        depth = np.concatenate([[0], depth_of[at] + 1, below + 1])
        values = np.concatenate([none, own[at], rest])
        inside = np.concatenate([np.zeros(1 + len(at), np.int64), inside])
        order = np.lexsort((key, parent, depth))
        again = np.empty(len(order), np.int64)
        again[order] = np.arange(len(order))
        moved = np.where(parent[order] < 0, -1, again[parent[order]])
        counts = np.bincount(depth)
        laid = Tree(
            moved,
            key[order].astype(np.int32),
            np.concatenate([[0], np.cumsum(counts)]),
            np.zeros(0, np.int64),
        )
        final = order[np.argsort(laid.preorder())]
        self.key, self.depth, self.values = key[final], depth[final], values[final]
        self.inside = inside[final]
        self.types = types

    def columns(self) -> dict[str, Any]:
        """As the page reads them."""
        lists = self.values.T.tolist()
        return {
            "frame": self.key.tolist(),
            "depth": self.depth.tolist(),
            "own": lists[: self.types],
            "before": lists[self.types :],
            "inside": self.inside[self.key == _REMAINDER].tolist(),
            "share": self.share,
        }


def _number(parent: I64, number: I64) -> I64:
    """Nodes of the whole tree as those that are kept are numbered after the root, 0."""
    return np.where(parent < 0, 0, number[parent]) if len(number) else parent


def _weights(tree: Tree, own: I64, types: int) -> npt.NDArray[np.float64]:
    """[nodes] the largest share of each in the whole, over all types: what its width goes by."""
    sides = np.abs(own).reshape(len(own), own.shape[1] // types, types).max(axis=1)
    sums = tree.sums(sides)
    whole = np.maximum(sums[tree.parent < 0].sum(axis=0, dtype=np.float64), 1)
    weight: npt.NDArray[np.float64] = (sums / whole).max(axis=1, initial=0.0)
    return weight


def _chosen(weight: npt.NDArray[np.float64], share: float | None) -> tuple[BoolArray, float]:
    """[nodes] which are drawn, and the share below which none is."""
    if share is None:
        if len(weight) <= _MOST_NODES:
            return np.ones(len(weight), np.bool_), 0.0
        share = float(np.partition(weight, -_MOST_NODES - 1)[-_MOST_NODES - 1])
        return weight > share, share
    return weight >= share, share


def _told(down: _Drawn, up: _Drawn) -> str:
    """What was left out, for the person."""
    counts = [f"{text.count(one.left_out)} of {text.count(one.whole)}" for one in (down, up)]
    return (
        f"{counts[0]} nodes (from the leaf: {counts[1]}) are drawn as grey remainders, each below "
        f"{max(down.share, up.share) * 100:.2g} %; --minimum 0 draws all."
    )


def _json(
    samples: Samples,
    functions: Functions,
    trees: dict[str, _Drawn],
    title: str,
    task: Task,
) -> Iterator[str]:
    """The page's data, in pieces."""
    modules = {name: at for at, name in enumerate(sorted({one.module for one in functions.each}))}
    files = {name: at for at, name in enumerate(sorted({one.file for one in functions.each}))}
    before = dict(samples.totals_before())
    head: dict[str, Any] = {
        "title": shown(title),
        "made": f"stacks-tui {__version__}",
        "about": _about(samples.origin),
        "compared": None if samples.before is None else _about(samples.before.origin),
        "notes": [shown(note) for note in (*task.notes, none_selected(samples)) if note],
        "types": [
            {
                "name": shown(kind.name),
                "unit": kind.unit,
                # text: a page's numbers are exact up to 2^53 only
                "total": str(total),
                "before": str(before[kind]) if before else None,
            }
            for kind, total in samples.totals()
        ],
        "main": samples.main,
        "kinds": KINDS,
        "modules": list(modules),
        "files": list(files),
        "frames": {
            "name": [one.name for one in functions.each],
            "module": [modules[one.module] for one in functions.each],
            "kind": [one.kind for one in functions.each],
            "file": [files[one.file] for one in functions.each],
            "line": [first for first, _ in functions.lines],
            "last": [last for _, last in functions.lines],
        },
    }
    yield json_text(head)[:-1] + ',"trees":{'
    for at, (name, tree) in enumerate(trees.items()):
        task.step("writing", at, len(trees))
        yield ("," if at else "") + json_text(name) + ":" + json_text(tree.columns())
    yield "}}"


def _about(origin: Origin) -> dict[str, Any]:
    """What one side shows, in words."""
    begin, end = origin.window.begin, origin.window.end
    return {
        "asked": [
            [shown(name), shown(question)]
            for name, question in zip(origin.queries, origin.questions, strict=True)
        ],
        "recordings": [shown(path) for path in origin.recordings],
        "filters": shown(origin.filters),
        "begin": iso_time(begin),
        "end": iso_time(end),
        "lasted": text.duration(end - begin),
        "comments": [shown(line) for line in origin.comments],
        "trust": [shown(line) for line in origin.trust],
    }


def _title(samples: Samples) -> str:
    origin, before = samples.origin, samples.before
    where = _recordings(origin)
    if before is not None and before.origin.recordings != origin.recordings:
        where = f"{_recordings(before.origin)} → {where}"
    return f"{', '.join(origin.queries)} · {where}"


def _recordings(origin: Origin) -> str:
    names = [Path(path).name for path in origin.recordings]
    return ", ".join(names[:3]) + (" …" if len(names) > 3 else "")


FORMAT = Format(
    name="flamegraph",
    extension=".html",
    answers="a flame graph in one HTML file: zoom, search, both directions, differences; "
    "any browser opens it",
    wants=Samples,
    write=write_flamegraph,
    rank=20,
    compares=True,
    viewer=browser,
    viewer_hint="any browser opens it.",
)
