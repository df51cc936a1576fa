"""Raw events to Arrow: NumPy batches in, record batches of schema.EVENTS out.

Columns are handed over as they are, as buffers; what doesn't apply to a kind is null.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from stacks_tui.columns import EventColumns, Events, by_column
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


_STATE = pa.dictionary(pa.int32(), pa.string())

Mask = npt.NDArray[np.bool_]


class Names(Protocol):
    """Who knows who was who, such as `tasks.Tasks`."""

    def columns(self, events: Events) -> TaskColumns:
        """The names and build ids of a batch, at its events' times."""


class SpanNames(Protocol):
    """Who knows of spans, such as `spans.Spans`."""

    def columns(self, events: Events) -> SpanColumns:
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

    def arrow(self, events: Events) -> pa.RecordBatch:
        """A batch of records.EVENT as schema.EVENTS, in the same order.

        Raises:
            ValueError: a record bears a code that is no kind.
        """
        events = by_column(events)
        count = len(events)
        kinds = events["kind"]
        kind_codes = self._kind_codes.take(kinds)
        if count and kind_codes.min() < 0:
            raise ValueError(f"unknown kind {int(kinds[kind_codes.argmin()])} in an event record")
        waits = _where(kinds == Kind.WAIT)
        closes = _where(kinds == Kind.TRACE_CLOSE)
        traces = _where((kinds == Kind.TRACE_CLOSE) | (kinds == Kind.TRACE_EXIT))
        ending = _where((kinds == Kind.WAIT) | (kinds == Kind.TRACE_CLOSE))
        left = _where((kinds == Kind.WAIT) | (kinds == Kind.SWITCH))
        word0, enters = events["word0"], events["state"]
        task = self._tasks.columns(events)
        # a close of a span that gave way to others has neither: nobody counted
        known = closes if closes is None else _where(closes & (enters > 0))
        span = self._spans.columns(events)
        opened, seen = EventFlag.OPEN, EventFlag.SINCE_SEEN
        columns = {
            "timestamp": _column(self._clock.to_epoch(events["time"]), pa.uint64()),
            "duration": _column(events["duration"], pa.uint64()),
            "kind": dictionary_array(kind_codes, None, self._kinds),
            "cpu": _column(events["cpu"], pa.uint16()),
            "tgid": _column(events["tgid"], pa.uint32()),
            "pid": _column(events["pid"], pa.uint32()),
            "command": task.command,
            "thread": task.thread,
            "span_id": _unless_zero(events["span_id"], pa.uint64()),
            "parent_id": span.parent_id,
            "id": span.id,
            "amount": _column(events["amount"], pa.uint64()),
            "trace_name": span.trace_name,
            "buildid": task.buildid,
            "state": self._state(events, left),
            "delta": _of(word0.view(np.int64), pa.int64(), _where(kinds == Kind.RSS)),
            "waker": _unless_zero_of(events["waker"], pa.uint32(), waits),
            "open": _flags(events["flags"], opened, ending),
            "ustack": _unless_zero(events["ustack"], pa.uint64()),
            "kstack": _unless_zero(events["kstack"], pa.uint64()),
            "wstack": _unless_zero_of(word0, pa.uint64(), waits),
            "busy": _of(word0, pa.uint64(), known),
            "enters": _of(enters, pa.uint32(), known),
            "waker_span": _unless_zero_of(events["word1"], pa.uint64(), waits),
            "since_seen": _flags(events["flags"], seen, traces),
        }
        return pa.RecordBatch.from_arrays([columns[name] for name in EVENTS.names], schema=EVENTS)

    def _state(self, events: EventColumns, valid: Mask | None) -> pa.DictionaryArray:
        if valid is None:
            return pa.nulls(len(events), _STATE)
        codes = self._state_codes.take(events["state"] & 0xFFFF)
        codes[events["flags"] & np.uint8(EventFlag.PREEMPTED) != 0] = STATES.index("preempted")
        return dictionary_array(codes, valid, self._states)


def state_codes() -> npt.NDArray[np.int32]:
    """Places in `STATES` by the low 16 bits of a thread's state."""
    bits = np.arange(1 << 16)
    codes = np.full(1 << 16, STATES.index("running"), np.int32)
    for mask, name in _STATE_BITS:
        codes[bits & mask != 0] = STATES.index(name)
    codes[(bits & 0x02 != 0) & (bits & _NOLOAD != 0)] = STATES.index("idle")
    return codes


def _where(mask: Mask) -> Mask | None:
    """The mask, None: it holds nowhere. So columns that a batch has not cost nothing."""
    return mask if mask.any() else None


def _column(
    values: npt.NDArray[np.generic], kind: pa.DataType, valid: Mask | None = None
) -> pa.Array:
    """The values; null where not `valid`, None: no null."""
    bitmap = None if valid is None else validity(valid)
    return pa.Array.from_buffers(kind, len(values), [bitmap, pa.py_buffer(values)])


def _of(values: npt.NDArray[np.generic], kind: pa.DataType, valid: Mask | None) -> pa.Array:
    """The values where `valid`, None: nowhere."""
    return pa.nulls(len(values), kind) if valid is None else _column(values, kind, valid)


def _unless_zero(values: npt.NDArray[np.generic], kind: pa.DataType) -> pa.Array:
    return _of(values, kind, _where(values != 0))


def _unless_zero_of(
    values: npt.NDArray[np.generic], kind: pa.DataType, valid: Mask | None
) -> pa.Array:
    return _of(values, kind, valid if valid is None else _where(valid & (values != 0)))


def _flags(flags: npt.NDArray[np.uint8], bit: EventFlag, valid: Mask | None) -> pa.Array:
    if valid is None:
        return pa.nulls(len(flags), pa.bool_())
    data = pa.py_buffer(np.packbits(flags & np.uint8(bit) != 0, bitorder="little"))
    return pa.Array.from_buffers(pa.bool_(), len(flags), [validity(valid), data])
