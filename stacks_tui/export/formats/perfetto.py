"""Perfetto's own trace: for ui.perfetto.dev and its trace processor, also where it is large.

Comes in: a trace. Goes out: packets, length-delimited: tracks of processes, threads and counters;
slices, instants and arrows with interned names and call stacks; CPU samples as such. Written in
pieces: memory holds one of them, and what was interned so far.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from stacks_tui import text
from stacks_tui.export import perfetto_proto as proto
from stacks_tui.export import wire
from stacks_tui.export.model import COMPLETE, COUNTER, INSTANT, Label, Trace
from stacks_tui.export.registry import Format
from stacks_tui.export.task import Task
from stacks_tui.export.tracks import lay_out, process_title, track_title
from stacks_tui.export.wire import Mask, Piece

I64 = npt.NDArray[np.int64]

_ROWS = 16_384
"""Events written at a time."""
_SEQUENCE = 1
_NAMEABLE = range(1, 1 << 31)
"""Numbers of processes that Perfetto knows as such."""
_TYPES = np.zeros(3, np.int64)
_TYPES[[COMPLETE, COUNTER, INSTANT]] = proto.SLICE_BEGIN, proto.COUNTER, proto.INSTANT


def write_perfetto(trace: Trace, out: BinaryIO, task: Task) -> None:
    """Write the trace as packets."""
    _Writer(trace, out, task).write()


class _Writer:
    def __init__(self, trace: Trace, out: BinaryIO, task: Task) -> None:
        self._trace = trace
        self._out = out
        self._task = task
        self._class = proto.trace_class()
        self._layout = lay_out(trace)
        self._shift = -min(int(trace.start_ns.min(initial=0)), 0)
        """Times are unsigned."""
        self._details = [_Detail(label) for label in trace.more if label.name != "unit"]
        self._interned = _Interned(trace, self._details)
        self._name = np.asarray(trace.name.indices).astype(np.int64) + 1
        self._kind = np.asarray(trace.kind.indices.fill_null(-1)).astype(np.int64) + 1
        kinds = trace.kind.dictionary.to_pylist()
        profile = kinds.index("profile") + 1 if "profile" in kinds else -1
        self._sample: Mask = (
            (trace.event == INSTANT) & (self._kind == profile) & (trace.tid >= 0) & (trace.pid > 0)
        )
        """[events] CPU samples."""

    def write(self) -> None:
        trace, task = self._trace, self._task
        self._write_head()
        uuids = self._write_tracks()
        order = self._order()
        for first in range(0, len(trace), _ROWS):
            at = order[first : first + _ROWS]
            piece = self._class()
            if self._interned.fill(piece, at, self._name[at], self._kind[at]):
                self._put(piece)
            self._out.write(self._events(at, uuids[self._layout.track[at]]))
            task.step("writing events", first, len(trace))

    def _order(self) -> I64:
        """By time; of what happens at once, that from which an arrow leads first: Perfetto tells
        its direction by that."""
        trace = self._trace
        late = (trace.event != INSTANT) | (trace.flow_out < 0)
        return np.lexsort((-trace.duration_ns, late, trace.start_ns)).astype(np.int64)

    def _put(self, piece: Any) -> None:
        for packet in piece.packet:
            packet.trusted_packet_sequence_id = _SEQUENCE
        self._out.write(piece.SerializeToString(deterministic=True))

    def _write_head(self) -> None:
        """Clocks: times are BOOTTIME as if it had begun with the trace. What is the same in all."""
        piece = self._class()
        packet = piece.packet.add(sequence_flags=proto.BEGINS_ANEW | proto.NEEDS_STATE)
        packet.timestamp = 0
        packet.clock_snapshot.primary_trace_clock = proto.BOOTTIME
        packet.clock_snapshot.clocks.add(clock_id=proto.BOOTTIME, timestamp=0)
        packet.clock_snapshot.clocks.add(
            clock_id=proto.REALTIME, timestamp=max(self._trace.zero - self._shift, 0)
        )
        defaults = packet.trace_packet_defaults
        defaults.timestamp_clock_id = proto.BOOTTIME
        timebase = defaults.perf_sample_defaults.timebase
        timebase.name = "cpu-clock"
        timebase.counter = 1
        timebase.period = self._trace.origin.period_ns or 1
        for at, detail in enumerate(self._names(), 1):
            packet.interned_data.debug_annotation_names.add(iid=at, name=text.valid(detail))
        self._put(piece)

    def _names(self) -> list[str]:
        """The annotations of events; their numbers are their places, from 1 on."""
        return ["cpu", "amount", *(detail.name for detail in self._details)]

    def _write_tracks(self) -> I64:
        """Describe them; returns [tracks] their numbers."""
        trace, tracks = self._trace, self._layout.tracks
        made: dict[tuple[int, ...], int] = {}

        def new(key: tuple[int, ...], fill: Callable[[Any], None]) -> int:
            if key not in made:
                made[key] = len(made) + 1
                descriptor = piece.packet.add().track_descriptor
                descriptor.uuid = made[key]
                fill(descriptor)
            return made[key]

        def process(pid: int) -> int:
            def fill(one: Any) -> None:
                one.process.pid = pid
                one.process.process_name = text.valid(process_title(trace, pid))

            return new((pid,), fill) if pid in _NAMEABLE else 0

        def thread(pid: int, tid: int) -> int:
            def fill(one: Any) -> None:
                one.thread.pid, one.thread.tid = pid, tid
                one.thread.thread_name = text.valid(trace.threads.get((pid, tid)) or "")

            parent = process(pid)
            return new((pid, tid), fill) if parent and tid >= 0 else parent

        numbers = []
        for first in range(0, len(tracks), _ROWS):
            piece = self._class()
            for at, track in enumerate(tracks[first : first + _ROWS], first):
                parent = thread(track.pid, track.tid)
                if parent and not track.name and track.tid >= 0:
                    numbers.append(parent)
                    continue

                def fill(one: Any, track: Any = track, parent: int = parent) -> None:
                    # below its thread a track needs no name of it
                    one.name = text.valid((parent and track.name) or track_title(trace, track))
                    if parent:
                        one.parent_uuid = parent
                    if track.counter:
                        one.counter.unit = proto.UNITS.get(track.unit, 0)
                        if not one.counter.unit:
                            one.counter.unit_name = text.valid(track.unit)

                numbers.append(new((track.pid, track.tid, at), fill))
            self._put(piece)
        return np.array(numbers, np.int64)

    def _events(self, at: I64, uuid: I64) -> bytes:
        """The packets of these events."""
        trace = self._trace
        event, start = trace.event[at], trace.start_ns[at] + self._shift
        stack, end_stack = trace.stack[at], trace.end_stack[at]
        sample, complete = self._sample[at], event == COMPLETE
        plain = event != COUNTER
        body = wire.message(
            proto.TRACK_EVENT,
            wire.integer(proto.CATEGORY, self._kind[at], plain & (self._kind[at] > 0)),
            *(self._annotations(at, plain)),
            wire.integer(proto.TYPE, _TYPES[event]),
            wire.integer(proto.NAME, self._name[at], plain),
            wire.integer(proto.TRACK, uuid),
            wire.integer(proto.COUNTER_VALUE, trace.amount[at], ~plain),
            _flow(proto.FLOW, trace.flow_out[at]),
            _flow(proto.FLOW_END, trace.flow_in[at]),
            wire.integer(proto.CALLSTACK, stack + 1, plain & (stack >= 0)),
        )
        end = wire.message(
            proto.TRACK_EVENT,
            wire.integer(proto.TYPE, np.full(len(at), proto.SLICE_END)),
            wire.integer(proto.TRACK, uuid),
            wire.integer(proto.CALLSTACK, end_stack + 1, end_stack >= 0),
        )
        rows = [
            _packet(start, wire.only(body, ~sample)),
            _packet(start + trace.duration_ns[at], wire.only(end, complete)),
        ]
        if sample.any():
            rows.append(_packet(start, wire.only(self._perf_sample(at), sample)))
        return wire.to_bytes(wire.joined(*rows))

    def _perf_sample(self, at: I64) -> Piece:
        trace = self._trace
        stack, cpu = trace.stack[at], trace.cpu[at]
        kernel = self._interned.kernel[stack]
        return wire.message(
            proto.PERF_SAMPLE,
            wire.integer(proto.SAMPLE_CPU, cpu, cpu >= 0),
            wire.integer(proto.SAMPLE_PID, trace.pid[at]),
            wire.integer(proto.SAMPLE_TID, trace.tid[at]),
            wire.integer(proto.SAMPLE_CALLSTACK, stack + 1, stack >= 0),
            wire.integer(proto.SAMPLE_MODE, np.where(kernel, proto.MODE_KERNEL, proto.MODE_USER)),
        )

    def _annotations(self, at: I64, plain: Mask) -> list[Piece]:
        trace = self._trace
        cpu, amount = trace.cpu[at], trace.amount[at]
        given = [
            (proto.ANNOTATION_INT, cpu.astype(np.int64), cpu >= 0),
            (proto.ANNOTATION_INT, amount, amount != 0),
            *((one.field, one.values[at], one.there[at]) for one in self._details),
        ]
        pieces = []
        for number, (field, values, there) in enumerate(given, 1):
            written = there & plain
            if written.any():
                name = wire.integer(proto.ANNOTATION_NAME, np.full(len(at), number))
                value = wire.integer(field, values)
                pieces.append(wire.message(proto.ANNOTATION, name, value, rows=written))
        return pieces


class _Detail:
    """A further column of the queries: its numbers, or the numbers of its interned texts."""

    def __init__(self, label: Label) -> None:
        self.name = f"{label.name}_ns" if label.unit == "nanoseconds" else label.name
        self.field = proto.ANNOTATION_INT if label.numeric else proto.ANNOTATION_TEXT
        column = label.values
        self.texts: list[str] = []
        if not label.numeric:
            coded = column if pa.types.is_dictionary(column.type) else column.dictionary_encode()
            self.texts = coded.dictionary.to_pylist()
            column = coded.indices
        self.there = np.asarray(column.is_valid())
        self.values = np.asarray(column.fill_null(0)).astype(np.int64)


class _Interned:
    """Names, texts and stacks: each is written before the first event that has it."""

    def __init__(self, trace: Trace, details: list[_Detail]) -> None:
        self._trace = trace
        self._details = [detail for detail in details if detail.texts]
        first = 1
        for detail in self._details:
            detail.values += first  # one numbering for the texts of all
            first += len(detail.texts)
        self._known: dict[str, Mask] = {
            "name": np.zeros(len(trace.name.dictionary) + 1, np.bool_),
            "kind": np.zeros(len(trace.kind.dictionary) + 1, np.bool_),
            "stack": np.zeros(len(trace.stacks) + 1, np.bool_),
            "text": np.zeros(first, np.bool_),
        }
        self._known["kind"][0] = self._known["stack"][-1] = True  # these are none
        self._frame_of = np.cumsum([1, *(len(one.lines) for one in trace.stacks.locations)])
        """[locations + 1] number of each one's first frame."""
        self._described = np.zeros(len(trace.stacks.locations), np.bool_)
        self._strings: dict[tuple[str, bytes], int] = {}
        self._mappings: dict[tuple[str, bytes], int] = {}
        self.kernel = _kernel_leaves(trace)
        """[stacks + 1] whether the leaf is the kernel's; at the end for none."""

    def fill(self, piece: Any, at: I64, names: I64, kinds: I64) -> bool:
        """Add a packet with what these events are the first to have; False: nothing is new."""
        trace = self._trace
        data = piece.packet.add(sequence_flags=proto.NEEDS_STATE).interned_data
        name_of, kind_of = trace.name.dictionary, trace.kind.dictionary
        for code in self._new("name", names):
            data.event_names.add(iid=code, name=text.valid(name_of[code - 1].as_py()))
        for code in self._new("kind", kinds):
            data.event_categories.add(iid=code, name=text.valid(kind_of[code - 1].as_py()))
        first = 1
        for detail in self._details:
            for code in self._new("text", detail.values[at][detail.there[at]]):
                value = text.valid(detail.texts[code - first]).encode()
                data.debug_annotation_string_values.add(iid=code, str=value)
            first += len(detail.texts)
        for stack in self._new("stack", np.concatenate([trace.stack[at], trace.end_stack[at]])):
            self._add_stack(data, stack)
        return bool(data.ByteSize() > 0)

    def _new(self, what: str, codes: I64) -> list[int]:
        known = self._known[what]
        found = np.unique(codes[~known[codes]])
        known[found] = True
        return [int(code) for code in found]

    def _add_stack(self, data: Any, stack: int) -> None:
        """Frames outermost first; of inlined ones too."""
        stacks, frame_of = self._trace.stacks, self._frame_of
        places = stacks.places[stacks.offsets[stack] : stacks.offsets[stack + 1]][::-1].tolist()
        frames: list[int] = []
        for place in places:
            if not self._described[place]:
                self._described[place] = True
                self._add_frames(data, place)
            frames += range(int(frame_of[place]), int(frame_of[place + 1]))
        data.callstacks.add(iid=stack + 1, frame_ids=frames)

    def _add_frames(self, data: Any, place: int) -> None:
        location = self._trace.stacks.locations[place]
        module = text.valid(location.module or ("[kernel]" if location.kernel else "[unknown]"))
        mapping = self._mapping(data, (module, location.buildid or b""))
        first = int(self._frame_of[place])
        for number, line in enumerate(reversed(location.lines), first):
            frame = data.frames.add(iid=number, mapping_id=mapping, rel_pc=location.address)
            frame.function_name_id = self._string(data.function_names, "function", line.name)
            if line.file:
                frame.source_path_iid = self._string(data.source_paths, "source", line.file)
            if line.line:
                frame.line_number = line.line

    def _mapping(self, data: Any, module: tuple[str, bytes]) -> int:
        number = self._mappings.get(module)
        if number is None:
            number = self._mappings[module] = len(self._mappings) + 1
            entry = data.mappings.add(iid=number, end=2**64 - 1)
            entry.path_string_ids.append(self._string(data.mapping_paths, "path", module[0]))
            if module[1]:
                entry.build_id = self._string(data.build_ids, "build id", module[1])
        return number

    def _string(self, field: Any, what: str, value: str | bytes) -> int:
        """The number of a string among those of its sort."""
        raw = value if isinstance(value, bytes) else text.valid(value).encode()
        number = self._strings.get((what, raw))
        if number is None:
            number = self._strings[what, raw] = len(self._strings) + 1
            field.add(iid=number, str=raw)
        return number


