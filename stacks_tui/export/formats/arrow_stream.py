"""Arrow IPC as a stream: what `arrow` writes, for readers that can't seek, such as a pipe's."""

from __future__ import annotations

from typing import BinaryIO

import pyarrow as pa

from stacks_tui.export.formats.arrow import write_ipc
from stacks_tui.export.model import Rows
from stacks_tui.export.registry import Format
from stacks_tui.export.task import Task


def write_arrow_stream(rows: Rows, out: BinaryIO, task: Task) -> None:
    """Write the rows as an IPC stream."""
    write_ipc(pa.ipc.new_stream, rows, out, task)


FORMAT = Format(
    name="arrow-stream",
    extension=".arrows",
    answers="the same as a stream, for a pipe",
    wants=Rows,
    write=write_arrow_stream,
    hidden=True,
)
