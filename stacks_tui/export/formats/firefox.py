"""Firefox Profiler: threads over time with samples, call tree, flame graph, markers, counters.

Comes in: a trace. Goes out: a processed profile, gzipped JSON. CPU samples are samples of weight 1;
what lasts (slices, waits, spans, IO) are markers with their stack. Without CPU samples, the stacks
of slices and waits, or else of all that lasts, are the samples, weighted by ms. The format, at a
version that newer ones upgrade: github.com/firefox-devtools/profiler, src/types/profile.ts and
docs-developer/CHANGELOG-formats.md.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import PurePath
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from stacks_tui import __version__
from stacks_tui.export.calltree import I64
from stacks_tui.export.functions import shown
from stacks_tui.export.gecko import CATEGORIES, VERSION, Strings, tables_of
from stacks_tui.export.model import COMPLETE, COUNTER, INSTANT, Label, Trace
from stacks_tui.export.registry import Format
from stacks_tui.export.task import Task

_GECKO_VERSION = 27
_SHOWN_THREADS = 15
_INSTANT, _INTERVAL = 0, 1
_SAMPLED = "profile"
_APART = ("switch", "wait")
_UNITS = {"nanoseconds": "nanoseconds", "bytes": "bytes"}


def write_firefox(trace: Trace, out: BinaryIO, task: Task) -> None:
    """Write the trace as a profile."""
    with gzip.GzipFile("", "wb", compresslevel=1, fileobj=out, mtime=0) as file:
        _Writer(trace, file, task).write()


@dataclass(frozen=True, slots=True)
class _Thread:
    """The events of one thread, by index in the trace; in the order of time."""

    pid: int
    tid: int
    events: I64


class _Writer:
    def __init__(self, trace: Trace, file: gzip.GzipFile, task: Task) -> None:
        self._trace, self._file, self._task = trace, file, task
        self._strings = Strings()
        self._names = [self._strings(name) for name in trace.name.dictionary.to_pylist()]
        self._kinds = trace.kind.dictionary.to_pylist()
        self._name_of = _codes(trace.name)
        self._kind_of = _codes(trace.kind)
        sampled = self._kinds.index(_SAMPLED) if _SAMPLED in self._kinds else -2
        stack = np.where(trace.stack >= 0, trace.stack, trace.end_stack)
        self._is_sample = (trace.event == INSTANT) & (self._kind_of == sampled)
        self._weighted = not self._is_sample.any()
        if self._weighted:
            self._is_sample = (trace.event == COMPLETE) & (stack >= 0) & self._weighed()
        self._is_marker = (trace.event != COUNTER) & (self._kind_of != sampled)
        self._time = trace.start_ns / 1e6
        self._details = [_Detail(label) for label in trace.more]
        task.step("making the tree")
        self._tables, tree = tables_of(trace.stacks, self._strings)
        self._nothing = len(tree)
        # [events] the row of the stack table; -1: none
        self._stack = np.concatenate([tree.last, [-1]])[stack]

    def _weighed(self) -> npt.NDArray[np.bool_]:
        """[events] slices and waits, whose times don't overlap; where there are none, all."""
        apart = [code for code, kind in enumerate(self._kinds) if kind in _APART]
        found = np.isin(self._kind_of, apart)
        return found if found.any() else ~found

    def write(self) -> None:
        threads = self._threads()
        self._put("{")
        self._member("meta", self._meta(threads))
        self._member("libs", self._tables.pop("libs"))
        self._member("pages", [])
        self._member("counters", self._counters(threads))
        self._put('"threads":[')
        for at, thread in enumerate(threads):
            self._task.step("writing threads", at, len(threads))
            self._put("," if at else "")
            self._thread(thread)
        self._put("],")
        shared = {"stringArray": list(self._strings.index), **self._tables}
        self._put(f'"shared":{_json(shared)}}}')

    def _put(self, text: str) -> None:
        self._file.write(text.encode())

    def _member(self, name: str, value: Any) -> None:
        self._put(f"{_json(name)}:{_json(value)},")

    def _threads(self) -> list[_Thread]:
        """Every thread that has events; what belongs to a process is its main thread's."""
        trace = self._trace
        if not len(trace):  # viewers refuse a profile of no thread
            return [_Thread(0, 0, np.zeros(0, np.int64))]
        tid = np.where(trace.tid < 0, trace.pid, trace.tid)
        order = np.lexsort((tid, trace.pid))
        keys = np.stack([trace.pid[order], tid[order]], axis=1)
        starts = np.flatnonzero(np.any(keys[1:] != keys[:-1], axis=1)) + 1
        return [
            _Thread(int(trace.pid[part[0]]), int(tid[part[0]]), part)
            for part in np.split(order, starts)
            if len(part)
        ]

    def _meta(self, threads: Sequence[_Thread]) -> dict[str, Any]:
        trace, origin = self._trace, self._trace.origin
        begin = (origin.window.begin - trace.zero) / 1e6
        # the most active ones: by samples, then by markers
        active = sorted(
            range(len(threads)),
            key=lambda at: (
                -int(self._is_sample[threads[at].events].sum()),
                -len(threads[at].events),
            ),
        )
        asked = list(zip(origin.queries, origin.questions, strict=True))
        said = [
            *(("query", f"{name}: {question}") for name, question in asked),
            *(("recording", path) for path in origin.recordings),
            *([("only", origin.selection)] if origin.selection else []),
            *(("recorded", line) for line in (*origin.comments, *origin.trust)),
            *(("note", line) for line in self._task.notes),
        ]
        executable = PurePath(origin.executable[0]).name if origin.executable else ""
        return {
            "interval": origin.period_ns / 1e6 or 1,
            "startTime": trace.zero / 1e6,
            "profilingStartTime": begin,
            "profilingEndTime": (origin.window.end - trace.zero) / 1e6,
            "processType": 0,
            "product": shown(self._task.options.title or executable or "stacks-tui"),
            "importedFrom": f"stacks-tui {__version__}",
            "oscpu": "Linux",
            "stackwalk": 1,
            "debug": False,
            "version": _GECKO_VERSION,
            "preprocessedProfileVersion": VERSION,
            "symbolicated": True,
            "usesOnlyOneStackType": True,
            "sourceCodeIsNotOnSearchfox": True,
            "sampleUnits": {"time": "ms", "eventDelay": "ms", "threadCPUDelta": "ns"},
            "categories": [
                {"name": name, "color": color, "subcategories": ["Other"]}
                for name, color in CATEGORIES
            ],
            "markerSchema": self._schemas(),
            "initialVisibleThreads": active[:_SHOWN_THREADS],
            "initialSelectedThreads": active[:1],
            "extra": [
                {
                    "label": "stacks-tui",
                    "entries": [
                        {"label": label, "format": "string", "value": shown(value)}
                        for label, value in said
                    ],
                }
            ],
        }

    def _schemas(self) -> list[dict[str, Any]]:
        """One type of markers for each kind."""
        fields = [
            {"key": detail.key, "label": detail.name, "format": detail.format}
            for detail in self._details
        ]
        return [
            {
                "name": kind,
                "tooltipLabel": "{marker.name}",
                "tableLabel": "{marker.name}",
                "chartLabel": "{marker.name}",
                "display": ["marker-chart", "marker-table", "timeline-overview"],
                "fields": [
                    {"key": "amount", "format": _amount_format(kind)},
                    {"key": "cpu", "format": "integer"},
                    *fields,
                ],
            }
            for kind in dict.fromkeys(self._marker_types())
        ]

    def _marker_types(self) -> list[str]:
        return [shown(kind) or "event" for kind in (*self._kinds, "event")]

    def _counters(self, threads: Sequence[_Thread]) -> list[dict[str, Any]]:
        """Of each process and name; a viewer adds up the changes."""
        trace = self._trace
        at = np.flatnonzero(trace.event == COUNTER)
        first = {thread.pid: at for at, thread in reversed(list(enumerate(threads)))}
        unit = trace.detail("unit")
        units = unit.values.to_pylist() if unit is not None else None
        found = []
        order = at[np.lexsort((self._name_of[at], trace.pid[at]))]
        keys = np.stack([trace.pid[order], self._name_of[order]], axis=1)
        for part in np.split(order, np.flatnonzero(np.any(keys[1:] != keys[:-1], axis=1)) + 1):
            if not len(part):
                continue
            pid, name = int(trace.pid[part[0]]), trace.name[int(part[0])].as_py()
            kind = trace.kind[int(part[0])].as_py()
            counts = units[int(part[0])] if units else "bytes" if kind == "rss" else ""
            found.append(
                {
                    "name": shown(name),
                    "category": "Memory" if kind == "rss" else "counter",
                    "description": shown(name),
                    "pid": str(pid),
                    "mainThreadIndex": first[pid],
                    "samples": {
                        "time": self._time[part].tolist(),
                        "count": np.diff(trace.amount[part], prepend=0).tolist(),
                        "length": len(part),
                    },
                    "display": {
                        "graphType": "line-accumulated",
                        "unit": "bytes" if counts == "bytes" else "",
                        "color": "orange" if kind == "rss" else "blue",
                        "markerSchemaLocation": None,
                        "sortWeight": 20,
                        "label": shown(name),
                    },
                }
            )
        return found

    def _thread(self, thread: _Thread) -> None:
        trace = self._trace
        events = thread.events
        name = trace.threads.get((thread.pid, thread.tid)) or str(thread.tid)
        self._put("{")
        for key, value in (
            ("processType", "default"),
            ("processStartupTime", 0),
            ("processShutdownTime", None),
            ("registerTime", 0),
            ("unregisterTime", None),
            ("pausedRanges", []),
            ("showMarkersInTimeline", True),
            ("name", shown(name)),
            ("processName", shown(trace.processes.get(thread.pid)) or str(thread.pid)),
            ("isMainThread", thread.pid == thread.tid),
            ("pid", str(thread.pid)),
            ("tid", thread.tid),
            ("samples", self._samples(events[self._is_sample[events]])),
        ):
            self._member(key, value)
        self._put('"markers":')
        self._markers(thread, events[self._is_marker[events]])
        self._put("}")

    def _samples(self, events: I64) -> dict[str, Any]:
        stacks = self._stack[events]
        found = {
            "stack": np.where(stacks >= 0, stacks, self._nothing).tolist(),
            "time": self._time[events].tolist(),
            "weight": None,
            "weightType": "samples",
            "length": len(events),
        }
        if self._weighted:
            weights = (self._trace.duration_ns[events] / 1e6).tolist()
            return {**found, "weight": weights, "weightType": "tracing-ms"}
        # a sample is taken each time a CPU was used for a period
        return {**found, "threadCPUDelta": [self._trace.origin.period_ns] * len(events)}

    def _markers(self, thread: _Thread, events: I64) -> None:
        trace = self._trace
        lasts = trace.event[events] == COMPLETE
        ends = (trace.start_ns[events] + trace.duration_ns[events]) / 1e6
        columns = {
            "name": [self._names[code] for code in self._name_of[events].tolist()],
            "startTime": self._time[events].tolist(),
            "endTime": [
                end if last else None
                for end, last in zip(ends.tolist(), lasts.tolist(), strict=True)
            ],
            "phase": np.where(lasts, _INTERVAL, _INSTANT).tolist(),
            "category": [0] * len(events),
            "length": len(events),
        }
        self._put(_json(columns)[:-1] + ',"data":[')
        self._put(",".join(self._payloads(thread, events, ends)))
        self._put("]}")

    def _payloads(self, thread: _Thread, events: I64, ends: npt.NDArray[np.float64]) -> list[str]:
        """The data of each marker as JSON; columns become text once for each distinct value."""
        trace = self._trace
        types = [f'{{"type":{_json(kind)}' for kind in self._marker_types()]
        left = trace.stack[events] < 0  # the stack is that of the end
        when = np.where(left, ends, self._time[events]).tolist()
        parts = [
            [types[code] for code in self._kind_of[events].tolist()],
            [f',"amount":{value}' if value else "" for value in trace.amount[events].tolist()],
            [f',"cpu":{value}' if value >= 0 else "" for value in trace.cpu[events].tolist()],
            *(detail.texts(events) for detail in self._details),
            [
                f',"cause":{{"tid":{thread.tid},"time":{time!r},"stack":{stack}}}}}'
                if stack >= 0
                else "}"
                for stack, time in zip(self._stack[events].tolist(), when, strict=True)
            ],
        ]
        return list(map("".join, zip(*parts, strict=True)))


