"""One table's files: batches in, numbered whole Parquet files out, a journal beside the newest.

Journal N and Parquet file N hold the same rows. Rows wait in memory until a row group is full; a
full file is closed, renamed from `.partial`, and only then its journal removed. So a row is always
in exactly one place that counts: where the Parquet file exists, its journal is stale.

Nothing is fsynced: that would stall the recorder behind, and disturb, the very disk that may be
under study. A killed recorder loses nothing by it; a crash of the machine may.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pyarrow as pa

from stacks_tui.errors import StacksError
from stacks_tui.owner import User
from stacks_tui.store.disk import remove, writing
from stacks_tui.store.journal import Journal
from stacks_tui.store.ordering import OrderedPieces
from stacks_tui.store.parquet import Compression, ParquetFile

PARTIAL = ".partial"
JOURNAL = ".journal"
PARQUET = ".parquet"


@dataclass(frozen=True, slots=True)
class SinkOptions:
    """How a table is cut into files."""

    rows_per_file: int
    seconds_per_file: float
    row_group_rows: int
    compression: Compression
    overlap_ns: int = 100_000_000
    """How far a batch may reach back behind the newest row without a new file being begun."""
    journal_codec: str | None = None


class TableSink:
    """Writes one table. Used by one thread.

    With `sort_by` (a u64 column, ns) every file is sorted by it: the rows of the last `overlap_ns`
    are held back when row groups are written, and a batch that reaches back further begins the
    next file.
    """

    def __init__(
        self,
        dir_fd: int,
        stem: str,
        schema: pa.Schema,
        options: SinkOptions,
        user: User,
        sort_by: str | None = None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.rows = 0
        """Rows taken so far."""
        self._dir_fd = dir_fd
        self._stem = stem
        self._schema = schema
        self._options = options
        self._user = user
        self._sort_by = sort_by
        self._clock = clock
        self._number = 1
        self._file: ParquetFile | None = None
        self._journal: Journal | None = None
        self._pending = OrderedPieces(schema, sort_by)
        self._flush_at = options.row_group_rows
        self._file_rows = 0
        self._opened = 0.0
        self._written_to = -1
        self._whole_bytes = 0
        self._failed = False

    @property
    def bytes(self) -> int:
        """Size on disk: whole files, and the journal of the unfinished one."""
        return self._whole_bytes + (self._journal.size if self._journal else 0)

    def append(self, batch: pa.RecordBatch) -> None:
        """Take a batch: when this returns, its rows outlive a kill.

        Raises:
            DiskFullError: no room; earlier batches are safe.
            StacksError: another failure to write, or a call after one.
        """
        if self._failed:
            raise StacksError(f"nothing more can be written to {self._stem!r} after a failure.")
        if batch.num_rows == 0:
            return
        lowest = self._lowest(batch)
        if lowest < self._written_to:
            self.rotate()
        if self._journal is None:
            self._journal = Journal(
                self._dir_fd, self._name(JOURNAL), self._user, self._options.journal_codec
            )
            self._opened = self._clock()
        self._journal.append(batch)
        self._pending.add(batch)
        self._file_rows += batch.num_rows
        self.rows += batch.num_rows
        if self._file_rows >= self._options.rows_per_file:
            self.rotate()
        elif self._pending.rows >= self._flush_at:
            self._flush()
        self.tick()

    def tick(self) -> None:
        """Finish the file if its time is up. Call it about once a second.

        Raises:
            DiskFullError, StacksError: as `append`.
        """
        open_for = self._clock() - self._opened
        if self._journal and open_for >= self._options.seconds_per_file:
            self.rotate()

    def rotate(self) -> None:
        """Finish the current file; the next batch begins another.

        Raises:
            DiskFullError, StacksError: the file could not be finished; its journal has its rows.
        """
        if self._journal is None or self._failed:
            return
        with self._or_fail():
            self._write(self._pending.take(self._pending.rows))
            assert self._file is not None
            self._file.close()
            self._file = None
            name = self._name(PARQUET)
            with writing(name):
                os.rename(name + PARTIAL, name, src_dir_fd=self._dir_fd, dst_dir_fd=self._dir_fd)
                self._whole_bytes += os.stat(name, dir_fd=self._dir_fd).st_size
        self._journal.close()
        with writing(self._journal.name):
            remove(self._dir_fd, self._journal.name)
        self._journal = None
        self._file_rows = 0
        self._written_to = -1
        self._flush_at = self._options.row_group_rows
        self._number += 1

    def close(self) -> None:
        """Finish the last file.

        Raises:
            DiskFullError, StacksError: as `rotate`.
        """
        try:
            self.rotate()
        finally:
            if self._journal is not None:
                self._journal.close()

    def _flush(self) -> None:
        """Write what no later batch is expected to precede, in whole row groups."""
        group = self._options.row_group_rows
        ready = self._pending.rows
        if self._sort_by is not None:
            ready = self._pending.rows_up_to(self._pending.newest() - self._options.overlap_ns)
            # Memory is bounded whatever the rate: of four groups one goes out.
            ready = max(ready, self._pending.rows - 3 * group)
        ready -= ready % group
        if ready:
            with self._or_fail():
                self._write(self._pending.take(ready))
        self._flush_at = self._pending.rows + max(1, group // 4)

    def _write(self, table: pa.Table) -> None:
        if self._file is None:
            name = self._name(PARQUET) + PARTIAL
            self._file = ParquetFile(
                self._dir_fd, name, self._schema, self._options.compression, self._user
            )
        if table.num_rows == 0:
            return
        self._file.write(table, self._options.row_group_rows)
        if self._sort_by is not None:
            self._written_to = table.column(self._sort_by)[-1].as_py()

    def _lowest(self, batch: pa.RecordBatch) -> int:
        if self._sort_by is None:
            return 0
        times = batch.column(batch.schema.get_field_index(self._sort_by)).to_numpy()
        return int(times.min())

    def _name(self, suffix: str) -> str:
        return f"{self._stem}-{self._number:06d}{suffix}"

    @contextlib.contextmanager
    def _or_fail(self) -> Iterator[None]:
        """On an error drop the unfinished file: the journal has its rows, and room is needed."""
        try:
            yield
        except StacksError:
            self._failed = True
            self._pending.clear()
            if self._file is not None:
                self._file.abandon()
                with contextlib.suppress(OSError):
                    remove(self._dir_fd, self._file.name)
                self._file = None
            raise
