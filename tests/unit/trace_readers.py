"""What the trace queries themselves return, and readers of the files that are made of it."""

from __future__ import annotations

import json
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from store_rows import me

from stacks_tui.export.job import ExportResult, Job, export
from stacks_tui.export.questions import TRACES, ask, find_question, recorded, rows_of
from stacks_tui.export.registry import find_format
from stacks_tui.export.selection import Selection
from stacks_tui.export.task import ExportOptions, Task
from stacks_tui.store.reader import open_recording

ALL = (
    *("switches", "waits", "wakeups", "samples", "rss", "spans", "io"),
    *("run_queue", "io_rate", "slow_spans", "stuck_spans"),
)


def made(
    recording: Path,
    out: Path,
    form: str = "trace",
    *asked: str,
    options: ExportOptions | None = None,
    **filters: Any,
) -> ExportResult:
    """Export to a file."""
    job = Job(
        (recording,),
        find_format(form),
        asked or ALL,
        Selection(**filters),
        options=options or ExportOptions(),
        path=out,
    )
    return export(job, user=me())


@dataclass
class Found:
    """What a trace holds, by (kind, name) of its events."""

    slices: dict[tuple[str, str], list[tuple[int, int]]] = field(
        default_factory=lambda: defaultdict(list)
    )
    """(start, duration), ns."""
    instants: dict[tuple[str, str], list[int]] = field(default_factory=lambda: defaultdict(list))
    counters: dict[str, list[tuple[int, int]]] = field(default_factory=lambda: defaultdict(list))
    """(time, value), by name."""
    arrows: set[tuple[int, int]] = field(default_factory=set)
    """Times from which and to which."""
    stacks: Counter[tuple[str, tuple[str, ...]]] = field(default_factory=Counter)
    """(kind, names leaf first) of stacks at starts and ends."""

    def sorted(self) -> Found:
        """The same, in an order that can be compared."""
        for events in (self.slices, self.counters):
            for pairs in events.values():
                pairs.sort()
        for times in self.instants.values():
            times.sort()
        return self


def by_sql(recording: Path, *asked: str, **filters: Any) -> Found:
    """What the queries return, read without any code of the exports' traces."""
    found = Found()
    ends: dict[int, list[int]] = defaultdict(lambda: [0, 0])
    with open_recording(recording, me()) as opened:
        names = {
            number: tuple(frame["name"] for frame in frames)
            for number, frames in opened.sql("select id, frames from stacks").fetchall()
        }
        span = recorded(opened)
        for name in asked or ALL:
            question = find_question(name, TRACES)
            relation = ask(opened, question, Selection(**filters), span, span.begin, Task())
            for row in rows_of(relation, question).to_pylist():
                time = row["start"] if row.get("start") is not None else row["timestamp"]
                start = round(float(time) * 1000)
                key = (row["kind"], row["name"])
                if row["event"] == "complete":
                    found.slices[key].append((start, round(float(row["duration"]) * 1000)))
                elif row["event"] == "instant":
                    found.instants[key].append(start)
                else:
                    found.counters[row["name"]].append((start, row["amount"]))
                if row.get("flow_out") is not None:
                    ends[row["flow_out"]][0] = start
                if row.get("flow_in") is not None:
                    ends[row["flow_in"]][1] = start
                if row["event"] != "counter":
                    for column in ("stack", "end_stack"):
                        ids = [one for one in row.get(column) or [] if one is not None]
                        if ids:
                            frames = tuple(name for one in ids for name in names[one])
                            found.stacks[row["kind"], frames] += 1
    found.arrows = {(begin, end) for begin, end in ends.values() if begin and end}
    return found.sorted()


def ns(microseconds: str) -> int:
    """µs as JSON has them, to the ns: never through a float."""
    whole, _, rest = microseconds.partition(".")
    assert len(rest) == 3, microseconds
    return int(whole) * 1000 + int(rest)


