"""Samples from queries: values summed by stack and labels.

Comes in: recordings, queries for profiles, a selection. Goes out: `Samples`; several queries give
several values of the same samples. A query returns a stack, a count, one or more values whose
names carry their unit (`cpu_ns`, `growth_bytes`), and labels.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from stacks_tui.errors import StacksError, UsageError
from stacks_tui.export.framing import Framing, check_question, in_order
from stacks_tui.export.model import Before, Label, Origin, Samples, ValueType, Window
from stacks_tui.export.questions import Question, Span, ask, batches, recorded
from stacks_tui.export.selection import Selection
from stacks_tui.export.task import Task
from stacks_tui.resources import read_sql
from stacks_tui.store.reader import Recording

_BEFORE = "before:"
"""Begins the columns of what is compared with."""
_UNITS = {"ns": "nanoseconds", "bytes": "bytes", "count": "count"}


def load_samples(
    recordings: Sequence[Recording],
    asked: Sequence[Question],
    selection: Selection,
    task: Task,
    before: tuple[Sequence[Recording], Selection] | None = None,
) -> Samples:
    """What the queries say of the recordings, summed; and what they say of those before.

    Raises:
        UsageError: a query is wrong, or returns what is no profile.
        StacksError: it failed while it ran.
    """
    framing = Framing(task)
    tables, types = _answers(recordings, asked, selection, framing, task)
    keys = list(types)
    if before is not None:
        theirs, more = _answers(*before[:1], asked, before[1], framing, task)
        tables += [
            table.rename_columns(
                [_BEFORE + name if name in more else name for name in table.column_names]
            )
            for table in theirs
        ]
        types |= more
        keys = [*types, *(_BEFORE + key for key in types)]
    stacks, went = in_order(framing.stacks())
    table, label_names = _merged(tables, keys, went)
    sampled = ValueType("cpu", "nanoseconds") in types.values()
    values = np.empty((table.num_rows, len(keys)), np.int64)
    for at, key in enumerate(keys):
        values[:, at] = np.asarray(table.column(key))
    labels = tuple(
        Label(name.removeprefix("label:"), one_chunk(table.column(name)))
        for name in label_names
        if table.column(name).null_count < table.num_rows
    )
    kinds = tuple(types.values())
    return Samples(
        stacks,
        np.asarray(table.column("stack")).astype(np.int64, copy=False),
        kinds,
        values[:, : len(kinds)],
        labels,
        _main(kinds, task.options.main),
        make_origin(
            recordings,
            _spans(recordings),
            asked,
            selection,
            sampling_period(recordings) if sampled else 0,
        ),
        None
        if before is None
        else Before(
            values[:, len(kinds) :],
            make_origin(before[0], _spans(before[0]), asked, before[1]),
        ),
    )


def _main(kinds: Sequence[ValueType], wanted: str | None) -> int:
    """Which value is shown at first: the count only where it is asked for."""
    names = [kind.name for kind in kinds]
    return names.index(wanted) if wanted in names else min(1, len(kinds) - 1)


def _spans(recordings: Sequence[Recording]) -> list[Span]:
    return [recorded(recording) for recording in recordings]


def _answers(
    recordings: Sequence[Recording],
    asked: Sequence[Question],
    selection: Selection,
    framing: Framing,
    task: Task,
) -> tuple[list[pa.Table], dict[str, ValueType]]:
    """The rows of each query and recording, and what their columns of values measure."""
    tables: list[pa.Table] = []
    types: dict[str, ValueType] = {}
    several = len(asked) > 1
    for question in asked:
        for recording, span in zip(recordings, _spans(recordings), strict=True):
            relation = ask(recording, question, selection, span, span.begin, task)
            rows = _rows(recording, question, relation, framing, task, several)
            tables.append(rows.table)
            types |= rows.types
    return tables, types


class _Rows:
    """One query's rows of one recording, typed."""

    def __init__(self, table: pa.Table, types: dict[str, ValueType]) -> None:
        self.table = table
        self.types = types


