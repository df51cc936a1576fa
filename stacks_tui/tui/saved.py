"""The user's own queries for the SQL prompt: `queries/NAME.sql` beside `config.toml`.

Comes in: the folder, if there is one; nothing is ever written. Goes out: their texts, and what is
wrong with those that are left out.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from stacks_tui import text
from stacks_tui.config import config_path
from stacks_tui.owner import User, open_directory, read_text
from stacks_tui.store.queries import Query, read_query

FOLDER = "queries"
_MOST = 200
_LARGEST = 1 << 16
_SUFFIX = ".sql"


@dataclass(frozen=True, slots=True)
class SavedQueries:
    """What the folder has."""

    queries: tuple[Query, ...] = ()
    """By their names: `queries/NAME`."""
    left_out: tuple[str, ...] = ()
    """A line for each file that is no query, or for the folder."""


def folder_of(user: User) -> Path:
    """Where this user's queries are."""
    return config_path(user).with_name(FOLDER)


def saved_queries(user: User) -> SavedQueries:
    """The user's queries, by name."""
    folder = folder_of(user)
    try:
        fd = open_directory(folder, user)
    except FileNotFoundError:
        return SavedQueries()
    except OSError as error:
        return SavedQueries(left_out=(f"can't read {str(folder)!r}: {_reason(error)}",))
    found: list[Query] = []
    left_out: list[str] = []
    try:
        names = os.listdir(fd)  # noqa: PTH208  # of the descriptor
        files = sorted(one for one in names if one.endswith(_SUFFIX) and one[0] != ".")
        for file in files[:_MOST]:
            try:
                found.append(_query(file, read_text(fd, file, user, _LARGEST)))
            except (OSError, ValueError) as error:
                left_out.append(f"{file!r} is left out: {_reason(error)}")
    finally:
        os.close(fd)
    if len(files) > _MOST:
        left_out.append(f"only the first {_MOST} of {len(files)} queries are listed")
    return SavedQueries(tuple(found), tuple(left_out))


def _query(file: str, sql: str) -> Query:
    seen = sql.translate(dict.fromkeys(b"\t\n\r"))
    if text.printable(seen) != seen:
        raise ValueError("it has characters that can't be seen")
    return read_query(f"{FOLDER}/{file.removesuffix(_SUFFIX)}", sql)


def _reason(error: OSError | ValueError) -> str:
    if isinstance(error, UnicodeDecodeError):
        return "it is not UTF-8"
    said = error.strerror if isinstance(error, OSError) else str(error)
    return (said or type(error).__name__).lower()
