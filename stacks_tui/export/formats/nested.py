"""The nested layout: one Parquet file with the frames in each row, as other recorders write it.

Comes in: rows of the query `nested`. Goes out: a file that every reader of that layout opens, this
program among them. Nothing is null: a zero, an empty text or list stands for what was not taken.
Row groups are sorted by time. Stacks are annotated lists, the only ones that Arrow writes; the
layout's own are bare repeated groups, which readers show alike.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

import pyarrow as pa
import pyarrow.compute as pc

from stacks_tui.errors import UsageError
from stacks_tui.export.model import Rows
from stacks_tui.export.registry import Format
from stacks_tui.export.task import Task

_FRAMES = pa.list_(
    pa.field(
        "item",
        pa.struct(
            [
                pa.field("name", pa.string(), False),
                pa.field("address", pa.uint64(), False),
                pa.field("offset", pa.uint64(), False),
            ]
        ),
        False,
    )
)
SCHEMA = pa.schema(
    [
        pa.field("timestamp", pa.uint64(), False),  # ns since the Unix epoch, end of the event
        pa.field("duration", pa.uint64(), False),
        pa.field("kind", pa.string(), False),
        pa.field("cpu", pa.uint16(), False),
        pa.field("tgid", pa.uint32(), False),
        pa.field("span_id", pa.uint64(), False),
        pa.field("parent_id", pa.uint64(), False),
        pa.field("id", pa.uint64(), False),
        pa.field("amount", pa.uint64(), False),
        pa.field("pid", pa.uint32(), False),
        pa.field("command", pa.string(), False),
        pa.field("trace_name", pa.string(), False),
        pa.field("buildid", pa.binary(), False),
        pa.field("ustack", _FRAMES, False),
        pa.field("kstack", _FRAMES, False),
    ]
)
"""Columns and types of the layout (`store.layout.NESTED`)."""
_GROUP_ROWS = 32_768
"""With 30 frames each, some 50 MB."""


def write_nested(rows: Rows, out: BinaryIO, task: Task) -> None:
    """Write the rows.

    Raises:
        UsageError: they are not those of the layout.
    """
    import pyarrow.parquet as pq

    lacking = [name for name in SCHEMA.names if name not in rows.schema.names]
    if lacking:
        raise UsageError(
            f"{', '.join(rows.origin.queries)}: the query returns no {lacking[0]!r}; the nested "
            "layout needs the columns of the query 'nested'."
        )
    task.note(
        "the nested layout has no waits (they are what lies between the slices of a thread), no "
        "wakers, states, threads' names or modules of frames."
    )
    done = 0
    with pq.ParquetWriter(out, SCHEMA, compression="zstd", use_dictionary=True) as writer:
        for group in _groups(rows):
            writer.write_table(group, row_group_size=_GROUP_ROWS)
            done += group.num_rows
            task.step("writing rows", done, rows.rows)


def _groups(rows: Rows) -> Iterator[pa.Table]:
    """Row groups, each sorted by time."""
    waiting: list[pa.Table] = []
    count = 0
    for batch in rows.batches:
        waiting.append(_typed(batch))
        count += batch.num_rows
        if count >= _GROUP_ROWS:
            yield _sorted(waiting)
            waiting, count = [], 0
    if count:
        yield _sorted(waiting)


def _sorted(tables: list[pa.Table]) -> pa.Table:
    table = pa.concat_tables(tables)
    return table.take(pc.sort_indices(table, sort_keys=[("timestamp", "ascending")]))


def _typed(batch: pa.RecordBatch) -> pa.Table:
    """Raises UsageError for values that the layout can't hold."""
    columns = []
    for field in SCHEMA:
        column = batch.column(batch.schema.names.index(field.name))
        try:
            column = column.cast(field.type)
        except (pa.ArrowException, ValueError) as error:
            raise UsageError(
                f"the column {field.name!r} is {str(column.type)[:60]!r}; the nested layout needs "
                f"{str(field.type)[:60]!r}."
            ) from error
        if column.null_count:
            raise UsageError(f"the column {field.name!r} has nulls; the nested layout has none.")
        columns.append(column)
    return pa.Table.from_arrays(columns, schema=SCHEMA)


FORMAT = Format(
    name="nested",
    extension=".parquet",
    answers="Parquet with the frames in each row, as other recorders write it",
    wants=Rows,
    write=write_nested,
    rank=70,
    queries=("nested",),
)
