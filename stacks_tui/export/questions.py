"""Queries by their short names, or from a user's own file, run with the filters of a selection.

Comes in: a name such as `offcpu`, or the path of an SQL file. Goes out: its rows as a relation.
What DuckDB says of a broken query is told with the line it means.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import duckdb
import pyarrow as pa

from stacks_tui.errors import StacksError, UsageError
from stacks_tui.export.selection import Selection, Value
from stacks_tui.export.task import Task
from stacks_tui.resources import read_sql
from stacks_tui.store.queries import Query, load_query, query_names, read_query
from stacks_tui.store.reader import Recording, one_line

STACKS, TRACES, TABLES = "pprof", "trace", "table"
"""Folders of `sql/`: queries for samples, for traces, for tables."""
USUAL_LABELS = ("command", "pid", "thread", "span_name")
"""They hardly split samples: a user stack belongs to one process anyway."""
ALL_LABELS = (
    "command",
    "pid",
    "thread",
    "tid",
    "cpu",
    "kind",
    "state",
    "span_name",
    "span_id",
    "cgroup",
)
_MOST_BYTES = 1 << 20
_BATCH_ROWS = 65_536
_LINE = re.compile(r"^LINE (\d+): (.*)$", re.MULTILINE)
_NAME = re.compile(r'"([^"\n]+)"|with name (\w+)')
_HINT = re.compile(r"^(?:Candidate bindings|Did you mean).*$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Question:
    """One query that can be asked of a recording."""

    name: str
    """Short name, or the file's name without `.sql`."""
    answers: str
    """Its first line."""
    sql: str
    columns: tuple[tuple[str, str], ...] = ()
    """(name, meaning) of those that need one."""
    parameters: tuple[tuple[str, str], ...] = ()
    """(name, meaning) beside the filters."""
    file: Path | None = None
    """None: it ships with the program."""
    names: tuple[str, ...] = ()
    frames: tuple[str, ...] = ()
    sliced: bool = False
    """See `store.queries.Query`; only for tables."""


@dataclass(frozen=True, slots=True)
class Span:
    """When a recording began and ended, ns since the Unix epoch."""

    begin: int
    end: int


def questions(folder: str) -> tuple[Question, ...]:
    """All queries of a folder, sorted by name."""
    return tuple(_shipped(name) for name in query_names(folder))


def find_question(text: str, folder: str) -> Question:
    """The query of this short name, or in this file (a path, or a name that ends with `.sql`).

    Raises:
        UsageError: no such query (the nearest is named), or the file can't be read.
    """
    if "/" in text or text.endswith(".sql"):
        return _from_file(Path(text))
    names = [name.rpartition("/")[2] for name in query_names(folder)]
    if text in names:
        return _shipped(f"{folder}/{text}")
    for other in (STACKS, TRACES, TABLES):
        if other != folder and f"{other}/{text}" in query_names(other):
            fit = {STACKS: "profiles", TRACES: "traces", TABLES: "tables"}[other]
            raise UsageError(f"the query {text!r} is for {fit}; here fit: {', '.join(names)}.")
    near = difflib.get_close_matches(text, names, 1, 0.4)
    hint = f"did you mean {near[0]!r}? " if near else ""
    raise UsageError(f"no query {text!r}; {hint}there are: {', '.join(names)}, or a .sql file.")


def recorded(recording: Recording) -> Span:
    """When it began and ended: as its manifest says, else by its events."""
    row = recording.sql(read_sql("export/recorded.sql")).fetchall()[0]
    first, last = row if row[0] is not None else (0, 0)
    if recording.manifest is None:
        return Span(first, last)
    begin = recording.manifest.header.begin
    return Span(begin, max(recording.manifest.status.end, last, begin))


def ask(
    recording: Recording,
    question: Question,
    selection: Selection,
    span: Span,
    origin: int,
    task: Task,
) -> duckdb.DuckDBPyRelation:
    """The query's rows, not yet fetched.

    Raises:
        UsageError: the query is wrong, or has no parameter for a filter that was given.
    """
    labels = USUAL_LABELS if task.options.labels is None else task.options.labels
    filters = selection.parameters()
    if question.file is not None:
        _refuse_idle_filters(question, filters)
    values: dict[str, Any] = {
        **filters,
        "labels": [*labels, *(["pid"] if "cgroup" in labels else [])],
        "origin": origin,
        "recorded_begin": span.begin,
        "recorded_end": span.end,
        "minimum": task.options.minimum_ns,
    }
    task.step(f"asking {question.name}")
    try:
        return recording.sql(question.sql, **values)
    except StacksError as error:
        raise _told(error, question) from error.__cause__


