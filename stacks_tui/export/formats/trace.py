"""Chrome's trace events as JSON: what Chrome's trace viewer, catapult and Perfetto's page read.

Comes in: a trace. Goes out: one JSON object ("Trace Event Format", catapult). Times are µs with
three digits after the point, so to the ns. A stack is there twice: as a number of `stackFrames`
(`sf` where an event begins, `esf` where it ends), and as text in `args`, because Perfetto's page
does not show `stackFrames`.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from stacks_tui import __version__, text
from stacks_tui.export import columns
from stacks_tui.export.calltree import Paths, grow
from stacks_tui.export.model import COMPLETE, COUNTER, INSTANT, Label, Trace
from stacks_tui.export.registry import Format
from stacks_tui.export.task import Task
from stacks_tui.export.trace_page import make_page
from stacks_tui.export.tracks import lay_out, process_title, track_title

I64 = npt.NDArray[np.int64]
Mask = npt.NDArray[np.bool_]

_ROWS = 32_768
"""Events written at a time."""
_TIDS = 1 << 22
"""Linux numbers threads below it; a thread's further tracks are threads for viewers, numbered so
many apart."""
_MANY = 500_000
_MOST_TEXT = 128 << 20
"""Bytes of stacks in `args`; where they were more, viewers could hardly load the file."""
_HEADS = {
    COMPLETE: ',\n{"ph":"X","name":',
    COUNTER: ',\n{"ph":"C","name":',
    INSTANT: ',\n{"ph":"i","s":"t","name":',
}
_COLOURS = {
    "on CPU": "thread_state_running",
    "runnable": "thread_state_runnable",
    "waits for a CPU": "thread_state_runnable",
    "blocked: disk": "thread_state_iowait",
    "blocked: sleeping": "thread_state_sleeping",
    "off CPU": "thread_state_sleeping",
}
"""By name: catapult's colours of what threads do."""
_OF_PROCESS = ',\n{"ph":"i","s":"p","name":'


def write_trace(trace: Trace, out: BinaryIO, task: Task) -> None:
    """Write the trace as JSON."""
    _Writer(trace, out, task).write()


