"""Recordings for programs and notebooks: `stacks_tui.open(path)`.

Comes in: the path of a recording. Goes out: its rows, asked by SQL, by kind or by the name of a
query, as Arrow tables, pandas or Polars frames. pandas and Polars are only needed for their own
frames. Failures are `stacks_tui.errors.StacksError` (`UsageError`: what was asked is wrong).
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self, TypedDict, Unpack

import numpy as np
import pyarrow as pa

from stacks_tui.errors import UsageError
from stacks_tui.export.framing import Framing, is_list
from stacks_tui.export.model import Samples, Stacks
from stacks_tui.export.questions import (
    STACKS,
    TABLES,
    TRACES,
    Question,
    Span,
    ask,
    find_question,
    questions,
    recorded,
    rows_of,
)
from stacks_tui.export.samples import load_samples
from stacks_tui.export.selection import Selection
from stacks_tui.export.tables import load_rows
from stacks_tui.export.task import ExportOptions, Task
from stacks_tui.owner import invoking_user
from stacks_tui.resources import read_sql
from stacks_tui.store import reader
from stacks_tui.store.manifest import Manifest
from stacks_tui.store.reader import Parameter

if TYPE_CHECKING:
    import duckdb
    import pandas as pd
    import polars as pl

_FOLDERS = (STACKS, TABLES, TRACES)
"""Where a name is looked for, in this order."""
_SUFFIXES = {"nanoseconds": "_ns", "bytes": "_bytes", "count": ""}
_STACK_COLUMNS = ("stack", "end_stack")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Filters(TypedDict, total=False):
    """Which events are taken; all that are given must hold."""

    command: str
    """Name of the process (comm)."""
    pid: int | Sequence[int]
    """Processes."""
    thread: str | int
    """Name of the thread, or its number."""
    cgroup: str
    """Path of a cgroup, with all below it, or the name of a container."""
    span: str | int
    """Name of a span, or its number."""
    buildid: bytes | str
    """Of the executable; as text: its hexadecimal digits."""
    begin: int | datetime | timedelta
    """Events that ended then or later: ns since the Unix epoch, a time (without a zone: local), or
    a time after the recording began."""
    end: int | datetime | timedelta
    """Events that ended before."""
    last: float | timedelta
    """Only the last so many seconds that were recorded; takes the place of `begin`."""


@dataclass(frozen=True, slots=True)
class Rows:
    """The rows of an answer."""

    table: pa.Table

    def __len__(self) -> int:
        """Number of rows."""
        return int(self.table.num_rows)

    def __iter__(self) -> Iterator[dict[str, Any]]:
        """Each row as a dict."""
        return iter(self.table.to_pylist())

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the columns."""
        return tuple(self.table.column_names)

    def arrow(self) -> pa.Table:
        """The rows as they are."""
        return self.table

    def pandas(self) -> pd.DataFrame:
        """A pandas frame. Whole numbers stay exact: those that may be null are `UInt64`, `Int64` ….

        Raises:
            ImportError: pandas is not installed.
        """
        import pandas as pd

        whole = {
            pa.int8(): pd.Int8Dtype(),
            pa.int16(): pd.Int16Dtype(),
            pa.int32(): pd.Int32Dtype(),
            pa.int64(): pd.Int64Dtype(),
            pa.uint8(): pd.UInt8Dtype(),
            pa.uint16(): pd.UInt16Dtype(),
            pa.uint32(): pd.UInt32Dtype(),
            pa.uint64(): pd.UInt64Dtype(),
            pa.bool_(): pd.BooleanDtype(),
        }
        return self.table.to_pandas(types_mapper=whole.get)

    def polars(self) -> pl.DataFrame:
        """A Polars frame.

        Raises:
            ImportError: Polars is not installed.
        """
        import polars as pl

        frame = pl.from_arrow(self.table)
        assert isinstance(frame, pl.DataFrame)
        return frame