def _rows(
    recording: Recording,
    question: Question,
    relation: duckdb.DuckDBPyRelation,
    framing: Framing,
    task: Task,
    several: bool,
) -> _Rows:
    name = question.name
    found: list[pa.Table] = []
    types: dict[str, ValueType] = {}
    columns = relation.columns
    check_question(question, columns, 2)
    task.step(f"reading {name}")
    # Labels and values batch by batch, the stacks of all at once: each id is looked up once.
    stacks: list[pa.Array] = []
    for batch in batches(relation, question):
        stacks.append(batch.column(0))
        found.append(_typed(question, batch, types, several))
        task.step(f"reading {name}")
    table = pa.concat_tables(found, promote_options="permissive")
    index = framing.add(recording, pa.chunked_array(stacks), name)
    bare = (index < 0) | (framing.depths()[index] == 0)
    if bare.any():
        index[bare] = framing.nothing()
    table = table.append_column("stack", pa.array(index, pa.int64()))
    return _Rows(_with_cgroups(recording, table, task), types)


def _typed(
    question: Question, batch: pa.RecordBatch, types: dict[str, ValueType], several: bool
) -> pa.Table:
    """The batch's values as int64 by their type's key, and its labels as `label:<name>`."""
    columns: dict[str, pa.Array] = {}
    names = batch.schema.names
    in_values = True
    for at, name in enumerate(names[1:], 1):
        column = batch.column(at)
        numeric = _is_number(column.type)
        suffix = name.rpartition("_")[2]
        if at == 1 and not numeric:
            raise UsageError(
                f"{question.name}: the second column, {name!r}, is no number; it must be the count."
            )
        in_values = in_values and numeric and (at <= 2 or suffix in _UNITS)
        if in_values:
            key, kind = _value_type(question.name, name, at, several)
            types.setdefault(key, kind)
            columns[key] = _whole_numbers(question, name, column)
        elif pa.types.is_struct(column.type):
            for field in column.type:
                columns[f"label:{field.name}"] = as_label(pc.struct_field(column, field.name))
        else:
            columns[f"label:{name}"] = as_label(column)
    return pa.table(columns)


def _value_type(query: str, column: str, at: int, several: bool) -> tuple[str, ValueType]:
    if at == 1:
        name = f"{query}_count" if several else "count"
        return f"value:{name}", ValueType(name, "count")
    stem, _, suffix = column.rpartition("_")
    if suffix in _UNITS and stem:
        name, unit = stem, _UNITS[suffix]
    else:
        name, unit = column, "count"
    if several and name != query:
        name = f"{query}_{name}"
    return f"value:{name}:{unit}", ValueType(name, unit)


def _merged(
    tables: list[pa.Table], keys: list[str], went: npt.NDArray[np.int64]
) -> tuple[pa.Table, list[str]]:
    """All rows with one row for each stack and labels, in order; and the names of label columns.

    `went`: the new index of each stack. Nothing of the order in which rows came is left.
    """
    labels = list(
        dict.fromkeys(n for t in tables for n in t.column_names if n.startswith("label:"))
    )
    full = []
    for table in tables:
        columns = {"stack": pa.array(went[np.asarray(table.column("stack"))])}
        for name in labels:
            there = name in table.column_names
            columns[name] = table.column(name) if there else pa.nulls(table.num_rows)
        for key in keys:
            if key in table.column_names:
                columns[key] = table.column(key)
            else:
                columns[key] = pa.chunked_array([np.zeros(table.num_rows, np.int64)])
        full.append(pa.table(columns))
    _agree(full, labels)
    whole = pa.concat_tables(full, promote_options="permissive")
    used = [name for name in labels if whole.column(name).null_count < whole.num_rows]
    grouped = whole.group_by(["stack", *used], use_threads=False).aggregate(
        [(key, "sum") for key in keys]
    )
    renamed = {f"{key}_sum": key for key in keys}
    table = grouped.rename_columns([renamed.get(name, name) for name in grouped.column_names])
    return table.sort_by([(name, "ascending") for name in ("stack", *used)]), used


def _agree(tables: list[pa.Table], labels: list[str]) -> None:
    """A label that is text in one query and a number in another is text in both."""
    for name in labels:
        kinds = {t.column(name).type for t in tables} - {pa.null()}
        if len(kinds) > 1:
            for at, table in enumerate(tables):
                where = table.column_names.index(name)
                tables[at] = table.set_column(where, name, table.column(name).cast(pa.string()))


def _with_cgroups(recording: Recording, table: pa.Table, task: Task) -> pa.Table:
    wanted = task.options.labels
    if wanted is None or "cgroup" not in wanted or "label:pid" not in table.column_names:
        return table
    rows = recording.sql(read_sql("export/cgroups.sql")).fetchall()
    of = dict(rows)
    names = [of.get(pid) for pid in table.column("label:pid").to_pylist()]
    table = table.append_column("label:cgroup", pa.array(names, pa.string()))
    return table if "pid" in wanted else table.drop_columns(["label:pid"])


