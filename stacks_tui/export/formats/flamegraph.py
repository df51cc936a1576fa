"""A flame graph: one HTML file with search, zoom, both directions and comparison; needs no network.

Comes in: samples, or two sides of a comparison. Goes out: a page (`export/assets/flamegraph.*`)
with two trees: from the outermost frame to the leaf, and from the leaf to its callers. What is too
small is drawn as one grey remainder beside its siblings, so all totals stay. The page reads:
`trees.*.frame` (0: all, 1: remainder, then `frames`), `depth`, `own` and `before` (a list for each
of `types`), all in preorder, and `inside`: how many stacks each remainder stands for.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from stacks_tui import __version__, text
from stacks_tui.export.calltree import CUT, F64, I64, Tree, grow, paths_of, pruned
from stacks_tui.export.functions import KINDS, Functions, functions_of, shown
from stacks_tui.export.model import Origin, Samples
from stacks_tui.export.page import browser, json_text, write_page
from stacks_tui.export.registry import Format
from stacks_tui.export.samples import none_selected
from stacks_tui.export.task import Task
from stacks_tui.store.manifest import iso_time

_MOST_NODES = 150_000
"""Of each tree, where no share is asked for: some 2 MB, and quick to draw."""
_MANY_FRAMES = 4_000_000
"""Of all stacks together: for more, a tree is not grown below `_FLOOR`."""
_FLOOR = 0.25 / _MOST_NODES
_FIRST = 2
_ALL, _REMAINDER = 0, CUT + _FIRST
_EXACT = 2**53
"""Above it a page's numbers are rounded."""


def write_flamegraph(samples: Samples, out: BinaryIO, task: Task) -> None:
    """Write the page."""
    functions = functions_of(samples.stacks)
    task.step("making the tree", 0, 2)
    # one column for each type, then one for each type before, then one that counts stacks
    values = [samples.by_stack(at) for at in range(len(samples.types))]
    if samples.before is not None:
        values += [samples.sums(column) for column in samples.before.values.T]
    there = np.zeros(len(samples.stacks), np.int64)
    there[samples.stack_of] = 1
    by_stack = np.stack([*values, there], axis=1)
    shares = _shares(by_stack[:, :-1], len(samples.types))
    paths = paths_of(samples.stacks, functions.of_location)
    asked = task.options.minimum_share
    least = asked if asked is not None else _FLOOR if len(paths.keys) > _MANY_FRAMES else 0.0
    trees = {}
    for at, name in enumerate(("down", "up")):
        whole = grow(paths, from_leaf=name == "up", shares=shares, least=least)
        most = _MOST_NODES if asked is None else len(whole)
        trees[name] = _Drawn(whole, by_stack, len(samples.types), least, most)
        task.step("making the tree", at + 1, 2)
    if any(one.cut for one in trees.values()):
        task.note(_told(trees["down"], trees["up"], int(there.sum())))
    if np.abs(by_stack).sum(axis=0, dtype=np.float64).max(initial=0) >= _EXACT:
        task.note("values above 2^53 are rounded in the page; its totals are exact.")
    title = task.options.title or _title(samples)
    write_page(out, "flamegraph", title, _json(samples, functions, trees, title, task))


class _Drawn:
    """What is left of a tree below its root, with remainders, in preorder."""

    def __init__(self, tree: Tree, by_stack: I64, types: int, least: float, most: int) -> None:
        self.share = least
        kept = tree.share >= least
        if np.count_nonzero(kept) > most:
            self.share = float(np.partition(tree.share, -most - 1)[-most - 1])
            kept = tree.share > self.share
        left, values = pruned(tree, tree.own(by_stack), kept)
        order = np.argsort(left.preorder())
        root = np.zeros((1, values.shape[1]), np.int64)
        self.values = np.concatenate([root, values[order]])
        self.key = np.concatenate([[_ALL], left.key[order] + _FIRST])
        self.depth = np.concatenate([[0], left.depth()[order] + 1])
        self.stacks = self.values[self.key == _REMAINDER, -1]
        self.cut = int(self.stacks.sum())
        self.types = types

    def columns(self) -> dict[str, Any]:
        """As the page reads them."""
        lists = self.values[:, :-1].T.tolist()
        return {
            "frame": self.key.tolist(),
            "depth": self.depth.tolist(),
            "own": lists[: self.types],
            "before": lists[self.types :],
            "inside": self.stacks.tolist(),
            "share": self.share,
        }


def _shares(by_stack: I64, types: int) -> F64:
    """[stacks, types] of each stack in the whole: of both sides the larger, as widths are."""
    sides = np.abs(by_stack).reshape(len(by_stack), by_stack.shape[1] // types, types).max(axis=1)
    shares: F64 = sides / np.maximum(sides.sum(axis=0, dtype=np.float64), 1)
    return shares


def _told(down: _Drawn, up: _Drawn, stacks: int) -> str:
    """What was left out, for the person."""
    return (
        f"{text.count(down.cut)} of {text.count(stacks)} distinct stacks (from the leaf: "
        f"{text.count(up.cut)}) end in grey remainders, of what is below "
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