def batches(
    relation: duckdb.DuckDBPyRelation, question: Question | None = None, rows: int = _BATCH_ROWS
) -> Iterator[pa.RecordBatch]:
    """The rows of a relation in batches; at least one, for its columns.

    Raises:
        StacksError: it failed while it ran.
    """
    try:
        # versions that have the first name deprecate the second, which must be told to run
        given: Any = relation  # its type doesn't know the names of all versions
        if "to_arrow_reader" in dir(relation):
            reader = given.to_arrow_reader(rows)
        else:
            reader = given.execute().fetch_arrow_reader(rows)
        batch = None
        for batch in reader:
            yield batch
        if batch is None:
            yield pa.RecordBatch.from_pylist([], reader.schema)
    except (duckdb.Error, pa.ArrowException) as error:
        if question is None:
            raise StacksError(f"the query failed: {one_line(error)}.") from error
        line = _line_of(str(error), question.sql)
        where = f", in line {line}" if line else ""
        raise StacksError(f"{_shown(question)}: {one_line(error)}{where}.") from error


def rows_of(relation: duckdb.DuckDBPyRelation, question: Question) -> pa.Table:
    """All rows of a relation.

    Raises:
        StacksError: it failed while it ran.
    """
    return pa.Table.from_batches(list(batches(relation, question)))


def _shipped(name: str) -> Question:
    return _question(name.rpartition("/")[2], load_query(name))


def _question(name: str, query: Query, file: Path | None = None) -> Question:
    return Question(
        name,
        query.question,
        query.sql,
        query.columns,
        query.parameters,
        file,
        query.names,
        query.frames,
        query.sliced,
    )


def _from_file(path: Path) -> Question:
    try:
        with path.open("rb") as file:
            raw = file.read(_MOST_BYTES + 1)
    except (OSError, ValueError) as error:
        reason = (getattr(error, "strerror", None) or str(error)).lower()
        raise UsageError(f"can't read the query {str(path)!r}: {reason}.") from error
    if len(raw) > _MOST_BYTES:
        raise UsageError(f"{str(path)!r} is no query: larger than {_MOST_BYTES >> 20} MiB.")
    try:
        text = raw.decode("utf-8")
    except UnicodeDecodeError as error:
        raise UsageError(f"{str(path)!r} is no query: it is not UTF-8 text.") from error
    query = read_query(path.stem, text)
    return _question(path.stem, replace(query, question=query.question or path.name), path)


def _refuse_idle_filters(question: Question, filters: dict[str, Value]) -> None:
    """A filter that a user's query doesn't mention would silently do nothing."""
    with duckdb.connect() as connection:
        try:
            statements = connection.extract_statements(question.sql)
        except duckdb.Error:
            return  # it is told when the query runs
    named = set().union(*(statement.named_parameters for statement in statements))
    for name, value in filters.items():
        if value is not None and name not in named:
            raise UsageError(
                f"the query {question.name!r} has no ${name}, so that filter would do nothing; "
                f"use ${name} in it, or take its events from chosen(…) as the others do."
            )


def _shown(question: Question) -> str:
    return question.file.name if question.file is not None else question.name


def _told(error: StacksError, question: Question) -> StacksError:
    message = str(error).rstrip(".")
    if isinstance(error.__cause__, duckdb.Error):
        said = str(error.__cause__)
        hint = _HINT.search(said)
        line = _line_of(said, question.sql)
        message += f", in line {line}" if line else ""
        message += f" ({hint[0]})" if hint else ""
    return type(error)(f"{_shown(question)}: {message}.")


def _line_of(said: str, sql: str) -> str | None:
    """Number and text of the line that an error means: as it says, or where the name first is."""
    told = _LINE.search(said)
    if told is not None:
        # where the query was counted, it stood within another
        shown = told[2].strip()
        lines = [line.strip() for line in sql.splitlines()]
        return f"{lines.index(shown) + 1 if shown in lines else told[1]}: {shown}"
    named = _NAME.search(said)
    if named is None:
        return None
    word = re.compile(rf"\b{re.escape(named[1] or named[2])}\b", re.IGNORECASE)
    for number, text in enumerate(sql.splitlines(), 1):
        if not text.startswith("--") and word.search(text):
            return f"{number}: {text.strip()}"
    return None
