"""A recording as totals: its queries give the cells that a running session keeps.

Comes in: an open `Recording`. Goes out: `Totals`, a timeline, sums by step. Frames are looked up
only for stacks that a view needs, each once; the cells of the last views are kept.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from stacks_tui.enrich.events import STATES
from stacks_tui.enrich.processes import ProcessRow
from stacks_tui.kinds import Kind
from stacks_tui.live.cells import NONE, Cells
from stacks_tui.live.filter_sql import passing_events
from stacks_tui.live.instances import SpanSlice
from stacks_tui.live.names import Names
from stacks_tui.live.recorded_spans import read_spans
from stacks_tui.live.rhythm import KINDS, MOST_STEPS, strips
from stacks_tui.live.snapshot import Gap, Timeline
from stacks_tui.live.stacks import Place, StackTable
from stacks_tui.live.totals import STEPS, Past
from stacks_tui.live.view import Instance, View
from stacks_tui.store.queries import load_query
from stacks_tui.store.reader import Recording

Ints = npt.NDArray[np.int64]
_S = 10**9
_LATE = 60 * _S
"""After the end of a span a request to a disk that it made may go on for so long."""
_KEPT = 8
"""Cells of the last views."""
_CODES = {kind.label: int(kind) for kind in Kind}
_UNRESOLVED = re.compile(r"\[(.*\+)?0x[0-9a-f]+\]")


class RecordedTotals:
    """See `totals.Totals`. Used by one thread."""

    def __init__(self, recording: Recording, stacks: StackTable | None = None) -> None:
        """`stacks`: of another recording that this one is compared with.

        Raises:
            StacksError: it is damaged.
        """
        self._recording = recording
        self.stacks = StackTable() if stacks is None else stacks
        self._loaded = np.zeros(0, np.uint64)
        self._cells: dict[tuple[object, ...], tuple[Cells, Ints]] = {}
        self._steps: dict[tuple[int, int, int, str], Ints] = {}
        self._names: Names | None = None
        self._slices: dict[tuple[int, int, bool], SpanSlice] = {}
        self._spans: dict[str, int] = {}
        self._span_names: list[str] = []
        manifest = recording.manifest
        if manifest is not None:
            begin, end = manifest.header.begin, manifest.status.end
        else:
            row = recording.ask("screen/bounds").to_pylist()[0]
            begin, end = row["begin"] or 0, row["end"] or 0
        self._ended = end
        self.began = begin // _S
        self.now = max(end // _S, self.began)

    @property
    def knows_names(self) -> bool:
        """Names have been asked for: they cost a look at every event."""
        return self._names is not None

    @property
    def names(self) -> Names:
        """Who was who, as they were called last."""
        if self._names is None:
            self._names = self._read_names()
        return self._names

    def slice(
        self, kinds: Sequence[Kind], begin: int, end: int, *, stacks: bool = True
    ) -> RecordedSlice:
        """See `totals.Totals`; nothing is ever gone."""
        if stacks:
            cells, _ = self._read(tuple(kinds), begin, end, max(1, end - begin))
        else:
            cells = self._read_threads(begin, end)
            if len(kinds) < len(Kind):
                cells = cells.take(np.isin(cells.kind, kinds))
        return RecordedSlice(self, tuple(kinds), cells, begin, end)

    def of_instance(self, kinds: Sequence[Kind], one: Instance) -> RecordedSlice:
        """See `totals.Totals`."""
        begin = one.begin // _S
        end = max(one.until or self._ended, one.begin) // _S + 1
        cells, _ = self._read(tuple(kinds), begin, end, end - begin, one)
        return RecordedSlice(self, tuple(kinds), cells, begin, end, one)

    def spans(self, begin: int, end: int, *, children: bool = False) -> SpanSlice:
        """See `totals.Totals`; nothing is ever gone."""
        key = (begin, end, children)
        if key not in self._slices:
            until = min(end * _S, self._ended)
            span = begin * _S, end * _S, until
            found = read_spans(self._recording, *span, self._span_number, children=children)
            _remember(self._slices, key, found)
        return self._slices[key]

    def stack_rows(self, ids: npt.NDArray[np.uint64]) -> npt.NDArray[np.int32]:
        """See `totals.Totals`."""
        self._load(np.unique(ids))
        return self.stacks.rows(ids)

    def past(
        self,
        kinds: tuple[Kind, ...],
        chosen: Cells,
        begin: int,
        end: int,
        one: Instance | None = None,
    ) -> Past:
        """How these cells came to be, in at most `STEPS` steps."""
        step_s = max(1, -(-(end - begin) // STEPS))
        cells, step = self._read(kinds, begin, end, step_s, one)
        inside = np.isin(_signatures(cells), _signatures(chosen))
        sums = np.zeros((3, -(-(end - begin) // step_s)), np.int64)
        step = np.minimum(step, sums.shape[1] - 1)  # what ended after its span
        for row, values in zip(sums, (cells.count, cells.duration, cells.amount), strict=True):
            np.add.at(row, step[inside], values[inside])
        return Past(step_s, sums[0], sums[1], sums[2])

    def timeline(self, view: View | None = None, written: int = 0) -> Timeline:
        """The strips of all kinds, over the whole recording; of what passes this view's filter.
        `written`: ns, where it is still recorded: they go only up to there.

        Raises:
            StacksError: the filter is wrong, or as `Recording.table`.
        """
        passing = "" if view is None else passing_events(view)
        end = max(self.began, written // _S) if written else self.now + 1
        step_s = 1
        while (end - self.began) > MOST_STEPS * step_s:
            step_s *= 2
        steps = self.steps(self.began * _S, end * _S, step_s * _S, passing)
        until = end * _S if written else 0
        return Timeline(self.began * _S, step_s, tuple(strips(steps)), self._gaps(), until)

    def steps(self, begin: int, end: int, step: int, passing: str = "") -> Ints:
        """(events, ns, amounts) × kind × step; times in ns. `passing`: a SELECT of the events that
        count; empty: all."""
        key = (begin, end, step, passing)
        if key not in self._steps:
            query = load_query("screen/steps").sql
            if passing:
                query = f"with events as ({passing})\n{query}"
            table = self._recording.table(query, begin=begin, end=end, step=step)
            found = np.zeros((3, KINDS, max(1, -(-(end - begin) // step))), np.int64)
            kinds, at = _kinds(table.column("kind")), _ints(table.column("step"))
            for row, name in zip(found, ("count", "duration", "amount"), strict=True):
                np.add.at(row, (kinds, at), _ints(table.column(name)))
            _remember(self._steps, key, found)
        return self._steps[key]

    def resident(self, begin: int, end: int, step: int) -> tuple[float, ...]:
        """Bytes that all that ran held together, at the end of each step (times in ns)."""
        table = self._recording.ask("screen/resident", begin=begin, end=end, step=step)
        rows = table.to_pylist()
        ends = {tgid: row.end for tgid, row in self.names.processes.items() if row.end is not None}
        held: dict[int, int] = {}
        found = []
        at = 0
        for one in range(max(1, -(-(end - begin) // step))):
            while at < len(rows) and rows[at]["step"] <= one:
                held[rows[at]["tgid"]] = rows[at]["bytes"]
                at += 1
            until = begin + (one + 1) * step
            found.append(
                float(sum(n for tgid, n in held.items() if ends.get(tgid, until) >= until))
            )
        return tuple(found)

    def close(self) -> None:
        """Close the recording."""
        self._recording.close()

    def _gaps(self) -> tuple[Gap, ...]:
        manifest = self._recording.manifest
        kinds = manifest.status.kinds if manifest is not None else {}
        return tuple(
            Gap(label, begin, end) for label, counts in kinds.items() for begin, end in counts.gaps
        )

    def _read(
        self,
        kinds: tuple[Kind, ...],
        begin: int,
        end: int,
        step_s: int,
        one: Instance | None = None,
    ) -> tuple[Cells, Ints]:
        key = (kinds, begin, end, step_s, one)
        if key not in self._cells:
            every = len(kinds) > 4
            labels = [kind.label for kind in kinds[:4]]
            labels += labels[:1] * (4 - len(labels))
            table = self._recording.ask(
                "screen/cells",
                every=every,
                begin=begin * _S,
                end=end * _S + (0 if one is None else _LATE),
                step=step_s * _S,
                tgid=None if one is None else one.tgid,
                span=None if one is None else one.span_id,
                since=0 if one is None else one.begin,
                until=0 if one is None else one.until or end * _S,
                **{f"kind_{letter}": label for letter, label in zip("abcd", labels, strict=True)},
            )
            _remember(self._cells, key, self._made(table))
        return self._cells[key]

    def _read_threads(self, begin: int, end: int) -> Cells:
        key = (begin, end)
        if key not in self._cells:
            table = self._recording.ask("screen/threads", begin=begin * _S, end=end * _S)
            none = np.full(table.num_rows, NONE)
            cells = Cells(
                kind=_kinds(table.column("kind")),
                tgid=_filled(table, "tgid", np.uint32, 0),
                pid=_filled(table, "pid", np.uint32, 0),
                ustack=none.astype(np.int32),
                kstack=none.astype(np.int32),
                wstack=none.astype(np.int32),
                waker=np.zeros(table.num_rows, np.uint32),
                state=none.astype(np.int8),
                span=none.astype(np.int32),
                duration_bin=none.astype(np.int8),
                amount_bin=none.astype(np.int8),
                count=_ints(table.column("count")),
                duration=_ints(table.column("duration")),
                amount=_ints(table.column("amount")),
            )
            _remember(self._cells, key, (cells, none))
        return self._cells[key][0]

    def _made(self, table: pa.Table) -> tuple[Cells, Ints]:
        stacks = {
            name: _filled(table, name, np.uint64, 0) for name in ("ustack", "kstack", "wstack")
        }
        self._load(np.unique(np.concatenate(list(stacks.values()))))
        rows = {name: self.stacks.rows(ids) for name, ids in stacks.items()}
        return Cells(
            kind=_kinds(table.column("kind")),
            tgid=_filled(table, "tgid", np.uint32, 0),
            pid=_filled(table, "pid", np.uint32, 0),
            ustack=rows["ustack"],
            kstack=rows["kstack"],
            wstack=rows["wstack"],
            waker=_filled(table, "waker", np.uint32, 0),
            state=self._coded(table.column("state"), _STATE_CODES).astype(np.int8),
            span=self._coded(table.column("span"), None).astype(np.int32),
            duration_bin=_filled(table, "duration_bin", np.int8, NONE),
            amount_bin=_filled(table, "amount_bin", np.int8, NONE),
            count=_ints(table.column("count")),
            duration=_ints(table.column("duration")),
            amount=_ints(table.column("amount")),
        ), _ints(table.column("step"))

    def _coded(self, column: pa.ChunkedArray, codes: dict[str, int] | None) -> Ints:
        encoded = column.combine_chunks().dictionary_encode()
        if pa.types.is_dictionary(column.type):
            encoded = column.combine_chunks()
        numbers = []
        for text in encoded.dictionary.to_pylist():
            if codes is not None:
                numbers.append(codes.get(text, NONE))
                continue
            numbers.append(self._span_number(text))
        places = encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False)
        found: Ints = np.array([*numbers, NONE], np.int64)[places]
        return found

    def _span_number(self, name: str) -> int:
        """The place of a span's name in the list of them."""
        if name not in self._spans:
            self._spans[name] = len(self._span_names)
            self._span_names.append(name)
        return self._spans[name]

    def _load(self, ids: npt.NDArray[np.uint64]) -> None:
        """Frames of stacks that nobody needed before."""
        wanted = np.setdiff1d(ids[ids != 0], self._loaded)
        if not len(wanted):
            return
        self._loaded = np.union1d(self._loaded, wanted)
        table = self._recording.ask("screen/stacks", ids=wanted.tolist())
        add_stacks(self.stacks, table)

    def _read_names(self) -> Names:
        names = Names(spans=self._span_names)
        newest: dict[int, int] = {}
        for row in self._recording.ask("screen/names").to_pylist():
            tgid, pid = row["tgid"], row["pid"] or 0
            names.tgids[pid] = tgid
            if row["thread"] is not None:
                names.threads[pid] = row["thread"]
            if row["time"] >= newest.get(tgid, 0):
                newest[tgid] = row["time"]
                names.commands[tgid] = row["command"] or ""
        for row in self._recording.ask("screen/processes").to_pylist():
            names.processes[row["tgid"]] = ProcessRow(**row)
        end = (self.now + 1) * _S
        held = self._recording.ask("screen/resident", begin=end, end=end, step=_S)
        names.resident = {row["tgid"]: row["bytes"] for row in held.to_pylist()}
        return names