def make_origin(
    recordings: Sequence[Recording],
    spans: Sequence[Span],
    asked: Sequence[Question],
    selection: Selection,
    period_ns: int = 0,
) -> Origin:
    """Where data come from, and the time that they cover."""
    begin = min((span.begin for span in spans), default=0)
    end = max((span.end for span in spans), default=0)
    if selection.begin is not None:
        begin = max(begin, selection.begin)
    if selection.end is not None:
        end = min(end, selection.end)
    return Origin(
        tuple(str(recording.path) for recording in recordings),
        tuple(question.name for question in asked),
        tuple(question.answers for question in asked),
        selection.words(),
        selection.words(times=False),
        Window(begin, max(begin, end)),
        period_ns,
        _executable(recordings, selection),
        tuple(line for recording in recordings for line in _comments(recording)),
        tuple(line for recording in recordings for line in _trust(recording)),
    )


def _executable(
    recordings: Sequence[Recording], selection: Selection
) -> tuple[str, bytes | None] | None:
    text = read_sql("export/executable.sql")
    for recording in recordings:
        values: dict[str, Any] = {**selection.parameters(), "labels": []}
        for path, buildid in recording.sql(text, **values).fetchall():
            return str(path or ""), buildid
    return None


def _comments(recording: Recording) -> list[str]:
    manifest = recording.manifest
    if manifest is None:
        return []
    header = manifest.header
    return [
        f"recorded by stacks-tui {header.tool_version} on {header.host}, Linux {header.kernel}: "
        f"{', '.join(header.targets) or 'everything'}; {','.join(header.programs)}"
    ]


def _trust(recording: Recording) -> list[str]:
    if recording.manifest is None:
        return []
    kinds = recording.manifest.status.kinds
    lost = [f"{kind} {counts.lost}" for kind, counts in kinds.items() if counts.lost]
    cut = [f"{kind} {counts.truncated}" for kind, counts in kinds.items() if counts.truncated]
    lines = [f"lost while recording: {', '.join(lost) or 'nothing'}"]
    if cut:
        lines.append(f"events with a stack that was cut: {', '.join(cut)}")
    return lines


def sampling_period(recordings: Sequence[Recording]) -> int:
    """ns between two samples of a CPU; 0: there are none."""
    periods = [
        recording.sql(read_sql("export/period.sql")).fetchall()[0][0] for recording in recordings
    ]
    return max((int(period) for period in periods if period is not None), default=0)


def as_label(column: pa.Array) -> pa.Array:
    """A column as labels: text or int64."""
    kind = column.type
    if pa.types.is_null(kind) or pa.types.is_string(kind) or kind == pa.int64():
        return column
    if pa.types.is_dictionary(kind):
        return as_label(column.dictionary_decode())
    if pa.types.is_integer(kind) and kind != pa.uint64():
        return column.cast(pa.int64())
    if pa.types.is_binary(kind):
        return pa.array(
            [None if value is None else value.hex() for value in column.to_pylist()], pa.string()
        )
    try:
        return column.cast(pa.string())
    except pa.ArrowException:
        return pa.array(
            [None if value is None else str(value) for value in column.to_pylist()], pa.string()
        )


def _whole_numbers(question: Question, name: str, column: pa.Array) -> pa.Array:
    try:
        return column.cast(pa.int64()).fill_null(0)
    except pa.ArrowException as error:
        raise UsageError(
            f"{question.name}: the column {name!r} has values that are not whole numbers below "
            "2^63; round or cut them in the query (::bigint)."
        ) from error


def _is_number(kind: pa.DataType) -> bool:
    return bool(
        pa.types.is_integer(kind) or pa.types.is_decimal(kind) or pa.types.is_floating(kind)
    )


def one_chunk(column: pa.ChunkedArray) -> pa.Array:
    """A column as one array.

    Raises:
        StacksError: it holds more text than one array can.
    """
    whole = column.combine_chunks()
    if isinstance(whole, pa.ChunkedArray):
        if whole.num_chunks != 1:
            raise StacksError("the labels take more than 2 GiB; ask for fewer with --label.")
        return whole.chunk(0)
    return whole


def none_selected(samples: Samples) -> str | None:
    """What to tell of samples that are none; None: there are some."""
    if len(samples):
        return None
    asked = ", ".join(samples.origin.queries)
    if samples.origin.selection:
        return f"nothing recorded answers {asked} for {samples.origin.selection}."
    return f"nothing recorded answers {asked}; was the program for it in -p?"
