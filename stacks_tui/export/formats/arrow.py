"""Arrow IPC: rows with their types, for pandas, Polars, R and whatever else knows Arrow.

Comes in: rows. Goes out: an IPC file, which readers map and seek in (`arrow_stream`: a stream, for
a pipe). Buffers are compressed with zstd; the schema's metadata tell where the rows come from.
"""

from __future__ import annotations

from typing import Any, BinaryIO

import pyarrow as pa

from stacks_tui import __version__, text
from stacks_tui.export.model import Rows
from stacks_tui.export.registry import Format
from stacks_tui.export.task import Task


def write_arrow(rows: Rows, out: BinaryIO, task: Task) -> None:
    """Write the rows as an IPC file."""
    write_ipc(pa.ipc.new_file, rows, out, task)


def write_ipc(new: Any, rows: Rows, out: BinaryIO, task: Task) -> None:
    """Write the rows; `new` is `pyarrow.ipc.new_file` or `new_stream`."""
    origin = rows.origin
    metadata = {
        "stacks_tui": __version__,
        "recordings": "\n".join(origin.recordings),
        "query": ", ".join(origin.queries),
        "question": "\n".join(origin.questions),
        "selection": origin.selection,
        "comments": "\n".join((*origin.comments, *origin.trust)),
    }
    schema = rows.schema.with_metadata({key: text.valid(value) for key, value in metadata.items()})
    options = pa.ipc.IpcWriteOptions(compression="zstd")
    done = 0
    with new(out, schema, options=options) as writer:
        for batch in rows.batches:
            writer.write_batch(batch.replace_schema_metadata(schema.metadata))
            done += batch.num_rows
            task.step("writing rows", done, rows.rows)


FORMAT = Format(
    name="arrow",
    extension=".arrow",
    answers="rows with their types, as Arrow's IPC: for pandas, Polars, R, DuckDB",
    wants=Rows,
    write=write_arrow,
    rank=80,
    variants=("arrow-stream",),
)