@dataclass(frozen=True, slots=True)
class RecordedSlice:
    """See `totals.Slice`."""

    totals: RecordedTotals
    kinds: tuple[Kind, ...]
    cells: Cells
    begin: int
    end: int
    one: Instance | None = None
    """Whose cells they are alone."""

    def past(self, chosen: npt.NDArray[np.intp]) -> Past:
        """See `totals.Slice`; the whole span, in at most `STEPS` steps."""
        return self.totals.past(self.kinds, self.cells.take(chosen), self.begin, self.end, self.one)


_STATE_CODES = {state: place for place, state in enumerate(STATES)}


def add_stacks(stacks: StackTable, table: pa.Table) -> None:
    """Add stacks as a recording has them: a Python object only for each distinct frame."""
    table = table.combine_chunks()
    if not table.num_rows:
        return
    numbers, ends, bad = _numbered(stacks, table.column("frames").chunk(0))
    hits = np.concatenate([[0], np.cumsum(bad)])
    unresolved = hits[ends[1:]] > hits[ends[:-1]]
    complete, truncated = (
        table.column(name).chunk(0).fill_null(False).to_numpy(zero_copy_only=False)
        for name in ("complete", "truncated")
    )
    marks = complete.astype(np.uint8) + 2 * truncated.astype(np.uint8)
    whole = table.column("native").chunk(0)
    there = np.flatnonzero(np.asarray(whole.is_valid()))
    below, bounds, _ = _numbered(stacks, whole.take(pa.array(there)))
    stacks.add_many(
        table.column("id").to_numpy(),
        numbers,
        ends,
        marks + 4 * unresolved.astype(np.uint8),
        dict(zip(there.tolist(), np.split(below, bounds[1:-1]), strict=False)),
    )


