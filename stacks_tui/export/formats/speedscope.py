"""speedscope's own JSON: left heavy and sandwich views; other viewers read it too.

Comes in: samples. Goes out: a sampled profile for each value and, where labels are asked for, each
of their combinations. A sample is a stack, root first, inlined functions as frames of their own, in
the order of the call tree. Weights can't be negative: what was given back is a profile of its own.
The format: https://www.speedscope.app/file-format-schema.json.
"""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from stacks_tui import __version__
from stacks_tui.export.calltree import I64, Paths, grow, paths_of
from stacks_tui.export.functions import Functions, functions_of, shown
from stacks_tui.export.model import Samples
from stacks_tui.export.registry import Format
from stacks_tui.export.task import Task

_SCHEMA = "https://www.speedscope.app/file-format-schema.json"
_UNITS = {"nanoseconds": "nanoseconds", "bytes": "bytes"}
_MANY_FRAMES = 10_000_000
"""Of all stacks together: for more, stacks stand in the order in which they come."""
_PIECE = 8_192
"""Stacks written at a time."""


@dataclass(frozen=True, slots=True)
class _Group:
    """The samples of one combination of labels."""

    name: str
    stacks: I64
    """[n] each stack once, in the order of the tree."""
    values: I64
    """[n, types]"""


def write_speedscope(samples: Samples, out: BinaryIO, task: Task) -> None:
    """Write the samples as profiles."""
    functions = functions_of(samples.stacks)
    paths = paths_of(samples.stacks, functions.of_location)
    task.step("making the tree")
    rank = np.arange(len(samples.stacks))
    if len(paths.keys) <= _MANY_FRAMES:
        tree = grow(paths)
        rank = np.concatenate([tree.preorder(), [-1]])[tree.last]  # -1: an empty stack is first
    groups = _groups(samples, rank, by_labels=task.options.labels is not None)
    before = (groups[0].values[:, : samples.main] < 0).any(axis=0) if groups else ()
    head = {
        "$schema": _SCHEMA,
        "exporter": f"stacks-tui {__version__}",
        "name": shown(task.options.title) or _name(samples),
        "activeProfileIndex": samples.main + int(np.count_nonzero(before)),
        "shared": {"frames": _frames(functions)},
    }
    out.write((json.dumps(head)[:-1] + ', "profiles": [\n').encode())
    written = 0
    # the kinds of one group stand together, the first group's at first
    for group in groups:
        for at, kind in enumerate(samples.types):
            for sign in (1, -1):
                weights = group.values[:, at] * sign
                some = np.flatnonzero(weights > 0)
                if sign < 0 and not len(some):
                    continue
                name = kind.name + group.name + (" (given back)" if sign < 0 else "")
                profile = {
                    "type": "sampled",
                    "name": shown(name),
                    "unit": _UNITS.get(kind.unit, "none"),
                    "startValue": 0,
                    "endValue": int(weights[some].sum()),
                }
                out.write((",\n" if written else "").encode())
                _write_profile(profile, paths, group.stacks[some], weights[some], out, task)
                written += 1
    out.write(b"]}\n")
    if any((group.values < 0).any() for group in groups):
        task.note("speedscope has no negative weights: what was given back is a profile beside it.")


def _write_profile(
    profile: dict[str, Any],
    paths: Paths,
    which: I64,
    weights: I64,
    out: BinaryIO,
    task: Task,
) -> None:
    out.write((json.dumps(profile)[:-1] + ', "samples": [').encode())
    for first in range(0, len(which), _PIECE):
        some = which[first : first + _PIECE]
        piece = [
            f"[{','.join(map(str, paths.keys[begin:end][::-1].tolist()))}]"
            for begin, end in zip(paths.offsets[some], paths.offsets[some + 1], strict=True)
        ]
        out.write((("," if first else "") + ",".join(piece)).encode())
        task.step("writing", first, len(which))
    out.write(f'], "weights": {json.dumps(weights.tolist(), separators=(",", ":"))}}}'.encode())


def _groups(samples: Samples, rank: I64, *, by_labels: bool) -> list[_Group]:
    """The samples by labels, the largest group first."""
    group_of = np.zeros(len(samples), np.int64)
    names = [""]
    if by_labels:
        for label in samples.labels:
            coded = label.values.dictionary_encode("encode")
            words = [
                "" if value is None else f"{label.name} {value}"
                for value in coded.dictionary.to_pylist()
            ]
            mixed = group_of * len(words) + np.asarray(coded.indices)
            distinct, group_of = np.unique(mixed, return_inverse=True)
            names = [
                " · ".join(filter(None, (names[code // len(words)], words[code % len(words)])))
                for code in distinct.tolist()
            ]
    count = len(samples.stacks)
    distinct, which = np.unique(group_of * count + samples.stack_of, return_inverse=True)
    values = np.zeros((len(distinct), len(samples.types)), np.int64)
    np.add.at(values, which, samples.values)
    groups, stacks = np.divmod(distinct, max(count, 1))
    found = []
    for at, name in enumerate(names):
        mine = np.flatnonzero(groups == at)
        mine = mine[np.argsort(rank[stacks[mine]], kind="stable")]
        found.append(_Group(f" · {name}" if name else "", stacks[mine], values[mine]))
    return sorted(found, key=lambda one: -int(np.abs(one.values[:, samples.main]).sum()))


def _frames(functions: Functions) -> list[dict[str, Any]]:
    """Each function once; its module stands for a file that is not known."""
    frames: list[dict[str, Any]] = []
    for one, (first, last) in zip(functions.each, functions.lines, strict=True):
        frame: dict[str, Any] = {"name": one.name or "[unnamed]"}
        if one.file or one.module:
            frame["file"] = one.file or one.module
        if one.file and first and first == last:
            frame["line"] = first
        frames.append(frame)
    return frames


def _name(samples: Samples) -> str:
    origin = samples.origin
    where = ", ".join(Path(path).name for path in origin.recordings)
    said = f"{', '.join(origin.queries)} · {where}"
    return shown(f"{said} · {origin.selection}" if origin.selection else said)


def _viewer() -> tuple[list[str], str] | None:
    return (["speedscope"], "speedscope") if shutil.which("speedscope") else None


FORMAT = Format(
    name="speedscope",
    extension=".speedscope.json",
    answers="speedscope's JSON: left heavy, sandwich; opened by speedscope, or speedscope.app",
    wants=Samples,
    write=write_speedscope,
    rank=40,
    viewer=_viewer,
    viewer_hint="www.speedscope.app opens it in the browser; nothing is uploaded.",
)
