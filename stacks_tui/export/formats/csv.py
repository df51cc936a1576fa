"""CSV: a line for each row, for spreadsheets, grep and whatever reads nothing else.

Comes in: rows. Goes out: UTF-8 with a header, as RFC 4180 has it, but lines end with LF. Text is in
quotes, numbers are not, null is nothing at all. So that a row is always one line, and no cell is a
command to a terminal or a formula to a spreadsheet, text is changed in two cases: what is not
plainly visible is an escape (`\\n`, `\\x1b`), and a text that begins with `=`, `+`, `-` or `@` has
a `'` before it. Numbers stay as they are, also negative ones. Lists and structs are JSON text,
bytes hexadecimal digits.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import BinaryIO

import duckdb
import pyarrow as pa
import pyarrow.compute as pc

from stacks_tui import text
from stacks_tui.export.model import Rows
from stacks_tui.export.questions import batches
from stacks_tui.export.registry import Format
from stacks_tui.export.samples import one_chunk
from stacks_tui.export.task import Task
from stacks_tui.resources import read_sql

_FORMULA = "=+-@＝＋－＠"
"""What spreadsheets take for the begin of a formula (OWASP, "CSV Injection"). Tabs and returns,
which it names too, are escapes here."""
_ODD = rf"^[{_FORMULA}]|[^\x20-\x7e]".replace("+-@", r"+\-@")
"""RE2: text that may have to be changed."""


def write_csv(rows: Rows, out: BinaryIO, task: Task) -> None:
    """Write the rows."""
    from pyarrow import csv

    options = csv.WriteOptions(include_header=True, quoting_style="needed")
    names = [_safe(name) for name in rows.schema.names]
    done = 0
    writer: csv.CSVWriter | None = None
    with duckdb.connect(config={"threads": "1"}) as connection:
        for batch in rows.batches:
            columns = [_cells(column, connection) for column in batch.columns]
            table = pa.Table.from_arrays(columns, names)
            if writer is None:
                writer = csv.CSVWriter(out, table.schema, write_options=options)
            writer.write_table(table)
            done += batch.num_rows
            task.step("writing rows", done, rows.rows)
    if writer is not None:
        writer.close()


def _cells(column: pa.Array, connection: duckdb.DuckDBPyConnection) -> pa.Array:
    """A column as numbers, booleans or safe text."""
    kind = column.type
    if pa.types.is_null(kind):
        return column.cast(pa.string())
    if pa.types.is_dictionary(kind):
        return _cells(column.dictionary_decode(), connection)
    if pa.types.is_string(kind) or pa.types.is_large_string(kind):
        return _changed(column, _safe)
    if pa.types.is_binary(kind) or pa.types.is_large_binary(kind):
        return _distinct(column, bytes.hex)
    if pa.types.is_nested(kind):
        return _changed(_asked("export/json.sql", column, connection), _safe_json)
    if pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_boolean(kind):
        return column
    return _asked("export/text.sql", column, connection)  # decimals, dates, times


def _asked(query: str, column: pa.Array, connection: duckdb.DuckDBPyConnection) -> pa.Array:
    """What the query says of each value: text."""
    connection.register("given", pa.table({"value": column}))
    found = pa.Table.from_batches(batches(connection.sql(read_sql(query))))
    return one_chunk(found.column(0))


def _changed(column: pa.Array, change: Callable[[str], str]) -> pa.Array:
    """The text, with `change` applied to what is odd; each distinct text once."""
    odd = pc.match_substring_regex(column, _ODD)
    return _distinct(column, change) if pc.any(odd).as_py() else column


def _distinct(column: pa.Array, change: Callable[..., str]) -> pa.Array:
    encoded = column.dictionary_encode()
    values = encoded.dictionary.to_pylist()
    return pa.array([change(value) for value in values], pa.string()).take(encoded.indices)


def _safe(value: str) -> str:
    shown = text.printable(text.valid(value))
    return f"'{shown}" if shown.startswith(tuple(_FORMULA)) else shown


def _safe_json(value: str) -> str:
    """JSON with escapes of its own for what is not plainly visible."""
    if value.isprintable():
        return value
    return "".join(
        char if char.isprintable() else json.dumps(char, ensure_ascii=True)[1:-1] for char in value
    )


FORMAT = Format(
    name="csv",
    extension=".csv",
    answers="a line for each row: for spreadsheets and text tools; lists are JSON",
    wants=Rows,
    write=write_csv,
    rank=90,
)
