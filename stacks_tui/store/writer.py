"""Writes a recording: its folder, its tables, its manifest.

Comes in: event batches, resolved stacks, processes, and once a second what the session counts.
Goes out: a folder that at any moment holds all that was handed in, whole or in journals. One thread
uses a writer. The folder is locked (flock) while it is written, so that nobody "recovers" it.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from stacks_tui.enrich.processes import ProcessRow
from stacks_tui.errors import StacksError, UsageError
from stacks_tui.owner import User, create_directory, recording_path
from stacks_tui.schema import EVENTS, STACKS
from stacks_tui.store.disk import remove, writing
from stacks_tui.store.journal import Journal
from stacks_tui.store.manifest import (
    Manifest,
    ManifestHeader,
    RecordingStatus,
    State,
    write_manifest,
)
from stacks_tui.store.parquet import parse_compression
from stacks_tui.store.recovery import PROCESSES_JOURNAL, write_processes
from stacks_tui.store.rows import StackRow, processes_batch, stacks_batch
from stacks_tui.store.sink import SinkOptions, TableSink

_STACKS_PER_FILE = 50_000
_STACKS_PER_GROUP = 4_096
"""A stack has some 30 frames: a group is then as large as one of events."""


@dataclass(frozen=True, slots=True)
class StoreOptions:
    """How a recording is cut into files."""

    rows_per_file: int = 1_000_000
    """Events in a file; its journal takes some 80 bytes for each until it is whole."""
    seconds_per_file: float = 120.0
    row_group_rows: int = 65_536
    """Events in a row group, which is what waits in memory."""
    compression: str = "zstd:1"


class RecordingWriter:
    """A recording being written; made by `create`."""

    def __init__(
        self, path: Path, dir_fd: int, user: User, header: ManifestHeader, options: StoreOptions
    ) -> None:
        compression = parse_compression(options.compression)
        self.path = path
        self._dir_fd = dir_fd
        self._user = user
        self._header = header
        self._compression = compression
        self._events = TableSink(
            dir_fd,
            "events",
            EVENTS,
            SinkOptions(
                options.rows_per_file,
                options.seconds_per_file,
                options.row_group_rows,
                compression,
            ),
            user,
            sort_by="timestamp",
        )
        self._stacks = TableSink(
            dir_fd,
            "stacks",
            STACKS,
            SinkOptions(
                _STACKS_PER_FILE,
                options.seconds_per_file,
                _STACKS_PER_GROUP,
                compression,
                journal_codec="lz4",
            ),
            user,
        )
        self._processes: Journal | None = None
        self._finished = self._closed = False
        self._failure: StacksError | None = None

    @classmethod
    def create(
        cls,
        path: Path | None,
        user: User,
        header: ManifestHeader,
        options: StoreOptions | None = None,
    ) -> RecordingWriter:
        """Make the folder (None: a new one among the user's recordings) and a first manifest.

        Raises:
            UsageError: the folder exists and is not empty, or an option is wrong.
            MachineError: the folder can't be written.
            DiskFullError, StacksError: nor can the manifest.
        """
        options = StoreOptions() if options is None else options
        if min(options.rows_per_file, options.row_group_rows, options.seconds_per_file) <= 0:
            raise UsageError("rows and seconds per file must be above zero.")
        parse_compression(options.compression)
        path, dir_fd = _new_folder(path, user, header.name)
        try:
            # Some network file systems lack flock on a folder; then nothing is held.
            with contextlib.suppress(OSError):
                fcntl.flock(dir_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            manifest = Manifest(header, RecordingStatus(header.begin))
            write_manifest(dir_fd, manifest, user)
            return cls(path, dir_fd, user, header, options)
        except BaseException:
            os.close(dir_fd)
            raise

    @property
    def bytes_written(self) -> int:
        """Size of the recording on disk so far, journals included."""
        processes = self._processes.size if self._processes else 0
        return self._events.bytes + self._stacks.bytes + processes

    @property
    def events_written(self) -> int:
        """Rows of events taken so far."""
        return self._events.rows

    def write_events(self, batch: pa.RecordBatch) -> None:
        """Take a batch of `schema.EVENTS`; when this returns its rows outlive a kill.

        Raises:
            DiskFullError, StacksError: it can't be written; earlier batches are safe.
        """
        self._events.append(batch)

    def write_stacks(self, stacks: Sequence[StackRow]) -> None:
        """Take stacks that were not written before.

        Raises:
            DiskFullError, StacksError: as `write_events`.
        """
        if stacks:
            self._stacks.append(stacks_batch(stacks))

    def write_processes(self, rows: Sequence[ProcessRow]) -> None:
        """Take processes, again when they change: the last row of a (tgid, start) counts.

        Raises:
            DiskFullError, StacksError: as `write_events`.
        """
        if not rows:
            return
        if self._processes is None:
            self._processes = Journal(self._dir_fd, PROCESSES_JOURNAL, self._user, "lz4")
        self._processes.append(processes_batch(rows))

    def flush(self, status: RecordingStatus) -> None:
        """Tell the manifest how things stand, and finish files whose time is up. Each second.

        Raises:
            DiskFullError, StacksError: as `write_events`.
        """
        self._events.tick()
        self._stacks.tick()
        write_manifest(self._dir_fd, Manifest(self._header, status), self._user)

    def finish_tables(self) -> None:
        """Finish all files, so that what was recorded can be asked before the last manifest.

        Every part is tried, also after one failed: what can't be finished stays in its journal.

        Raises:
            DiskFullError, StacksError: the first failure.
        """
        if self._finished:
            return
        self._finished = True
        for finish in (self._events.close, self._stacks.close, self._close_processes):
            try:
                finish()
            except StacksError as error:
                self._failure = self._failure or error
        if self._failure is not None:
            raise self._failure

    def close(
        self, status: RecordingStatus, state: State = State.FINISHED, reason: str | None = None
    ) -> Manifest:
        """Finish all files and the manifest; the writer is of no use afterwards.

        Raises:
            DiskFullError, StacksError: the first failure, also one that `finish_tables` raised
                before; the manifest then says `failed`.
        """
        if self._closed:
            raise StacksError("the recording is closed already.")
        self._closed = True
        try:
            with contextlib.suppress(StacksError):  # kept in `_failure`
                self.finish_tables()
            if self._failure is not None and state is State.FINISHED:
                state, reason = State.FAILED, str(self._failure)
            manifest = Manifest(self._header, status, state, reason)
            try:
                write_manifest(self._dir_fd, manifest, self._user)
            except StacksError as error:
                self._failure = self._failure or error
        finally:
            os.close(self._dir_fd)
        if self._failure is not None:
            raise self._failure
        return manifest

    def _close_processes(self) -> None:
        if self._processes is not None:
            self._processes.close()
            write_processes(self._dir_fd, self._compression, self._user)
            with writing(PROCESSES_JOURNAL):
                remove(self._dir_fd, PROCESSES_JOURNAL)


def _new_folder(path: Path | None, user: User, name: str) -> tuple[Path, int]:
    if path is not None:
        return path, create_directory(path, user)
    path = recording_path(user, name)
    for attempt in range(2, 100):
        with contextlib.suppress(UsageError):
            return path, create_directory(path, user)
        path = path.with_name(f"{recording_path(user, name).name}-{attempt}")
    return path, create_directory(path, user)
