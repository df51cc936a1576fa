"""Opens a recording as SQL views: `events`, `stacks`, `processes`, `samples`.

Comes in: a recording's folder (finished, killed, or still being written), a folder of Parquet files
in the nested layout, or one Parquet file. Goes out: a `Recording` that answers SELECT statements.

DuckDB is given open descriptors, never paths: a file can't be swapped under us, no name of a file
is read as a pattern, and after the views are made the database can open nothing else.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import re
import resource
import stat
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq

from stacks_tui.errors import StacksError, UsageError
from stacks_tui.owner import User, data_folder, invoking_user, open_file
from stacks_tui.reasons import as_macros
from stacks_tui.resources import read_sql
from stacks_tui.schema import EVENTS, PROCESSES, SCHEMA_VERSION, STACKS
from stacks_tui.store.layout import Layout, layout_of
from stacks_tui.store.manifest import MANIFEST, Manifest, State, read_manifest
from stacks_tui.store.queries import load_query
from stacks_tui.store.recovery import (
    Holding,
    journal_table,
    newest_and_counts,
    read_rows,
    recover,
    scan,
    settle,
)
from stacks_tui.store.rows import last_processes

Parameter = str | int | float | bool | bytes | None

_SCHEMAS = {"events": EVENTS, "stacks": STACKS, "processes": PROCESSES}
_DESCRIPTOR = re.compile(r"/proc/self/fd/\d+")
_STEMS = {"events": "event", "stacks": "stack", "processes": "process"}
"""Table → what its sources are called in `sql/views.sql`: `<stem>_files` and `<stem>_rows`."""


@dataclass(frozen=True, slots=True)
class Narrowing:
    """SELECT statements that take the place of views; empty: all of it."""

    events: str = ""
    """Over `all_events`."""
    stacks: str = ""
    """Over `all_stacks`."""


class Recording:
    """An open recording; a context manager. Used by one thread."""

    def __init__(
        self,
        path: Path,
        manifest: Manifest | None,
        live: bool,
        connection: duckdb.DuckDBPyConnection,
        descriptors: list[int],
    ) -> None:
        self.path = path
        self.manifest = manifest
        """None: there is none (the nested layout, or a single file)."""
        self.live = live
        """Whether a recorder was still writing it; what it wrote later is not seen."""
        self._connection = connection
        self._descriptors = descriptors

    @property
    def connection(self) -> duckdb.DuckDBPyConnection:
        """The database with the views."""
        return self._connection

    def sql(self, query: str, **parameters: Parameter) -> duckdb.DuckDBPyRelation:
        """A relation of one SELECT over the views; parameters that it does not name are left out.

        Raises:
            UsageError: the text is not one SELECT statement, or does not fit the views.
        """
        try:
            statements = self._connection.extract_statements(query)
            if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
                raise UsageError("a query must be one SELECT statement.")
            named = statements[0].named_parameters
            lacking = sorted(named - set(parameters))
            if lacking:
                raise UsageError(f"the query needs a value for ${lacking[0]}.")
            given = {name: value for name, value in parameters.items() if name in named}
            relation = self._connection.sql(query, params=given or None)
        except duckdb.Error as error:
            raise UsageError(f"the query is wrong: {one_line(error)}.") from error
        assert relation is not None
        return relation

    def table(self, query: str, **parameters: Parameter) -> pa.Table:
        """The result of one SELECT as an Arrow table.

        Raises:
            UsageError: as `sql`.
            StacksError: it failed while it ran: a damaged file, or too little memory.
        """
        relation = self.sql(query, **parameters)
        try:
            return relation.to_arrow_table()
        except duckdb.Error as error:
            raise StacksError(f"the query failed: {one_line(error)}.") from error

    def ask(self, name: str, **parameters: Parameter) -> pa.Table:
        """The result of a query file under `sql/`, such as `live/top_stacks`.

        Raises:
            UsageError: no such query, or a parameter is lacking.
            StacksError: as `table`.
        """
        return self.table(load_query(name).sql, **parameters)

    def narrow(self, to: Narrowing) -> None:
        """From now on `events` and `stacks`, and all views and queries over them, have only this.

        Raises:
            UsageError: it does not fit the views.
        """
        for view, select in (("events", to.events), ("stacks", to.stacks)):
            if select:
                self.sql(select)  # one SELECT, or nothing is done
                self._connection.execute(f"create or replace view {view} as {select}")

    def progress(self) -> float:
        """How much of the query that runs is done, 0 to 1, from another thread; less: not known."""
        ask = getattr(self._connection, "query_progress", None)  # of later versions
        with contextlib.suppress(duckdb.Error):
            return float(ask()) / 100 if ask is not None else -1.0
        return -1.0

    def interrupt(self) -> None:
        """Stop the query that runs, from another thread; it fails with a `StacksError`."""
        self._connection.interrupt()

    def close(self) -> None:
        """Close the database and the files."""
        self._connection.close()
        while self._descriptors:
            os.close(self._descriptors.pop())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


@dataclass(slots=True)
class _Sources:
    """What the views are made over."""

    files: dict[str, list[int]] = field(
        default_factory=lambda: {"events": [], "stacks": [], "processes": []}
    )
    """Descriptors of whole Parquet files, by table."""
    rows: dict[str, pa.Table] = field(
        default_factory=lambda: {name: schema.empty_table() for name, schema in _SCHEMAS.items()}
    )
    """What is still in journals, by table."""
    nested: list[int] = field(default_factory=list)
    """Descriptors of files in the nested layout; then there is nothing else."""

    def descriptors(self) -> list[int]:
        """All of them."""
        return [
            *self.files["events"],
            *self.files["stacks"],
            *self.files["processes"],
            *self.nested,
        ]

    def close(self) -> None:
        """Close all descriptors."""
        for fd in self.descriptors():
            os.close(fd)


def open_recording(
    path: Path, user: User | None = None, memory: int = 0, threads: int | None = None
) -> Recording:
    """Open a recording; one that a killed recorder left is made whole first, if it is the user's.
    `memory`: bytes that queries may take; 0: what DuckDB takes by itself. `threads`: that work at a
    query; None: one for each CPU.

    Raises:
        UsageError: there is nothing of this name, or it is no recording.
        StacksError: it is damaged, from a newer version, or can't be read.
    """
    user = invoking_user() if user is None else user
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except (OSError, ValueError) as error:
        reason = (getattr(error, "strerror", None) or str(error)).lower()
        raise UsageError(f"can't open {str(path)!r}: {reason}; name a recording.") from error
    sources = _Sources()
    try:
        if stat.S_ISDIR(os.fstat(fd).st_mode):
            manifest, live = _open_folder(fd, path, user, sources)
        else:
            manifest, live = None, False
            _add_file(os.dup(fd), path.name, sources)
        return _connect(path, manifest, live, sources, memory, threads)
    except BaseException as error:
        sources.close()
        if isinstance(error, OSError):
            reason = (error.strerror or str(error)).lower()
            raise StacksError(f"can't read {str(path)!r}: {reason}.") from error
        raise
    finally:
        os.close(fd)


def last_recording(user: User) -> Path:
    """The newest recording in the user's data folder.

    Raises:
        UsageError: there is none.
    """
    home = data_folder(user)
    newest: tuple[str, Path] | None = None
    with contextlib.suppress(OSError), os.scandir(home) as entries:
        for entry in entries:
            if entry.is_dir(follow_symlinks=False) and (Path(entry.path) / MANIFEST).is_file():
                # Names begin with the time; a copy or a touch would change the folder's own.
                newest = max(newest or ("", Path()), (entry.name, Path(entry.path)))
    if newest is None:
        raise UsageError(f"no recording in {str(home)!r}; make one: stacks-tui --record …")
    return newest[1]


def _open_folder(
    dir_fd: int, path: Path, user: User, sources: _Sources
) -> tuple[Manifest | None, bool]:
    manifest: Manifest | None = None
    with contextlib.suppress(FileNotFoundError):
        manifest = read_manifest(dir_fd)
    holding = scan(dir_fd)
    ours = manifest is not None or any(holding.parquet.values()) or any(holding.journals.values())
    if not ours:
        _add_foreign(dir_fd, path, sources)
        return None, False
    live = False
    if not holding.whole or (manifest and manifest.state is State.RECORDING):
        with _lock(dir_fd) as held:
            live = held is False
            if held and _may_write(dir_fd, user):
                with contextlib.suppress(StacksError):  # no room: read it as it is
                    manifest = recover(dir_fd, manifest, _owner(dir_fd))
    _add_holding(dir_fd, sources)
    if manifest and manifest.state is State.RECORDING and not live:
        manifest = settle(manifest, *newest_and_counts(sources.rows["events"]))
    return manifest, live


@contextlib.contextmanager
def _lock(dir_fd: int) -> Iterator[bool | None]:
    """Hold the folder's lock: True: held; False: a recorder has it; None: no locks here."""
    try:
        fcntl.flock(dir_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        yield False if error.errno in (errno.EWOULDBLOCK, errno.EAGAIN) else None
        return
    try:
        yield True
    finally:
        fcntl.flock(dir_fd, fcntl.LOCK_UN)


def _may_write(dir_fd: int, user: User) -> bool:
    """Whether the folder is ours or the user's: root leaves other people's as they are."""
    if os.fstat(dir_fd).st_uid not in (user.uid, os.geteuid()):
        return False
    return os.access(".", os.W_OK | os.X_OK, dir_fd=dir_fd, effective_ids=True)


def _owner(dir_fd: int) -> User:
    status = os.fstat(dir_fd)
    return User(status.st_uid, status.st_gid, Path("/"), "")


def _add_holding(dir_fd: int, sources: _Sources) -> None:
    """Open all files of the folder; a recorder may turn journals into files meanwhile."""
    for _ in range(10):
        with contextlib.suppress(FileNotFoundError):
            _add_rows(dir_fd, scan(dir_fd), sources)
            return
    raise StacksError("the recording changes faster than it can be read; try again.")


def _add_rows(dir_fd: int, holding: Holding, sources: _Sources) -> None:
    for table, names in holding.journals.items():
        batches = [batch for name in names for batch in read_rows(dir_fd, name, _SCHEMAS[table])]
        sources.rows[table] = (
            last_processes(batches) if table == "processes" else journal_table(batches, table)
        )
    _allow_descriptors(sum(map(len, holding.parquet.values())))
    for table, names in holding.parquet.items():
        sources.files[table] = [open_file(dir_fd, name) for name in names]


def _allow_descriptors(files: int) -> None:
    """Raise our own limit for a recording of many files: each is open here and in DuckDB."""
    needed = 2 * files + 256
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < needed:
        highest = needed if hard == resource.RLIM_INFINITY else min(needed, hard)
        resource.setrlimit(resource.RLIMIT_NOFILE, (highest, hard))


def _add_foreign(dir_fd: int, path: Path, sources: _Sources) -> None:
    names = sorted(name for name in os.listdir(dir_fd) if name.endswith(".parquet"))
    if not names:
        raise UsageError(
            f"{str(path)!r} is not a recording: it has no {MANIFEST} and no Parquet file."
        )
    _allow_descriptors(len(names))
    for name in names:
        _add_file(open_file(dir_fd, name), name, sources)


def _add_file(fd: int, name: str, sources: _Sources) -> None:
    """Add a Parquet file by what its columns are; takes over the descriptor."""
    try:
        with os.fdopen(os.dup(fd), "rb") as file:
            schema = pq.read_schema(file)
        nested = layout_of(schema, name) is Layout.NESTED
    except (pa.ArrowException, OSError) as error:
        os.close(fd)
        raise UsageError(f"{name!r} is not a Parquet file; name a recording's folder.") from error
    except StacksError:
        os.close(fd)
        raise
    (sources.nested if nested else sources.files["events"]).append(fd)
    if sources.nested and sources.files["events"]:
        raise UsageError("the folder holds files of different layouts; open one of them.")


def _connect(
    path: Path,
    manifest: Manifest | None,
    live: bool,
    sources: _Sources,
    memory: int,
    threads: int | None,
) -> Recording:
    paths = {fd: f"/proc/self/fd/{fd}" for fd in sources.descriptors()}
    # What an older version began, this one may have recovered.
    mixed = manifest is not None and manifest.schema_version < SCHEMA_VERSION
    connection = duckdb.connect(
        ":memory:",
        config={
            "autoinstall_known_extensions": "false",
            "autoload_known_extensions": "false",
            "temp_directory": "",  # no spill files in whatever folder we were started in
            **({"memory_limit": f"{memory >> 20}MiB"} if memory else {}),
            **({"threads": str(threads)} if threads else {}),
        },
    )
    try:
        # Names in a query must never mean a variable of this program.
        connection.execute("SET python_enable_replacements = false")
        # A bar of its own would be drawn over the screen, or into an export that goes to stdout.
        with contextlib.suppress(duckdb.Error):  # in a notebook without widgets, it has none
            connection.execute("SET enable_progress_bar = false")
            connection.execute("SET enable_progress_bar_print = false")
            connection.execute("SET enable_progress_bar = true")  # so that `progress` knows
            connection.execute("SET progress_bar_time = 500")
        if sources.nested:
            _bind_files(connection, "seed_files", [paths[fd] for fd in sources.nested])
            connection.execute(read_sql("legacy.sql"))
        for table, stem in _STEMS.items():
            files = [paths[fd] for fd in sources.files[table]]
            if files:
                _bind_files(connection, f"{stem}_files", files, mixed=mixed)
            else:
                connection.register(f"{stem}_files", _SCHEMAS[table].empty_table())
            if not sources.nested:
                connection.register(f"{stem}_rows", sources.rows[table])
        _keep_one_of_each_stack(connection)
        connection.execute(as_macros())
        for text in ("views.sql", "spans.sql", "reasons.sql", "filters.sql"):
            connection.execute(read_sql(text))
        allowed = ", ".join(f"'{name}'" for name in paths.values())
        connection.execute(f"SET allowed_paths = [{allowed}]")
        connection.execute("SET enable_external_access = false")
        connection.execute("SET lock_configuration = true")
    except duckdb.Error as error:
        connection.close()
        raise StacksError(
            f"{str(path)!r} can't be read: {one_line(error)}; without a damaged file the rest can."
        ) from error
    except BaseException:
        connection.close()
        raise
    return Recording(path, manifest, live, connection, sources.descriptors())


def _bind_files(
    connection: duckdb.DuckDBPyConnection, view: str, paths: list[str], *, mixed: bool = False
) -> None:
    """`mixed`: some may lack columns of others; then all are opened at once."""
    files = connection.read_parquet(paths, hive_partitioning=False, union_by_name=mixed)
    files.create_view(view)


def _keep_one_of_each_stack(connection: duckdb.DuckDBPyConnection) -> None:
    """The kernel tells of a stack again when it has forgotten it; joins need one row of each."""
    connection.execute(read_sql("all_stacks.sql"))
    row = connection.execute(read_sql("repeated_stacks.sql")).fetchone()
    if row and row[0]:
        connection.execute(read_sql("first_stacks.sql"))


def one_line(error: Exception) -> str:
    """What DuckDB says, in one line, with the names of files in place of our descriptors."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return _DESCRIPTOR.sub(_name_of, lines[0] if lines else type(error).__name__).rstrip(".")


def _name_of(match: re.Match[str]) -> str:
    try:
        return Path(match[0]).readlink().name
    except OSError:
        return match[0]