def read_json(path: Path) -> tuple[Found, dict[str, Any]]:
    """A trace in Chrome's JSON, and the whole object; its stacks are those of `stackFrames`."""
    trace = json.loads(path.read_text("utf-8"), parse_float=str)
    frames = trace["stackFrames"]

    def stack(number: int) -> tuple[str, ...]:
        names, at = [], str(number)
        while at:
            names.append(frames[at]["name"])
            at = frames[at].get("parent", "")
        return tuple(names)

    found = Found()
    ends: dict[int, list[int]] = defaultdict(lambda: [0, 0])
    for event in trace["traceEvents"]:
        kind = event["ph"]
        if kind == "M":
            continue
        time = ns(event["ts"])
        if kind == "X":
            found.slices[event.get("cat", ""), event["name"]].append((time, ns(event["dur"])))
        elif kind == "i":
            found.instants[event["cat"], event["name"]].append(time)
        elif kind == "C":
            (value,) = event["args"].values()
            found.counters[event["name"]].append((time, value))
        else:
            ends[event["id"]][kind == "f"] = time
        for key, text in (("sf", "stack"), ("esf", "end_stack")):
            if key in event:
                found.stacks[event["cat"], stack(event[key])] += 1
                assert event["args"][text] == "\n".join(stack(event[key]))
    found.arrows = {(begin, end) for begin, end in ends.values()}
    return found.sorted(), trace


def read_perfetto(path: Path) -> tuple[Found, Any]:
    """A trace in Perfetto's form, by Perfetto's own classes; skips where they are not."""
    module = pytest.importorskip("perfetto.protos.perfetto.trace.perfetto_trace_pb2")
    trace = module.Trace()
    trace.ParseFromString(path.read_bytes())
    event = module.TrackEvent
    found = Found()
    names: dict[str, dict[int, Any]] = defaultdict(dict)
    counters: dict[int, str] = {}
    flows: dict[int, list[int]] = defaultdict(lambda: [0, 0])
    changes: list[tuple[int, int, int, Any]] = []

    def stack(number: int) -> tuple[str, ...]:
        frames = [names["frames"][at] for at in names["callstacks"][number].frame_ids]
        for frame in frames:
            assert names["mappings"][frame.mapping_id].path_string_ids
        texts = [names["function_names"][frame.function_name_id].str.decode() for frame in frames]
        return tuple(reversed(texts))  # they are outermost first

    for at, packet in enumerate(trace.packet):
        assert packet.trusted_packet_sequence_id == 1
        for kind, entries in packet.interned_data.ListFields():
            for entry in entries:
                assert entry.iid not in names[kind.name], "interned once"
                names[kind.name][entry.iid] = entry
        descriptor = packet.track_descriptor
        if descriptor.HasField("counter"):
            counters[descriptor.uuid] = descriptor.name
        one = packet.track_event
        if packet.HasField("perf_sample"):
            found.instants["profile", "sample"].append(packet.timestamp)
            if packet.perf_sample.callstack_iid:
                found.stacks["profile", stack(packet.perf_sample.callstack_iid)] += 1
        elif not packet.HasField("track_event"):
            continue
        elif one.type == event.TYPE_COUNTER:
            found.counters[counters[one.track_uuid]].append((packet.timestamp, one.counter_value))
        else:
            changes.append((packet.timestamp, at, one.track_uuid, one))
        for flow in one.flow_ids:
            flows[flow][0] = packet.timestamp
        for flow in one.terminating_flow_ids:
            assert flows[flow][0] <= packet.timestamp and flow in flows, "it begins first"
            flows[flow][1] = packet.timestamp
    open_slices: dict[int, list[tuple[int, Any]]] = defaultdict(list)
    for time, _, track, one in sorted(changes, key=lambda change: change[:2]):
        if one.type == event.TYPE_SLICE_END:
            begin, first = open_slices[track].pop()
            key = _key(first, names)
            found.slices[key].append((begin, time - begin))
        elif one.type == event.TYPE_SLICE_BEGIN:
            key = _key(one, names)
            open_slices[track].append((time, one))
        else:
            key = _key(one, names)
            found.instants[key].append(time)
        if one.callstack_iid:
            found.stacks[key[0], stack(one.callstack_iid)] += 1
    assert not any(open_slices.values()), "what begins ends"
    found.arrows = {(begin, end) for begin, end in flows.values()}
    return found.sorted(), trace


def _key(event: Any, names: dict[str, dict[int, Any]]) -> tuple[str, str]:
    (kind,) = event.category_iids
    return names["event_categories"][kind].name, names["event_names"][event.name_iid].name