class Recording:
    """An open recording; a context manager. Used by one thread."""

    def __init__(self, opened: reader.Recording) -> None:
        self._opened = opened
        self._recorded: Span | None = None

    @property
    def path(self) -> Path:
        """Its folder or file."""
        return self._opened.path

    @property
    def manifest(self) -> Manifest | None:
        """What was asked of the recorder, and by kind what was received and lost; None: there is
        none (the nested layout, a single file)."""
        return self._opened.manifest

    @property
    def live(self) -> bool:
        """Whether it was still being written when it was opened; what came later is not seen."""
        return self._opened.live

    @property
    def begin(self) -> int:
        """When it began, ns since the Unix epoch."""
        return self._span().begin

    @property
    def end(self) -> int:
        """When it ended, ns since the Unix epoch."""
        return self._span().end

    @property
    def connection(self) -> duckdb.DuckDBPyConnection:
        """The DuckDB database with the views `events`, `stacks`, `processes` and `samples`.

        It lies in memory and can open no file, nor see variables of Python.
        """
        return self._opened.connection

    def sql(self, query: str, **parameters: Parameter) -> Rows:
        """The rows of one SELECT over the views; `$name` in it is the parameter `name`.

        Raises:
            UsageError: it is not one SELECT, or does not fit the views.
            StacksError: it failed while it ran.
        """
        return Rows(self._opened.table(query, **parameters))

    def events(self, kind: str | None = None, **filters: Unpack[Filters]) -> Rows:
        """Events (of one kind), with the ids of their stacks; see `stacks`.

        Raises:
            UsageError: a filter is wrong.
        """
        return self._chosen("library/events.sql", kind, filters)

    def samples(self, kind: str | None = None, **filters: Unpack[Filters]) -> Rows:
        """Events (of one kind) with their frames in `ustack`, `kstack` and `wstack`, leaf first.

        Convenient, and large: a stack is repeated in each row.

        Raises:
            UsageError: a filter is wrong.
        """
        return self._chosen("library/samples.sql", kind, filters)

    def stacks(self) -> Rows:
        """Each distinct stack: its `id`, its `frames` (leaf first), and how whole it is."""
        return self.sql(read_sql("library/stacks.sql"))

    def processes(self) -> Rows:
        """Who ran: a row for each process and executable."""
        return self.sql(read_sql("library/processes.sql"))

    def query(
        self,
        name: str,
        *,
        labels: Sequence[str] | None = None,
        slow: float | timedelta | None = None,
        **filters: Unpack[Filters],
    ) -> Rows:
        """The answer of a named query (see `queries`), or of an SQL file of your own.

        A query for profiles gives a row for each stack and labels: `stack` (names, leaf first; the
        kernel's part before the user's), `count`, its values (`cpu_ns` …), the labels. One for
        traces gives its events, with names in the place of stacks; one for tables its rows.

        Args:
            name: such as `offcpu`; where a name is there twice, `trace/rss` tells which. Or the
                path of a file: its rows are given as they are.
            labels: what profiles keep apart, such as `thread`; see `stacks-export --label`.
            slow: what `slow_spans` takes for slow; seconds.
            filters: which events are taken.

        Raises:
            UsageError: no such query, or a filter is wrong.
            StacksError: it failed while it ran.
        """
        folder, question = _found(name)
        chosen, span = self._selection(filters), self._span()
        minimum = None if slow is None else _nanoseconds(slow)
        task = Task(ExportOptions(None if labels is None else tuple(labels), minimum_ns=minimum))
        if folder == STACKS:
            return Rows(_profile(load_samples([self._opened], [question], chosen, task)))
        if folder == TABLES:
            found = load_rows([self._opened], [question], chosen, task)
            return Rows(pa.Table.from_batches(found.batches, found.schema))
        rows = rows_of(ask(self._opened, question, chosen, span, span.begin, task), question)
        return Rows(self._with_names(rows, question, task))

    def close(self) -> None:
        """Close it; rows that were taken stay."""
        self._opened.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"<recording {str(self.path)!r}>"

    def _span(self) -> Span:
        if self._recorded is None:
            self._recorded = recorded(self._opened)
        return self._recorded

    def _chosen(self, query: str, kind: str | None, filters: Filters) -> Rows:
        given = self._selection(filters).parameters()
        relation_of: Any = self._opened.table  # lists, too, are bound
        return Rows(relation_of(read_sql(query), kind=kind, labels=[], **given))

    def _selection(self, filters: Filters) -> Selection:
        return selection_of(filters, self._span)

    def _with_names(self, table: pa.Table, question: Question, task: Task) -> pa.Table:
        """Names of frames in place of ids."""
        for name in set(table.column_names) & set(_STACK_COLUMNS):
            at = table.column_names.index(name)
            if is_list(table.column(at).type):
                framing = Framing(task)
                index = framing.add(self._opened, table.column(at), question.name)
                table = table.set_column(at, name, _names(framing.stacks(), index))
        return table


def open(path: str | Path | None = None) -> Recording:  # noqa: A001
    """Open a recording.

    Args:
        path: its folder, one of its event files, or files in the nested layout. None: the last
            recording of the invoking user.

    Raises:
        UsageError: there is nothing of this name, or it is no recording.
        StacksError: it is damaged, from a newer version, or can't be read.
    """
    user = invoking_user()
    found = reader.last_recording(user) if path is None else Path(path)
    return Recording(reader.open_recording(found, user))


