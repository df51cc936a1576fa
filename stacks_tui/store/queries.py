"""The query files under `sql/`, read and described.

Comes in: a name such as `live/top_stacks`. Goes out: a `Query`: the text, the question of its first
line and its parameters, which are bound as prepared parameters and nothing else.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import PurePosixPath

from stacks_tui.errors import StacksError, UsageError
from stacks_tui.resources import folder, read_sql

_PARAMETER = re.compile(r"--\s*\$([a-z_]+):\s*(.+)", re.ASCII)
_COLUMN = re.compile(r"--\s*column:\s*([a-z_]+)(?:,\s*(.+))?", re.ASCII)
_FORMS = ("names", "frames")
_STACKS = re.compile(rf"--\s*({'|'.join(_FORMS)}):\s*([a-z_, ]+)", re.ASCII)
_SLICED = "-- slices: time"
_NAME = re.compile(r"[a-z0-9_]+(/[a-z0-9_]+)?", re.ASCII)


@dataclass(frozen=True, slots=True)
class Query:
    """One query file."""

    name: str
    question: str
    sql: str
    parameters: tuple[tuple[str, str], ...] = ()
    """(name, meaning), in the order of the file."""
    columns: tuple[tuple[str, str], ...] = ()
    """(name, meaning), in the order of the result."""
    names: tuple[str, ...] = ()
    """Columns of stack ids that a table shows as lists of their frames' names."""
    frames: tuple[str, ...] = ()
    """Columns of stack ids that a table shows as lists of (name, address, offset)."""
    sliced: bool = False
    """A row for each event, by time: it may be asked a slice of time after the other."""


def load_query(name: str) -> Query:
    """Load `sql/<name>.sql`.

    Raises:
        UsageError: no such query.
        StacksError: the file does not begin with its question.
    """
    if not _NAME.fullmatch(name):
        raise UsageError(f"{name!r} is no name of a query; for example: live/top_stacks.")
    try:
        text = read_sql(f"{name}.sql")
    except StacksError as error:
        raise UsageError(str(error)) from error
    if not text.startswith("-- "):
        raise StacksError(f"query file {name!r} does not begin with its question (-- …).")
    return read_query(name, text)


def read_query(name: str, text: str) -> Query:
    """A query by its text: what its first line asks, and what its head declares."""
    first, *rest = text.lstrip().splitlines() or [""]
    heads = [line for line in rest if line.startswith("--")]

    def declared(pattern: re.Pattern[str]) -> tuple[tuple[str, str], ...]:
        matches = [pattern.fullmatch(line) for line in heads]
        return tuple((match[1], match[2] or "") for match in matches if match)

    stacks = dict(declared(_STACKS))
    sliced = _SLICED in heads
    names, frames = (tuple(stacks.get(form, "").replace(",", " ").split()) for form in _FORMS)
    question = first.removeprefix("--").strip() if first.startswith("--") else ""
    return Query(
        name, question, text, declared(_PARAMETER), declared(_COLUMN), names, frames, sliced
    )


def query_names(room: str) -> tuple[str, ...]:
    """The names of the queries in a folder of `sql/`, such as `live`, sorted."""
    files = sorted((folder("sql") / room).glob("*.sql"))
    return tuple(str(PurePosixPath(room, file.stem)) for file in files)
