"""Processes: what is kept of one while it lives, and its rows in a recording's table.

Comes in: what `tasks` learns. Goes out: values that fit `schema.PROCESSES`, field by field.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, fields

import pyarrow as pa

from stacks_tui.enrich.clock import Clock
from stacks_tui.enrich.history import SpaceHistory
from stacks_tui.enrich.proc import Details
from stacks_tui.schema import PROCESSES


@dataclass(frozen=True, slots=True)
class ProcessRow:
    """A process with one executable: from its fork or exec to its end or next exec."""

    tgid: int
    start: int | None = None
    """ns since the Unix epoch; None: before the recording."""
    end: int | None = None
    """None: it still runs."""
    parent: int | None = None
    comm: str | None = None
    cmdline: str | None = None
    exe: str | None = None
    buildid: bytes | None = None
    cgroup: str | None = None
    container: str | None = None


def table(rows: Iterable[ProcessRow]) -> pa.Table:
    """The rows as an Arrow table with schema.PROCESSES."""
    kept = list(rows)
    columns = {
        field.name: [getattr(row, field.name) for row in kept] for field in fields(ProcessRow)
    }
    return pa.table(columns, schema=PROCESSES)


def readable(text: str | None) -> str | None:
    r"""Text that held any bytes (surrogateescape) as valid UTF-8: what isn't reads as `\xff`."""
    if text is None or text.isascii():
        return text
    return text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


@dataclass(slots=True, eq=False)
class RowDraft:
    """A row in the making; times in ns of CLOCK_MONOTONIC."""

    start: int | None
    parent: int | None
    comm: str | None
    details: Details | None = None
    exe: str | None = None
    buildid: bytes | None = None
    end: int | None = None
    keep: bool = False
    """It goes into the recording."""


@dataclass(slots=True, eq=False)
class Process:
    """What is known of a process that lives, or did so lately."""

    tgid: int
    rows: list[RowDraft]
    """The last one is that of its present executable."""
    spaces: SpaceHistory
    threads: set[int]
    read_at: int = 0
    """Records up to this time tell nothing that /proc hadn't told."""
    ended: int | None = None
    wants_exe: bool = False
    """Its next mapping of a file is its executable."""
    interesting: bool = False
    """A target, or it had events, with its present executable."""
    details_read: bool = False
    born: int = 0
    before: Process | None = field(default=None, repr=False)
    """Who had its number until `born`, as long as that may be asked for."""
    shares: tuple[Process, RowDraft] | None = field(default=None, repr=False)
    """Whose executable it still runs since its fork, where its build id wasn't known then."""

    @property
    def row(self) -> RowDraft:
        """The row of its present executable."""
        return self.rows[-1]


def finish(tgid: int, row: RowDraft, clock: Clock) -> ProcessRow:
    """The row as it is stored."""
    details = row.details or Details()
    return ProcessRow(
        tgid,
        None if row.start is None else clock.to_epoch_ns(row.start),
        None if row.end is None else clock.to_epoch_ns(row.end),
        row.parent,
        readable(row.comm),
        readable(details.cmdline),
        readable(row.exe or details.exe),
        row.buildid,
        readable(details.cgroup),
        readable(details.container),
    )
