"""Raw events to Arrow: NumPy batches in, record batches of schema.EVENTS out.

Columns are copied out of the records once and handed over as buffers; what doesn't apply to a kind
is null.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from stacks_tui.enrich.clock import Clock
from stacks_tui.enrich.spans import SpanColumns
from stacks_tui.enrich.tasks import TaskColumns
from stacks_tui.enrich.timeline import dictionary_array, validity
from stacks_tui.kinds import Kind
from stacks_tui.records import EventFlag
from stacks_tui.schema import EVENTS

STATES = (
    "running",
    "preempted",
    "sleeping",
    "disk",
    "stopped",
    "traced",
    "exiting",
    "dead",
    "parked",
    "idle",
    "frozen",
    "other",
)
"""Why a thread left the CPU. preempted: it could have gone on (another was put in its place, or it
yielded); sleeping: it waits and signals wake it; disk: it waits and they don't; idle: as disk, but
a kernel thread with nothing to do."""

_STATE_BITS = (
    (0xFFFF, "other"),
    (0x8000, "frozen"),
    (0x80, "dead"),
    (0x30, "exiting"),
    (0x40, "parked"),
    (0x08, "traced"),
    (0x04, "stopped"),
    (0x1002, "disk"),
    (0x01, "sleeping"),
)
"""Bits of the kernel's task state (include/linux/sched.h); a later line wins."""
_NOLOAD = 0x400


Mask = npt.NDArray[np.bool_]


class Names(Protocol):
    """Who knows who was who, such as `tasks.Tasks`."""

    def columns(self, events: npt.NDArray[np.void]) -> TaskColumns:
        """The names and build ids of a batch, at its events' times."""


class SpanNames(Protocol):
    """Who knows of spans, such as `spans.Spans`."""

    def columns(self, events: npt.NDArray[np.void]) -> SpanColumns:
        """Parents, ids and names of the spans of a batch."""


class EventBatches:
    """Makes Arrow batches; keeps the look-up tables."""

    def __init__(self, tasks: Names, spans: SpanNames, clock: Clock) -> None:
        self._tasks = tasks
        self._spans = spans
        self._clock = clock
        self._kinds = pa.array([kind.label for kind in Kind], pa.string())
        self._kind_codes = np.full(256, -1, np.int32)
        for place, kind in enumerate(Kind):
            self._kind_codes[kind] = place
        self._states = pa.array(STATES, pa.string())
        self._state_codes = state_codes()

    def arrow(self, events: npt.NDArray[np.void]) -> pa.RecordBatch:
        """A batch of records.EVENT as schema.EVENTS, in the same order.

        Raises:
            ValueError: a record bears a code that is no kind.
        """
        count = len(events)
        kinds = np.ascontiguousarray(events["kind"])
        kind_codes = self._kind_codes.take(kinds)
        if count and kind_codes.min() < 0:
            raise ValueError(f"unknown kind {int(kinds[kind_codes.argmin()])} in an event record")
        waits = kinds == Kind.WAIT
        closes = kinds == Kind.TRACE_CLOSE
        traces = closes | (kinds == Kind.TRACE_EXIT)
        word0 = np.ascontiguousarray(events["word0"])
        task = self._tasks.columns(events)
        every = np.ones(count, np.bool_)
        enters = np.ascontiguousarray(events["state"])
        known = closes & (enters > 0)  # else it gave way to others, and nobody counted
        span = self._spans.columns(events)
        columns = {
            "timestamp": _column(self._clock.to_epoch(events["time"]), pa.uint64()),
            "duration": _field(events, "duration", pa.uint64()),
            "kind": dictionary_array(kind_codes, every, self._kinds),
            "cpu": _field(events, "cpu", pa.uint16()),
            "tgid": _field(events, "tgid", pa.uint32()),
            "pid": _field(events, "pid", pa.uint32()),
            "command": task.command,
            "thread": task.thread,
            "span_id": _unless_zero(np.ascontiguousarray(events["span_id"]), pa.uint64()),
            "parent_id": span.parent_id,
            "id": span.id,
            "amount": _field(events, "amount", pa.uint64()),
            "trace_name": span.trace_name,
            "buildid": task.buildid,
            "state": self._state(events, waits | (kinds == Kind.SWITCH)),
            "delta": _column(word0.view(np.int64), pa.int64(), kinds == Kind.RSS),
            "waker": _where(events, "waker", waits, pa.uint32()),
            "open": _flags(events["flags"] & EventFlag.OPEN != 0, waits | closes),
            "ustack": _unless_zero(np.ascontiguousarray(events["ustack"]), pa.uint64()),
            "kstack": _unless_zero(np.ascontiguousarray(events["kstack"]), pa.uint64()),
            "wstack": _unless_zero(word0, pa.uint64(), waits),
            "busy": _column(word0, pa.uint64(), known),
            "enters": _column(enters, pa.uint32(), known),
            "waker_span": _where(events, "word1", waits, pa.uint64()),
            "since_seen": _flags(events["flags"] & EventFlag.SINCE_SEEN != 0, traces),
        }
        return pa.RecordBatch.from_arrays([columns[name] for name in EVENTS.names], schema=EVENTS)

    def _state(self, events: npt.NDArray[np.void], valid: Mask) -> pa.DictionaryArray:
        codes = self._state_codes.take(events["state"] & 0xFFFF)
        codes[events["flags"] & EventFlag.PREEMPTED != 0] = STATES.index("preempted")
        return dictionary_array(codes, valid, self._states)


def state_codes() -> npt.NDArray[np.int32]:
    """Places in `STATES` by the low 16 bits of a thread's state."""
    bits = np.arange(1 << 16)
    codes = np.full(1 << 16, STATES.index("running"), np.int32)
    for mask, name in _STATE_BITS:
        codes[bits & mask != 0] = STATES.index(name)
    codes[(bits & 0x02 != 0) & (bits & _NOLOAD != 0)] = STATES.index("idle")
    return codes


def _column(
    values: npt.NDArray[np.generic], kind: pa.DataType, valid: Mask | None = None
) -> pa.Array:
    bitmap = None if valid is None else validity(valid)
    return pa.Array.from_buffers(kind, len(values), [bitmap, pa.py_buffer(values)])


def _field(events: npt.NDArray[np.void], name: str, kind: pa.DataType) -> pa.Array:
    return _column(np.ascontiguousarray(events[name]), kind)


def _unless_zero(
    values: npt.NDArray[np.generic], kind: pa.DataType, valid: Mask | None = None
) -> pa.Array:
    there: Mask = values != 0
    return _column(values, kind, there if valid is None else there & valid)


def _where(events: npt.NDArray[np.void], name: str, valid: Mask, kind: pa.DataType) -> pa.Array:
    return _unless_zero(np.ascontiguousarray(events[name]), kind, valid)


def _flags(values: Mask, valid: Mask) -> pa.Array:
    data = pa.py_buffer(np.packbits(values, bitorder="little"))
    return pa.Array.from_buffers(pa.bool_(), len(values), [validity(valid), data])
