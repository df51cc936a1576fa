"""Finds the folders that ship beside the code: `bpf/` (C programs) and `sql/` (views and queries).

In a wheel they lie inside the package as `_bpf` and `_sql`, in a checkout beside it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from stacks_tui.errors import StacksError

_PACKAGE = Path(__file__).resolve().parent


def folder(name: Literal["bpf", "sql"]) -> Path:
    """The folder of this name.

    Raises:
        StacksError: the installation lacks it.
    """
    for candidate in (_PACKAGE / f"_{name}", _PACKAGE.parent / name):
        if candidate.is_dir():
            return candidate
    raise StacksError(f"this installation has no {name!r} folder; install stacks-tui again.")


def read_sql(name: str) -> str:
    """The text of one file under `sql/`, such as `views.sql` or `live/top_stacks.sql`.

    Raises:
        StacksError: no such file.
    """
    try:
        return (folder("sql") / name).read_text(encoding="utf-8")
    except OSError as error:
        raise StacksError(f"no query file {name!r}: {error.strerror}.") from error
