"""Makes whole what a killed recorder left; finds what a folder holds.

Comes in: the descriptor of a recording's folder. Goes out: journals turned into Parquet files by
rename, unfinished files gone, the manifest's state `recovered`. Each step can be interrupted and
done again: a journal goes only after its Parquet file is whole, and beside a whole one it is stale.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from stacks_tui.owner import User, open_file
from stacks_tui.schema import EVENTS, PROCESSES, STACKS
from stacks_tui.store.disk import remove, writing
from stacks_tui.store.journal import read_journal
from stacks_tui.store.manifest import KindCounts, Manifest, State, write_manifest
from stacks_tui.store.ordering import sorted_table
from stacks_tui.store.parquet import Compression, ParquetFile
from stacks_tui.store.rows import last_processes
from stacks_tui.store.sink import JOURNAL, PARQUET, PARTIAL

PROCESSES_JOURNAL = "processes" + JOURNAL
PROCESSES_FILE = "processes" + PARQUET
_SCHEMAS = {"events": EVENTS, "stacks": STACKS}
_SORT = {"events": "timestamp", "stacks": None}
_NUMBERED = re.compile(r"(events|stacks)-([0-9]{6,9})\.(parquet|journal)", re.ASCII)
_GROUP_ROWS = {"events": 65_536, "stacks": 4_096}
_COMPRESSION = Compression("zstd", 1)


@dataclass(frozen=True, slots=True)
class Holding:
    """Names of the files in a folder, sorted."""

    parquet: Mapping[str, tuple[str, ...]]
    """By table; of `processes` at most one."""
    journals: Mapping[str, tuple[str, ...]]
    """By table, only those that have no whole Parquet file."""
    stale: tuple[str, ...]
    """Unfinished files, and journals beside their whole Parquet file."""

    @property
    def whole(self) -> bool:
        """Whether nothing is left to recover."""
        return not self.stale and not any(self.journals.values())


def scan(dir_fd: int) -> Holding:
    """What an open folder holds. A recorder may rename files meanwhile: read until it holds still.

    Raises:
        OSError: the folder can't be read.
    """
    before = sorted(os.listdir(dir_fd))
    for _ in range(10):
        names = sorted(os.listdir(dir_fd))
        if names == before:
            break
        before = names
    parquet: dict[str, list[str]] = {"events": [], "stacks": [], "processes": []}
    journals: dict[str, list[str]] = {"events": [], "stacks": [], "processes": []}
    stale = [name for name in before if _is_partial(name)]
    for name in before:
        if name in (PROCESSES_FILE, PROCESSES_JOURNAL):
            table, whole = "processes", PROCESSES_FILE
        elif match := _NUMBERED.fullmatch(name):
            table, whole = match[1], f"{match[1]}-{match[2]}{PARQUET}"
        else:
            continue
        if name == whole:
            parquet[table].append(name)
        elif whole in before:
            stale.append(name)
        else:
            journals[table].append(name)
    return Holding(_frozen(parquet), _frozen(journals), tuple(stale))


def recover(dir_fd: int, manifest: Manifest | None, user: User) -> Manifest | None:
    """Make a folder whole that no recorder writes any more; the caller holds its lock.

    Returns:
        The manifest as it now is.

    Raises:
        DiskFullError, StacksError: it can't be done; what was there is still there.
    """
    _set_aside_damaged(dir_fd)
    holding = scan(dir_fd)
    for name in holding.stale:
        with writing(name):
            remove(dir_fd, name)
    for table in ("events", "stacks"):
        for journal in holding.journals[table]:
            _convert(dir_fd, journal, table, user)
    if holding.journals["processes"]:
        write_processes(dir_fd, _COMPRESSION, user)
        with writing(PROCESSES_JOURNAL):
            remove(dir_fd, PROCESSES_JOURNAL)
    if manifest is None:
        return None
    settled = settle(manifest, *_newest_and_counts(dir_fd))
    if settled != manifest:
        write_manifest(dir_fd, settled, user)
    return settled


def settle(manifest: Manifest, newest: int | None, counts: Mapping[str, int]) -> Manifest:
    """The manifest of a recorder that is gone, by the rows that are there.

    `newest` is the last timestamp of the events, `counts` their number by kind.
    """
    status = manifest.status
    kinds = dict(status.kinds)
    for label, rows in counts.items():
        known = kinds.get(label, KindCounts())
        kinds[label] = replace(known, received=max(known.received, rows))
    if manifest.state is State.RECORDING:
        end = status.end if newest is None else newest
        status = replace(status, end=end, kinds=kinds)
        return replace(manifest, state=State.RECOVERED, status=status)
    return replace(manifest, status=replace(status, kinds=kinds))


def write_processes(dir_fd: int, compression: Compression, user: User) -> None:
    """Write `processes.parquet` from its journal; the journal stays.

    Raises:
        DiskFullError, StacksError: it can't be written.
    """
    table = last_processes(read_rows(dir_fd, PROCESSES_JOURNAL, PROCESSES))
    _write_whole(dir_fd, PROCESSES_FILE, table, compression, 65_536, user)


def read_rows(dir_fd: int, name: str, schema: pa.Schema) -> list[pa.RecordBatch]:
    """The whole batches of a journal, by name.

    Raises:
        FileNotFoundError: there is none (a recorder may just have finished its file).
        StacksError: it can't be read, or is damaged.
    """
    try:
        fd = open_file(dir_fd, name)
    except OSError as error:
        if error.errno == errno.ENOENT:
            raise
        with writing(name):
            raise
    try:
        return read_journal(fd, schema)
    finally:
        os.close(fd)


def journal_table(batches: list[pa.RecordBatch], table: str) -> pa.Table:
    """The batches of a journal as one table, sorted as its Parquet file would be."""
    return sorted_table(batches, _SCHEMAS[table], _SORT[table])


def _convert(dir_fd: int, journal: str, table: str, user: User) -> None:
    rows = journal_table(read_rows(dir_fd, journal, _SCHEMAS[table]), table)
    if rows.num_rows:
        name = journal.removesuffix(JOURNAL) + PARQUET
        _write_whole(dir_fd, name, rows, _COMPRESSION, _GROUP_ROWS[table], user)
    with writing(journal):
        remove(dir_fd, journal)


def _write_whole(
    dir_fd: int, name: str, table: pa.Table, compression: Compression, rows: int, user: User
) -> None:
    partial = name + PARTIAL
    with writing(partial):
        remove(dir_fd, partial)
    file = ParquetFile(dir_fd, partial, table.schema, compression, user)
    try:
        file.write(table, rows)
        file.close()
        with writing(name):
            os.rename(partial, name, src_dir_fd=dir_fd, dst_dir_fd=dir_fd)
    except BaseException:
        file.abandon()
        with contextlib.suppress(OSError):
            remove(dir_fd, partial)
        raise


def _set_aside_damaged(dir_fd: int) -> None:
    """A Parquet file with no footer (the machine itself crashed) gives way to its journal."""
    for name in os.listdir(dir_fd):
        match = _NUMBERED.fullmatch(name)
        if match is None or match[3] != "parquet" or footer(dir_fd, name) is not None:
            continue
        with writing(name):
            os.rename(name, name + ".damaged", src_dir_fd=dir_fd, dst_dir_fd=dir_fd)


def footer(dir_fd: int, name: str) -> pq.FileMetaData | None:
    """The footer of a Parquet file, None where it has none.

    Raises:
        OSError: it can't be opened.
    """
    fd = open_file(dir_fd, name)
    with os.fdopen(fd, "rb") as file:
        try:
            return pq.read_metadata(file)
        except (pa.ArrowException, OSError):
            return None


def _newest_and_counts(dir_fd: int) -> tuple[int | None, dict[str, int]]:
    newest: int | None = None
    counts: dict[str, int] = {}
    for name in scan(dir_fd).parquet["events"]:
        with os.fdopen(open_file(dir_fd, name), "rb") as file:
            table = pq.read_table(file, columns=["timestamp", "kind"])
        last, rows = newest_and_counts(table)
        newest = last if newest is None else max(newest, last or 0)
        for label, number in rows.items():
            counts[label] = counts.get(label, 0) + number
    return newest, counts


def newest_and_counts(events: pa.Table) -> tuple[int | None, dict[str, int]]:
    """The last timestamp of event rows (None: no row) and their number by kind."""
    kinds = pc.value_counts(events.column("kind").cast(pa.string()))
    counts = {entry["values"].as_py(): entry["counts"].as_py() for entry in kinds}
    return pc.max(events.column("timestamp")).as_py(), counts


def _is_partial(name: str) -> bool:
    whole = name.removesuffix(PARTIAL)
    return whole != name and (
        _NUMBERED.fullmatch(whole) is not None or whole in (PROCESSES_FILE, "manifest.json")
    )


def _frozen(names: dict[str, list[str]]) -> dict[str, tuple[str, ...]]:
    return {table: tuple(sorted(found)) for table, found in names.items()}