class _Writer:
    def __init__(self, trace: Trace, out: BinaryIO, task: Task) -> None:
        self._trace = trace
        self._out = out
        self._task = task
        self._layout = lay_out(trace)
        self._tids = self._numbers()
        self._shift = -min(int(trace.start_ns.min(initial=0)), 0)
        """Viewers want no negative times."""
        self._tree = grow(Paths(trace.stacks.places, trace.stacks.offsets))
        self._leaf = np.append(self._tree.last, -1)
        """[stacks + 1] the node of each one's leaf; at the end for -1: no stack."""
        self._frames = [
            "\\n".join(columns.quoted(line.name)[1:-1] for line in location.lines)
            for location in trace.stacks.locations
        ]
        self._texts = self._text_bytes() <= _MOST_TEXT
        self._names = columns.json_texts(trace.name)
        colours = [_COLOURS.get(name) for name in trace.name.dictionary.to_pylist()]
        quoted = [f',"cname":"{colour}"' if colour else "" for colour in colours]
        self._colours = pa.array(quoted, pa.large_string())
        """[names of the dictionary] as the events have it."""
        self._kinds = columns.json_texts(trace.kind)
        unit = trace.detail("unit")
        none = pa.nulls(len(trace), pa.string())
        self._units = columns.json_texts(none if unit is None else unit.values)

    def write(self) -> None:
        trace, task, out = self._trace, self._task, self._out
        out.write(b'{"displayTimeUnit":"ns","otherData":' + self._about())
        out.write(b',\n"traceEvents":[\n')
        out.write(",\n".join(self._metadata()).encode())
        for first in range(0, len(trace), _ROWS):
            out.write(self._events(slice(first, min(first + _ROWS, len(trace)))))
            task.step("writing events", first, len(trace))
        arrows = trace.flows()
        for first in range(0, len(arrows), _ROWS):
            out.write(self._arrows(arrows[first : first + _ROWS], first))
            task.step("writing arrows", first, len(arrows))
        out.write(b'\n],\n"stackFrames":{')
        for first in range(0, len(self._tree), _ROWS):
            frames = self._stack_frames(first)
            out.write(frames if first else frames[1:])  # no comma before the first
            task.step("writing frames", first, len(self._tree))
        out.write(b"\n}}\n")
        if not self._texts:
            task.note(
                "stacks are in stackFrames only, not as text in args too, which Perfetto's page "
                "needs: it would be too much; --format perfetto has them for that page."
            )
        if len(trace) > _MANY:
            task.note(
                "viewers of JSON are slow with so many events: --format perfetto is smaller and "
                "opens faster; --last and --pid select less."
            )

    def _text_bytes(self) -> int:
        """How much text the stacks of all events are."""
        trace, stacks = self._trace, self._trace.stacks
        sizes = np.array([len(name) + 2 for name in self._frames], np.int64)
        ends = np.concatenate([[0], np.cumsum(sizes[stacks.places])])[stacks.offsets]
        each = np.append(np.diff(ends), 0)  # -1: no stack
        return int(each[trace.stack].sum() + each[trace.end_stack].sum())

    def _numbers(self) -> I64:
        """[tracks] what stands as their thread's number: further ones must not be another's."""
        count: dict[tuple[int, int], int] = {}
        found = []
        for track in self._layout.tracks:
            if track.counter:
                found.append(0)
                continue
            own = track.tid if track.tid >= 0 else track.pid
            more = count.get((track.pid, own), 0) + bool(track.name or track.tid < 0)
            count[track.pid, own] = more
            found.append(own + more * _TIDS)
        return np.array(found, np.int64)

    def _about(self) -> bytes:
        origin = self._trace.origin
        said = {
            "tool": f"stacks-tui {__version__}",
            "recordings": [text.valid(path) for path in origin.recordings],
            "queries": list(origin.queries),
            "selection": origin.selection,
            "comments": [text.valid(line) for line in (*origin.comments, *origin.trust)],
            "zero_ns_since_epoch": str(self._trace.zero - self._shift),
        }
        return columns.json_of(said).encode()

    def _metadata(self) -> Iterator[str]:
        """Names and order of processes and threads."""
        for at, pid in enumerate(sorted(self._trace.processes)):
            yield _meta("process_name", pid, 0, name=process_title(self._trace, pid))
            yield _meta("process_sort_index", pid, 0, sort_index=at)
        for at, track in enumerate(self._layout.tracks):
            if not track.counter:
                tid = int(self._tids[at])
                yield _meta("thread_name", track.pid, tid, name=track_title(self._trace, track))
                yield _meta("thread_sort_index", track.pid, tid, sort_index=at)

    def _events(self, rows: slice) -> bytes:
        """Some events, each after a comma."""
        trace = self._trace
        event, tid = trace.event[rows], trace.tid[rows]
        counter, complete = event == COUNTER, event == COMPLETE
        head = np.where((event == INSTANT) & (tid < 0), len(_HEADS), event)
        track = self._tids[self._layout.track[rows]]
        lines = columns.joined(
            columns.chosen([*_HEADS.values(), _OF_PROCESS], head),
            columns.part(self._names, rows),
            columns.or_nothing(columns.joined(',"cat":', columns.part(self._kinds, rows))),
            self._colours.take(columns.part(trace.name.indices, rows)),
            ',"pid":',
            columns.whole(trace.pid[rows]),
            columns.whole_where(',"tid":', track, ~counter),
            ',"ts":',
            columns.microseconds(trace.start_ns[rows] + self._shift),
            columns.or_nothing(
                columns.joined(',"dur":', columns.microseconds(trace.duration_ns[rows])), complete
            ),
            self._frame(',"sf":', trace.stack[rows], counter),
            self._frame(',"esf":', trace.end_stack[rows], counter),
            ',"args":{',
            self._args(rows, counter),
            "}}",
        )
        return columns.data_of(lines)

    def _frame(self, key: str, stacks: I64, counter: Mask) -> pa.Array:
        return columns.whole_where(key, self._leaf[stacks], (stacks >= 0) & ~counter)

    def _args(self, rows: slice, counter: Mask) -> pa.Array:
        """The value of a counter; the details of other events."""
        trace = self._trace
        amount, cpu = trace.amount[rows], trace.cpu[rows].astype(np.int64)
        unit = columns.part(self._units, rows).fill_null('"value"')
        details = columns.joined(
            columns.whole_where(',"cpu":', cpu, cpu >= 0),
            columns.whole_where(',"amount":', amount, amount != 0),
            *(self._detail(label, rows) for label in trace.more if label.name != "unit"),
            self._stack_text(',"stack":', trace.stack[rows]),
            self._stack_text(',"end_stack":', trace.end_stack[rows]),
        )
        return pc.if_else(
            pa.array(counter),
            columns.joined(unit, ":", columns.whole(amount)),
            pc.utf8_slice_codeunits(details, 1),  # no comma before the first
        )

    def _detail(self, label: Label, rows: slice) -> pa.Array:
        name = f"{label.name}_ns" if label.unit == "nanoseconds" else label.name
        found = columns.json_texts(columns.part(label.values, rows))
        return columns.or_nothing(columns.joined(f",{columns.quoted(name)}:", found))

    def _stack_text(self, key: str, stacks: I64) -> pa.Array:
        """Names of frames, leaf first, a line each."""
        if not self._texts:
            return pa.array(np.full(len(stacks), ""), pa.large_string())
        used, which = np.unique(stacks, return_inverse=True)
        texts = [None if at < 0 else self._text(at) for at in used.tolist()]
        found = columns.chosen(texts, which.reshape(len(stacks)))
        return columns.or_nothing(columns.joined(key, found))

    def _text(self, stack: int) -> str:
        stacks = self._trace.stacks
        places = stacks.places[stacks.offsets[stack] : stacks.offsets[stack + 1]].tolist()
        return '"' + "\\n".join([self._frames[at] for at in places]) + '"'

    def _arrows(self, arrows: I64, first: int) -> bytes:
        """`s` where each begins, `f` where it ends: in the slices around these moments."""
        number = columns.whole(np.arange(first, first + len(arrows)))
        ends: list[pa.Array | str] = []
        for at, head in ((arrows[:, 0], '"s"'), (arrows[:, 1], '"f","bp":"e"')):
            ends += [
                f',\n{{"ph":{head},"name":"wakeup","cat":"flow","id":',
                number,
                ',"pid":',
                columns.whole(self._trace.pid[at]),
                ',"tid":',
                columns.whole(self._tids[self._layout.track[at]]),
                ',"ts":',
                columns.microseconds(self._trace.start_ns[at] + self._shift),
                "}",
            ]
        return columns.data_of(columns.joined(*ends))

    def _stack_frames(self, first: int) -> bytes:
        """Some frames, `"7":{"name":…,"category":…,"parent":"3"}`, each after a comma."""
        place = self._tree.key[first : first + _ROWS]
        parent = self._tree.parent[first : first + _ROWS]
        used, which = np.unique(place, return_inverse=True)
        locations = [self._trace.stacks.locations[at] for at in used.tolist()]
        names = [" < ".join(line.name for line in one.lines) for one in locations]
        modules = [one.module or ("[kernel]" if one.kernel else "?") for one in locations]
        which = which.reshape(len(place))
        caller = columns.joined(',"parent":"', columns.whole(parent), '"')
        lines = columns.joined(
            ',\n"',
            columns.whole(np.arange(first, first + len(place))),
            '":{"name":',
            columns.chosen([columns.quoted(name) for name in names], which),
            ',"category":',
            columns.chosen([columns.quoted(name) for name in modules], which),
            columns.or_nothing(caller, parent >= 0),
            "}",
        )
        return columns.data_of(lines)


def _meta(name: str, pid: int, tid: int, /, **args: Any) -> str:
    return columns.json_of({"ph": "M", "name": name, "pid": pid, "tid": tid, "args": args})


FORMAT = Format(
    name="trace",
    extension=".json",
    answers="a timeline of threads in Chrome's JSON; opened by ui.perfetto.dev, Chrome's viewer",
    wants=Trace,
    write=write_trace,
    rank=30,
    variants=("perfetto", "html"),
    viewer_hint="ui.perfetto.dev opens it: drag it there, or --perfetto-ui; nothing is uploaded. "
    "--page makes a web page of it.",
    page=make_page,
    perfetto=True,
)