def _numbered(
    stacks: StackTable, frames: pa.ListArray
) -> tuple[npt.NDArray[np.int32], Ints, npt.NDArray[np.bool_]]:
    """Numbers of all frames one after the other, where each list begins and the end, and which
    frames have no symbol."""
    flat = frames.flatten()
    columns = []
    texts: list[list[Any]] = []
    for name in ("name", "module", "file", "line", "inlined"):
        encoded = pc.struct_field(flat, name).dictionary_encode()
        texts.append([*encoded.dictionary.to_pylist(), None])
        code = encoded.indices.fill_null(len(texts[-1]) - 1)
        columns.append(code.to_numpy(zero_copy_only=False).astype(np.int64))
    mixed = np.zeros(len(flat), np.int64)
    size = 1
    for code, text in zip(columns, texts, strict=True):
        if size * len(text) >= 1 << 62:
            used, mixed = np.unique(mixed, return_inverse=True)
            size = len(used)
        mixed = mixed * len(text) + code
        size *= len(text)
    # by hashing: sorting the frames of 100,000 stacks takes half a second
    places = pa.array(mixed).dictionary_encode().indices.to_numpy().astype(np.int64)
    first = np.empty(int(places.max(initial=-1)) + 1, np.int64)
    first[places[::-1]] = np.arange(len(places) - 1, -1, -1)
    distinct = [
        Place(*(
            text[int(code[at])] or empty
            for text, code, empty in zip(texts, columns, _NOTHING, strict=True)
        ))
        for at in first.tolist()
    ]  # fmt: skip
    bad = np.array([_UNRESOLVED.fullmatch(place.name) is not None for place in distinct], np.bool_)
    ends = frames.offsets.to_numpy(zero_copy_only=False) - frames.offsets[0].as_py()
    return stacks.place_numbers(distinct)[places], ends.astype(np.int64), bad[places]


