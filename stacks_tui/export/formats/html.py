"""A timeline as one HTML page that any browser opens, with no network and nothing to install.

Comes in: a trace. Goes out: the page of `assets/timeline.*`, with the events in columns of bytes,
gzipped. Slices, instants and counters on tracks, stacks, arrows, search, sums of a span of time.
"""

from __future__ import annotations

import base64
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from stacks_tui import text
from stacks_tui.export.calltree import Paths, grow
from stacks_tui.export.model import COMPLETE, Label, Trace
from stacks_tui.export.page import browser, json_text, write_page
from stacks_tui.export.registry import Format
from stacks_tui.export.task import Task
from stacks_tui.export.tracks import Layout, lay_out, process_title, track_title
from stacks_tui.store.manifest import iso_time

I64 = npt.NDArray[np.int64]

_MOST = 2_000_000
"""Events that a browser still draws at once; of more, the longest slices are kept."""
_CHUNK = 3 << 18
"""Bytes packed at a time."""


def write_html(trace: Trace, out: BinaryIO, task: Task) -> None:
    """Write the trace as a page."""
    kept, left_out = _kept(trace)
    if left_out:
        task.note(left_out)
    origin = trace.origin
    names = ", ".join(Path(path).name for path in origin.recordings[:3])
    title = task.options.title or f"{', '.join(origin.queries)} · {names}"
    write_page(out, "timeline", title, _data(trace, kept, title, left_out, task))