def queries() -> dict[str, str]:
    """What each query answers, by `folder/name`; the name alone does where it is there once."""
    return {f"{folder}/{one.name}": one.answers for folder in _FOLDERS for one in questions(folder)}


def selection_of(filters: Filters, span: Callable[[], Span]) -> Selection:
    """Filters as queries take them; `span` tells when the recording began and ended.

    Raises:
        UsageError: an unknown filter, or a value that is none.
    """
    given: dict[str, Any] = {**filters}
    for name in given:
        if name not in Filters.__annotations__:
            near = difflib.get_close_matches(name, Filters.__annotations__, 1, 0.4)
            hint = f"did you mean {near[0]!r}? " if near else ""
            known = ", ".join(Filters.__annotations__)
            raise UsageError(f"no filter {name!r}; {hint}there are: {known}.")
    given = {name: value for name, value in given.items() if value is not None}
    pids = given.get("pid", ())
    begin, end = (
        _moment(given[name], span) if name in given else None for name in ("begin", "end")
    )
    if "last" in given:
        if begin is not None:
            raise UsageError("begin and last exclude each other; give one of them.")
        until = span().end + 1 if end is None else min(end, span().end + 1)
        begin = max(until - _nanoseconds(given["last"]), 0)
    buildid = given.get("buildid")
    try:
        return Selection(
            command=given.get("command"),
            buildid=bytes.fromhex(buildid) if isinstance(buildid, str) else buildid,
            pids=(int(pids),) if isinstance(pids, int | np.integer) else tuple(map(int, pids)),
            thread=_text(given, "thread"),
            cgroup=given.get("cgroup"),
            span=_text(given, "span"),
            begin=begin,
            end=end,
        )
    except (TypeError, ValueError) as error:
        raise UsageError(f"a filter's value is wrong: {error}.") from error


def _text(given: Mapping[str, Any], name: str) -> str | None:
    return str(given[name]) if name in given else None


def _moment(value: int | datetime | timedelta, span: Callable[[], Span]) -> int:
    """ns since the Unix epoch."""
    if isinstance(value, timedelta):
        return span().begin + _nanoseconds(value)
    if isinstance(value, datetime):
        return _nanoseconds(value.astimezone(UTC) - _EPOCH)
    return int(value)


def _nanoseconds(value: float | timedelta) -> int:
    if isinstance(value, timedelta):
        return (value.days * 86_400 + value.seconds) * 10**9 + value.microseconds * 1_000
    return round(value * 1e9)


def _found(name: str) -> tuple[str, Question]:
    """The query, and the folder that it is of; a user's own counts as one for tables."""
    folder, _, rest = name.rpartition("/")
    if name.endswith(".sql"):
        return TABLES, find_question(name, TABLES)
    if folder in _FOLDERS:
        return folder, find_question(rest, folder)
    for folder in _FOLDERS:
        for one in questions(folder):
            if one.name == name:
                return folder, one
    names = dict.fromkeys(one.name for folder in _FOLDERS for one in questions(folder))
    near = difflib.get_close_matches(name, names, 1, 0.4)
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise UsageError(f"no query {name!r}; {hint}there are: {', '.join(names)}, or a .sql file.")


def _profile(samples: Samples) -> pa.Table:
    columns = {"stack": _names(samples.stacks, samples.stack_of)}
    for at, kind in enumerate(samples.types):
        columns[f"{kind.name}{_SUFFIXES[kind.unit]}"] = pa.array(samples.values[:, at])
    columns |= {label.name: label.values for label in samples.labels}
    return pa.table(columns)


def _names(stacks: Stacks, index: np.ndarray[Any, Any]) -> pa.Array:
    """[n] the names of stacks' frames, leaf first, inlined ones before their function; -1: null."""
    lines = [len(location.lines) for location in stacks.locations]
    flat = pa.array([line.name for one in stacks.locations for line in one.lines], pa.string())
    first = np.concatenate([[0], np.cumsum(lines, dtype=np.int64)])
    places = stacks.places.astype(np.int64)
    many = np.array(lines, np.int64)[places] if len(lines) else np.zeros(0, np.int64)
    ends = np.concatenate([[0], np.cumsum(many)])
    at = np.arange(ends[-1]) + np.repeat(first[places] - ends[:-1], many)
    whole = pa.ListArray.from_arrays(pa.array(ends[stacks.offsets], pa.int32()), flat.take(at))
    return whole.take(pa.array(index, mask=index < 0))