_NOTHING: tuple[Any, ...] = ("", "", "", 0, False)


def _remember(kept: dict[Any, Any], key: object, value: object) -> None:
    kept[key] = value
    while len(kept) > _KEPT:
        del kept[next(iter(kept))]


def _kinds(column: pa.ChunkedArray) -> npt.NDArray[np.uint8]:
    """Codes of kinds; one that is not known: 0, which no view asks for."""
    encoded = column.combine_chunks()
    if not pa.types.is_dictionary(encoded.type):
        encoded = encoded.dictionary_encode()
    codes = [_CODES.get(text, 0) for text in encoded.dictionary.to_pylist()]
    found: npt.NDArray[np.uint8] = np.array([*codes, 0], np.uint8)[encoded.indices.to_numpy()]
    return found


def _ints(column: pa.ChunkedArray) -> Ints:
    found: Ints = column.combine_chunks().to_numpy(zero_copy_only=False).astype(np.int64)
    return found


def _filled(table: pa.Table, name: str, kind: type[np.generic], empty: int) -> npt.NDArray[Any]:
    column = table.column(name).combine_chunks()
    filled = column.fill_null(pa.scalar(empty, column.type)).to_numpy(zero_copy_only=False)
    found: npt.NDArray[Any] = filled.astype(kind)
    return found


_FACTORS = np.random.default_rng().integers(1, 2**63, 11, dtype=np.uint64) | np.uint64(1)


def _signatures(cells: Cells) -> npt.NDArray[np.uint64]:
    """Equal for cells that are alike, else as good as never."""
    total = np.zeros(len(cells), np.uint64)
    for factor, name in zip(_FACTORS, _ALIKE, strict=True):
        total += getattr(cells, name).astype(np.int64).view(np.uint64) * factor
    return total


_ALIKE = (
    "kind",
    "tgid",
    "pid",
    "ustack",
    "kstack",
    "wstack",
    "waker",
    "state",
    "span",
    "duration_bin",
    "amount_bin",
)
