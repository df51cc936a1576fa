"""Events of a trace from queries.

Comes in: recordings, queries for traces, a selection. Goes out: `Trace`. A query returns `event`
('complete', 'counter', 'instant'), `name` and `pid`, and as they apply `tid`, `start` or
`timestamp` and `duration` (µs after `$origin`), `cpu`, `kind`, `amount`, `stack`, `end_stack`,
`flow_out`, `flow_in` (numbers: an arrow leads from the row with the first to that with the second);
what else it returns goes into the details.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from stacks_tui.errors import UsageError
from stacks_tui.export.framing import Framing, is_list
from stacks_tui.export.model import COMPLETE, COUNTER, INSTANT, Label, Trace
from stacks_tui.export.questions import Question, ask, recorded, rows_of
from stacks_tui.export.samples import as_label, make_origin, one_chunk, sampling_period
from stacks_tui.export.selection import Selection
from stacks_tui.export.task import Task
from stacks_tui.resources import read_sql
from stacks_tui.store.reader import Recording

_CODES = {"complete": COMPLETE, "counter": COUNTER, "instant": INSTANT}
_KNOWN = frozenset(
    {
        *("event", "name", "pid", "tid", "start", "timestamp", "duration"),
        *("cpu", "kind", "amount", "stack", "end_stack", "flow_out", "flow_in", "labels"),
    }
)
_TIMES = frozenset({"runnable", "oncpu"})
"""Further columns that are times in µs: ns in the details."""
_SINCE_EPOCH_US = 10**14
"""Larger times are since the Unix epoch (as from 1973), not since `$origin`."""


def load_trace(
    recordings: Sequence[Recording], asked: Sequence[Question], selection: Selection, task: Task
) -> Trace:
    """What the queries draw, in the order of time.

    Raises:
        UsageError: a query is wrong, or returns what is no trace.
        StacksError: it failed while it ran.
    """
    framing = Framing(task)
    spans = [recorded(recording) for recording in recordings]
    zero = min((span.begin for span in spans), default=0)
    parts: list[pa.Table] = []
    flows = 0
    processes: dict[int, str] = {}
    threads: dict[tuple[int, int], str] = {}
    for recording, span in zip(recordings, spans, strict=True):
        for question in asked:
            rows = rows_of(ask(recording, question, selection, span, zero, task), question)
            task.step(f"reading {question.name}")
            part = _Part(recording, question, rows, framing, zero)
            parts.append(part.table(flows))
            flows += len(part.flows)
        for pid, tid, command, thread in recording.sql(read_sql("export/names.sql")).fetchall():
            processes.setdefault(pid, command or "")
            if tid is not None:
                threads.setdefault((pid, tid), thread or command or "")
    table = pa.concat_tables(_alike(parts), promote_options="permissive")
    parts.clear()  # or the unsorted columns stay as long as the sorted ones
    table = table.sort_by([("start", "ascending"), ("duration", "descending")])

    def numbers(name: str, dtype: Any = np.int64) -> npt.NDArray[Any]:
        return np.asarray(table.column(name)).astype(dtype, copy=False)

    return Trace(
        zero=zero,
        event=numbers("event", np.uint8),
        start_ns=numbers("start"),
        duration_ns=numbers("duration"),
        pid=numbers("pid"),
        tid=numbers("tid"),
        cpu=numbers("cpu", np.int32),
        name=_coded(table.column("name")),
        kind=_coded(table.column("kind")),
        amount=numbers("amount"),
        stack=numbers("stack"),
        end_stack=numbers("end_stack"),
        flow_out=numbers("flow_out"),
        flow_in=numbers("flow_in"),
        more=tuple(
            Label(
                name.removeprefix("more:"),
                one_chunk(table.column(name)),
                "nanoseconds" if name.removeprefix("more:") in _TIMES else "",
            )
            for name in table.column_names
            if name.startswith("more:") and table.column(name).null_count < table.num_rows
        ),
        stacks=framing.stacks(),
        processes={pid: processes.get(pid, "") for pid in set(numbers("pid").tolist())},
        threads=threads,
        origin=make_origin(recordings, spans, asked, selection, sampling_period(recordings)),
    )


class _Part:
    """The rows of one query as columns of one form."""

    def __init__(
        self,
        recording: Recording,
        question: Question,
        rows: pa.Table,
        framing: Framing,
        zero: int,
    ) -> None:
        self._recording = recording
        self._name = question.name
        self._rows = rows
        self._framing = framing
        self._zero = zero
        lacking = [name for name in ("event", "name", "pid") if name not in rows.column_names]
        if lacking:
            raise UsageError(
                f"{self._name}: the query returns no column {lacking[0]!r}; a trace needs event, "
                "name, pid, and start or timestamp."
            )
        if not {"start", "timestamp"} & set(rows.column_names):
            raise UsageError(f"{self._name}: the query returns neither 'start' nor 'timestamp'.")
        self._flow_out, self._flow_in = self._whole("flow_out", -1), self._whole("flow_in", -1)
        self.flows = np.unique(self._flow_out[self._flow_out >= 0])
        """Numbers of the arrows that begin in these rows."""

    def table(self, flows: int) -> pa.Table:
        """The columns of a `Trace`, further ones as `more:<name>`.

        Args:
            flows: the arrows of the parts before; those of this part are numbered from there.
        """
        rows = self._rows
        there = set(rows.column_names)
        time = self._times("start" if "start" in there else "timestamp")
        if {"start", "timestamp"} <= there:  # a query may unite events of both sorts
            given = np.asarray(rows.column("start").is_valid())
            time = np.where(given, time, self._times("timestamp"))
        code = self._codes()
        stack, end_stack = self._stacks("stack"), self._stacks("end_stack")
        at_end = (code != COMPLETE) & (stack < 0)  # what has no duration has one stack
        columns: dict[str, Any] = {
            "event": code,
            "start": time,
            "duration": np.where(code == COMPLETE, self._nanoseconds("duration"), 0),
            "pid": self._whole("pid", 0),
            "tid": self._whole("tid", -1),
            "cpu": self._whole("cpu", -1),
            "amount": self._whole("amount", 0),
            "stack": np.where(at_end, end_stack, stack),
            "end_stack": np.where(code == COMPLETE, end_stack, -1),
            "flow_out": self._renumbered(self._flow_out, flows),
            "flow_in": self._renumbered(self._flow_in, flows),
            "name": rows.column("name").cast(pa.string()).fill_null(""),
            "kind": rows.column("kind").cast(pa.string())
            if "kind" in there
            else pa.nulls(rows.num_rows, pa.string()),
        }
        for name in rows.column_names:
            if name in _KNOWN:
                continue
            column = rows.column(name)
            if name in _TIMES:
                nulls = ~np.asarray(column.is_valid())
                columns[f"more:{name}"] = pa.array(self._nanoseconds(name), mask=nulls)
            elif not is_list(column.type):
                columns[f"more:{name}"] = as_label(one_chunk(column))
            else:
                columns[f"more:{name}"] = self._path(name)
        return pa.table(columns)

    def _renumbered(self, given: npt.NDArray[np.int64], flows: int) -> npt.NDArray[np.int64]:
        """-1 also for numbers with which no arrow begins."""
        if not len(self.flows):
            return np.full(len(given), -1, np.int64)
        at = np.minimum(np.searchsorted(self.flows, given), len(self.flows) - 1)
        return np.where(self.flows[at] == given, at + flows, -1)

    def _codes(self) -> npt.NDArray[np.uint8]:
        events = self._rows.column("event").cast(pa.string())
        wrong = pc.unique(events.filter(pc.invert(pc.is_in(events, pa.array(list(_CODES))))))
        if len(wrong):
            raise UsageError(
                f"{self._name}: {wrong[0].as_py()!r} is no event; there are: {', '.join(_CODES)}."
            )
        found = np.zeros(len(events), np.uint8)
        for name, code in _CODES.items():
            found[np.asarray(pc.equal(events, name))] = code
        return found

    def _times(self, name: str) -> npt.NDArray[np.int64]:
        """ns after zero. Whole µs since the epoch are taken exactly."""
        found = self._nanoseconds(name)
        return np.where(found > _SINCE_EPOCH_US * 1000, found - self._zero, found)

    def _nanoseconds(self, name: str) -> npt.NDArray[np.int64]:
        rows = self._rows
        if name not in rows.column_names:
            return np.zeros(rows.num_rows, np.int64)
        column = rows.column(name)
        if pa.types.is_integer(column.type):
            return self._whole(name, 0) * 1000
        try:
            values = np.asarray(column.cast(pa.float64()).fill_null(0.0))
        except pa.ArrowException as error:
            raise UsageError(f"{self._name}: {name!r} is no time; give µs.") from error
        found: npt.NDArray[np.int64] = np.rint(np.nan_to_num(values) * 1000).astype(np.int64)
        return found

    def _whole(self, name: str, default: int) -> npt.NDArray[np.int64]:
        rows = self._rows
        if name not in rows.column_names:
            return np.full(rows.num_rows, default, np.int64)
        try:
            column = rows.column(name)
            if pa.types.is_floating(column.type):
                column = pc.round(column)
            return np.asarray(column.cast(pa.int64()).fill_null(default))
        except pa.ArrowException as error:
            raise UsageError(f"{self._name}: {name!r} is no column of whole numbers.") from error

    def _stacks(self, name: str) -> npt.NDArray[np.int64]:
        rows = self._rows
        if name not in rows.column_names or not rows.num_rows:
            return np.full(rows.num_rows, -1, np.int64)
        found = self._framing.add(self._recording, rows.column(name), self._name)
        lengths = self._framing.depths()
        # no stack was taken: not the same as an empty one
        return np.where((found >= 0) & (lengths[found] > 0), found, -1)

    def _path(self, name: str) -> pa.Array:
        """A further stack as text, leaf first."""
        found = self._stacks(name)
        stacks = self._framing.stacks()
        used, which = np.unique(found, return_inverse=True)
        texts = [
            None if at < 0 else "\n".join(place.lines[-1].name for place in stacks.stack(at))
            for at in used.tolist()
        ]
        return pa.array(texts, pa.string()).take(pa.array(which.reshape(len(found))))


def _alike(parts: list[pa.Table]) -> list[pa.Table]:
    """A further column that is text in one part and a number in another is text in all."""
    kinds: dict[str, set[pa.DataType]] = {}
    for part in parts:
        for field in part.schema:
            kinds.setdefault(field.name, set()).add(field.type)
    for at, part in enumerate(parts):
        for name in part.column_names:
            if len(kinds[name] - {pa.null()}) > 1:
                where = part.column_names.index(name)
                part = part.set_column(where, name, part.column(name).cast(pa.string()))
        parts[at] = part
    return parts


def _coded(column: pa.ChunkedArray) -> pa.DictionaryArray:
    whole = one_chunk(column)
    return whole.dictionary_encode()