def _kept(trace: Trace) -> tuple[I64, str]:
    """Which events are drawn, and what to tell of the others."""
    count = len(trace)
    if count <= _MOST:
        return np.arange(count), ""
    slices = np.flatnonzero(trace.event == COMPLETE)
    others = np.flatnonzero(trace.event != COMPLETE)
    step = -(-len(others) // (_MOST // 2))
    thinned = others[::step] if step > 1 else others
    order = np.argsort(-trace.duration_ns[slices], kind="stable")
    drawn, left = np.split(slices[order], [_MOST - len(thinned)])
    parts = []
    if len(left):
        longest = text.duration(int(trace.duration_ns[left].max()))
        together = text.duration(int(trace.duration_ns[left].sum()))
        parts.append(f"{text.count(len(left))} slices of up to {longest} (together {together})")
    if step > 1:
        parts.append(f"{text.count(len(others) - len(thinned))} other events, evenly thinned")
    said = f"the page shows {text.count(_MOST)} of {text.count(count)} events; left out: "
    return np.sort(np.concatenate([drawn, thinned])), said + ", ".join(parts) + "."


@dataclass(frozen=True, slots=True)
class _Column:
    """Unsigned numbers, by planes: all lowest bytes, then all second ones … These pack well."""

    name: str
    values: npt.NDArray[np.uint64]

    @property
    def width(self) -> int:
        """Bytes of a value."""
        return (int(self.values.max(initial=0)).bit_length() + 7) // 8

    def planes(self) -> bytes:
        """The bytes, plane by plane."""
        data = self.values.astype("<u8").view(np.uint8).reshape(len(self.values), 8)
        return data[:, : self.width].T.tobytes()


def _data(trace: Trace, kept: I64, title: str, left_out: str, task: Task) -> Iterator[str]:
    """The page's data as JSON."""
    layout = lay_out(trace)
    order = kept[
        np.lexsort(
            (trace.start_ns[kept], layout.depth[kept], trace.event[kept], layout.track[kept])
        )
    ]
    rows = np.stack([layout.track[order], trace.event[order], layout.depth[order]], axis=1)
    begins = np.flatnonzero(np.r_[True, (rows[1:] != rows[:-1]).any(axis=1)][: len(order)])
    counts = np.diff(np.r_[begins, len(order)])
    zero = min(int(trace.start_ns.min(initial=0)), 0)
    columns = list(_columns(trace, order, begins, zero))
    head = {
        "about": _about(trace, title, left_out, zero),
        "processes": [[pid, _shown(process_title(trace, pid))] for pid in sorted(trace.processes)],
        "tracks": _tracks(trace, layout),
        "rows": [
            [*row, first, count]
            for row, first, count in zip(
                rows[begins].tolist(), begins.tolist(), counts.tolist(), strict=True
            )
        ],
        "names": [_shown(name) for name in trace.name.dictionary.to_pylist()],
        "kinds": [_shown(name) for name in trace.kind.dictionary.to_pylist()],
        "frames": [
            [
                _shown(" < ".join(line.name for line in one.lines)),
                _shown(one.module or ("[kernel]" if one.kernel else "")),
                _source(one.lines[0].file, one.lines[0].line),
            ]
            for one in trace.stacks.locations
        ],
        "details": [_detail(label) for label in trace.more if label.name != "unit"],
        "columns": [[one.name, one.width, len(one.values)] for one in columns],
    }
    yield json_text(head)[:-1] + ',"bytes":"'
    yield from _base64(columns, task)
    yield '"}'


def _columns(trace: Trace, order: I64, begins: I64, zero: int) -> Iterator[_Column]:
    start = trace.start_ns[order] - zero
    since = np.diff(start, prepend=0)
    since[begins] = start[begins]
    tree = grow(Paths(trace.stacks.places, trace.stacks.offsets))
    leaf = np.append(tree.last, -1)  # at the end for -1: no stack
    yield _unsigned("since", since)
    yield _unsigned("duration", trace.duration_ns[order])
    yield _unsigned("name", np.asarray(trace.name.indices).astype(np.int64)[order])
    kind = np.asarray(trace.kind.indices.fill_null(-1)).astype(np.int64)
    yield _unsigned("kind", kind[order] + 1)
    yield _unsigned("cpu", trace.cpu[order].astype(np.int64) + 1)
    yield _unsigned("amount", _zigzag(trace.amount[order]))
    yield _unsigned("stack", leaf[trace.stack[order]] + 1)
    yield _unsigned("end_stack", leaf[trace.end_stack[order]] + 1)
    for at, label in enumerate(label for label in trace.more if label.name != "unit"):
        values, _ = _coded(label)
        yield _unsigned(f"detail {at}", values[order])
    yield _unsigned("place", tree.key)
    yield _unsigned("parent", tree.parent + 1)
    where = np.full(len(trace), -1, np.int64)
    where[order] = np.arange(len(order))
    arrows = where[trace.flows()]
    arrows = arrows[(arrows >= 0).all(axis=1)]
    yield _unsigned("from", arrows[:, 0])
    yield _unsigned("to", arrows[:, 1])


def _unsigned(name: str, values: npt.NDArray[np.integer[Any]]) -> _Column:
    return _Column(name, values.astype(np.uint64))


def _zigzag(values: I64) -> I64:
    """0, -1, 1, -2 … as 0, 1, 2, 3 …"""
    return (values << 1) ^ (values >> 63)


def _coded(label: Label) -> tuple[I64, list[str]]:
    """A detail of every event, 0: none; otherwise one more than the number, or that of its text."""
    column = label.values
    texts: list[str] = []
    if not label.numeric:
        coded = column if pa.types.is_dictionary(column.type) else column.dictionary_encode()
        texts, column = coded.dictionary.to_pylist(), coded.indices
    values = np.asarray(pc.fill_null(column, 0)).astype(np.int64)
    if label.numeric:
        values = _zigzag(values)
    return np.where(np.asarray(column.is_valid()), values + 1, 0), texts


def _detail(label: Label) -> dict[str, Any]:
    texts = None if label.numeric else [_shown(one) for one in _coded(label)[1]]
    return {"name": _shown(label.name), "unit": label.unit, "texts": texts}


def _tracks(trace: Trace, layout: Layout) -> list[list[Any]]:
    """Process, name, thread (-1: none), whether it is a thread's own, unit of a counter or null."""
    process = {pid: at for at, pid in enumerate(sorted(trace.processes))}
    return [
        [
            process[track.pid],
            _shown(track_title(trace, track)),
            track.tid,
            not track.name,
            _shown(track.unit) if track.counter else None,
        ]
        for track in layout.tracks
    ]


def _about(trace: Trace, title: str, left_out: str, zero: int) -> dict[str, Any]:
    origin = trace.origin
    return {
        "title": _shown(title),
        "asked": [
            [_shown(name), _shown(question)]
            for name, question in zip(origin.queries, origin.questions, strict=True)
        ],
        "recordings": [_shown(path) for path in origin.recordings],
        "selection": _shown(origin.selection),
        "comments": [_shown(line) for line in (*origin.comments, *origin.trust)],
        "begin": iso_time(trace.zero + zero),
        "events": len(trace),
        "left_out": left_out,
    }


def _shown(name: str | None) -> str:
    """A text of the system, with escapes for what a browser would not show."""
    return text.printable(name or "")


def _source(file: str | None, line: int) -> str:
    return "" if not file else _shown(f"{file}:{line}" if line else file)


def _base64(columns: list[_Column], task: Task) -> Iterator[str]:
    """The planes of all columns, gzipped, in base64."""
    pack = zlib.compressobj(6, wbits=31)
    total = sum(column.width * len(column.values) for column in columns)
    ready, done = b"", 0
    for column in columns:
        planes = column.planes()
        for first in range(0, len(planes), _CHUNK):
            ready += pack.compress(planes[first : first + _CHUNK])
            whole = len(ready) // 3 * 3
            yield base64.b64encode(ready[:whole]).decode()
            ready = ready[whole:]
            task.step("packing", done + first, total)
        done += len(planes)
    yield base64.b64encode(ready + pack.flush()).decode()


FORMAT = Format(
    name="html",
    extension=".html",
    answers="a timeline of threads in one HTML file: zoom, search, stacks; any browser opens it",
    wants=Trace,
    write=write_html,
    rank=32,
    hidden=True,
    viewer=browser,
    viewer_hint="any browser opens it.",
)
