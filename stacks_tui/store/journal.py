"""Append-only journals: what a killed recorder leaves of a file that was not whole yet.

Comes in: Arrow record batches. Goes out: a file in which each appended batch is an Arrow IPC stream
of its own, one after the other, so that a batch carries its own dictionaries and only the columns
in which it has a value (a kind leaves many empty; they come back as nulls). `append` returns when
the kernel has the bytes: they outlive the process, though not a crash of the machine.
"""

from __future__ import annotations

import os
import stat

import pyarrow as pa

from stacks_tui.errors import StacksError
from stacks_tui.owner import User, create_file
from stacks_tui.store.disk import write_all, writing


class Journal:
    """One journal being written. `name` is created in the folder and must not exist.

    Raises:
        DiskFullError: no room for it.
        StacksError: it can't be created.
    """

    def __init__(self, dir_fd: int, name: str, user: User, codec: str | None = None) -> None:
        self.name = name
        self.size = 0
        """Bytes of whole batches."""
        with writing(name):
            self._fd = create_file(dir_fd, name, user)
        self._options = pa.ipc.IpcWriteOptions(compression=codec, use_threads=False)

    def append(self, batch: pa.RecordBatch) -> None:
        """Write a batch through to the file; on an error the file is as before the call.

        Raises:
            DiskFullError: no room.
            StacksError: any other failure to write.
        """
        if batch.num_rows == 0:
            return
        filled = [i for i, column in enumerate(batch.columns) if column.null_count < len(column)]
        part = batch.select(filled)
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, part.schema, options=self._options) as stream:
            stream.write_batch(part)
        data = memoryview(sink.getvalue())
        with writing(self.name):
            try:
                write_all(self._fd, data)
            except OSError:
                os.ftruncate(self._fd, self.size)
                os.lseek(self._fd, self.size, os.SEEK_SET)
                raise
        self.size += len(data)

    def close(self) -> None:
        """Close the file; it stays until it is removed by name."""
        os.close(self._fd)


def read_journal(fd: int, schema: pa.Schema) -> list[pa.RecordBatch]:
    """The whole batches of a journal in the order they were appended, in `schema`.

    A torn or foreign tail ends the reading, without an error: it is what a kill leaves.

    Raises:
        StacksError: a whole batch does not fit the schema.
    """
    source = pa.BufferReader(_content(fd))
    batches: list[pa.RecordBatch] = []
    while source.tell() < source.size():
        try:
            with pa.ipc.open_stream(source) as stream:
                batch = stream.read_next_batch()
                batch.validate(full=True)  # offsets and indices of a torn or forged file
                for _ in stream:
                    return batches  # never written by us
            batches.append(_widen(batch, schema))
        except (pa.ArrowException, OSError, StopIteration, UnicodeDecodeError):
            return batches
    return batches


def _content(fd: int) -> pa.Buffer:
    size = os.fstat(fd).st_size
    assert stat.S_ISREG(os.fstat(fd).st_mode)
    data = bytearray(size)
    view = memoryview(data)
    got = 0
    while got < size:
        part = os.preadv(fd, [view[got:]], got)
        if part == 0:
            break
        got += part
    return pa.py_buffer(view[:got])


def _widen(batch: pa.RecordBatch, schema: pa.Schema) -> pa.RecordBatch:
    """The batch with all columns of `schema`: what it lacks is null."""
    names = batch.schema.names
    columns = []
    for field in schema:
        if field.name not in names:
            if not field.nullable:
                raise StacksError(f"a journal lacks the column {field.name!r}; it is damaged.")
            columns.append(pa.nulls(batch.num_rows, field.type))
            continue
        column = batch.column(names.index(field.name))
        if column.type != field.type or (column.null_count and not field.nullable):
            raise StacksError(
                f"a journal has a column {field.name!r} of type {str(column.type)!r}, "
                f"expected {str(field.type)!r}; it is damaged or from another version."
            )
        columns.append(column)
    return pa.RecordBatch.from_arrays(columns, schema=schema)
