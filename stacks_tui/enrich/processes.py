"""One row of a recording's table of processes.

Comes in: what `tasks` knows. Goes out: values that fit `schema.PROCESSES`, field by field.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, fields

import pyarrow as pa

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
