"""How the columns of a recording lie in Parquet: encodings, compression, what has statistics.

Comes in: sorted Arrow tables. Goes out: one Parquet file under a `.partial` name, complete once
`close` returned; the caller renames it.
"""

from __future__ import annotations

from dataclasses import dataclass

import pyarrow as pa
import pyarrow.parquet as pq

from stacks_tui.errors import StacksError, UsageError
from stacks_tui.owner import User, create_file
from stacks_tui.store.disk import Output, remove, writing

_DELTA = ("timestamp", "duration")
"""Sorted or narrow numbers: DELTA_BINARY_PACKED takes half the bytes of plain and is faster."""
_UNCODED = ("id", "cpu", "tgid", "pid")
"""Distinct in every row of `stacks`, or so alike that plain numbers compress to nothing: there a
dictionary would only cost."""
_MEASURED = ("timestamp", "id", "start")
"""Columns with min/max, those by which queries skip; on all of them it costs a fifth more time."""


@dataclass(frozen=True, slots=True)
class Compression:
    """A codec of Parquet and its level, None where it has none."""

    codec: str
    level: int | None = None


def parse_compression(text: str) -> Compression:
    """Parse `zstd`, `zstd:LEVEL` (1 to 22), `snappy` or `none`.

    Raises:
        UsageError: anything else.
    """
    codec, _, level = text.partition(":")
    if codec == "zstd":
        if not level and ":" not in text:
            return Compression("zstd", 1)
        if level.isascii() and level.isdigit() and 1 <= int(level) <= 22:
            return Compression("zstd", int(level))
    elif text in ("snappy", "none"):
        return Compression(text)
    raise UsageError(f"unknown compression {text!r}; use zstd, zstd:1 to zstd:22, snappy or none.")


class ParquetFile:
    """One Parquet file being written: `name` is created in the folder and must not exist.

    Raises:
        DiskFullError: no room for it.
        StacksError: it can't be created.
    """

    def __init__(
        self, dir_fd: int, name: str, schema: pa.Schema, compression: Compression, user: User
    ) -> None:
        self.name = name
        with writing(name):
            self._output = Output(create_file(dir_fd, name, user))
        flat = not any(pa.types.is_nested(field.type) for field in schema)
        delta = [field for field in _DELTA if field in schema.names]
        coded = [field for field in schema.names if field not in (*_DELTA, *_UNCODED)]
        # Nested columns are named by their path in the file, and there all of them repeat much.
        try:
            with writing(name):
                self._writer = pq.ParquetWriter(
                    pa.PythonFile(self._output, mode="w"),
                    schema,
                    compression=compression.codec,
                    compression_level=compression.level,
                    use_dictionary=coded if flat else True,
                    column_encoding=dict.fromkeys(delta, "DELTA_BINARY_PACKED") if flat else None,
                    write_statistics=[field for field in _MEASURED if field in schema.names],
                )
        except StacksError:
            self._output.abandon()
            remove(dir_fd, name)
            raise

    def write(self, table: pa.Table, rows: int) -> None:
        """Write row groups of at most `rows` rows.

        Raises:
            DiskFullError, StacksError: it can't be written; the file is of no use any more.
        """
        with writing(self.name):
            self._writer.write_table(table, row_group_size=rows)

    def close(self) -> None:
        """Write the footer and close.

        Raises:
            DiskFullError, StacksError: it can't be written; the file is of no use any more.
        """
        with writing(self.name):
            self._writer.close()
        self._output.abandon()

    def abandon(self) -> None:
        """Close without a footer; the caller removes the file."""
        self._output.abandon()
        self._writer.close()