def _kernel_leaves(trace: Trace) -> Mask:
    stacks = trace.stacks
    kernel = np.array([one.kernel for one in stacks.locations], np.bool_)
    found = np.zeros(len(stacks) + 1, np.bool_)
    some = np.flatnonzero(np.diff(stacks.offsets) > 0)
    found[some] = kernel[stacks.places[stacks.offsets[some]]]
    return found


def _packet(time: I64, body: Piece) -> Piece:
    """A packet where there is a body."""
    return wire.message(
        proto.PACKET,
        wire.integer(proto.TIMESTAMP, time),
        wire.integer(proto.SEQUENCE, np.full(len(time), _SEQUENCE)),
        body,
        wire.integer(proto.FLAGS, np.full(len(time), proto.NEEDS_STATE)),
        rows=body.lengths > 0,
    )


def _flow(number: int, flows: I64) -> Piece:
    return wire.fixed64(number, (flows + 1).astype(np.uint64), flows >= 0)


FORMAT = Format(
    name="perfetto",
    extension=".pftrace",
    answers="a timeline of threads in Perfetto's own form; opened by ui.perfetto.dev",
    wants=Trace,
    write=write_perfetto,
    rank=31,
    hidden=True,
    viewer_hint="ui.perfetto.dev opens it: drag it there, or --perfetto-ui; nothing is uploaded.",
    perfetto=True,
)