class _Detail:
    """A further column, as a field of markers."""

    def __init__(self, label: Label) -> None:
        self._values = label.values
        self.name = shown(label.name)
        # a key of our own may not be hidden by a column of that name
        self.key = f"{self.name}_" if self.name in ("type", "cause", "amount", "cpu") else self.name
        number = _UNITS.get(label.unit, "integer")
        self.format = number if label.numeric else "string"

    def texts(self, events: I64) -> list[str]:
        """Of each event: the member as JSON, empty where it has none."""
        coded = self._values.take(pa.array(events)).dictionary_encode("encode")
        members = [
            "" if value is None else f",{_json(self.key)}:{_json(_plain(value))}"
            for value in coded.dictionary.to_pylist()
        ]
        return [members[code] for code in np.asarray(coded.indices).tolist()]


def _amount_format(kind: str) -> str:
    return "bytes" if kind.partition("_")[0] in ("vfs", "blk", "tcp", "udp") else "integer"


def _codes(column: pa.DictionaryArray) -> I64:
    """[rows] index into its dictionary; -1: null."""
    return np.asarray(column.indices.fill_null(-1)).astype(np.int64)


def _plain(value: Any) -> Any:
    """A detail as it is shown: a stack's lines in one."""
    return " ← ".join(map(shown, value.split("\n"))) if isinstance(value, str) else value


def _json(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"))


FORMAT = Format(
    name="firefox",
    extension=".firefox.json.gz",
    answers="Firefox Profiler: threads over time, call trees, markers; opened by "
    "profiler.firefox.com",
    wants=Trace,
    write=write_firefox,
    rank=60,
    viewer_hint="drop it on profiler.firefox.com; it stays in the browser unless you share it.",
)
