"""Queries over a recording, in a thread of their own, one at a time; each can be stopped.

Comes in: a folder and SELECT statements. Goes out: an `Answer`. The database reads the recording's
open files and nothing else: no file, no network, no writing.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from stacks_tui.errors import StacksError
from stacks_tui.owner import User
from stacks_tui.resources import read_sql
from stacks_tui.store.reader import Recording, open_recording

_MEMORY_SHARE = 4
"""A query may take this part of what memory is free, so that no other program is driven out."""
_LEAST_BYTES = 256 << 20

MOST_ROWS = 100_000
"""Rows of a result that are kept; more are counted out in the answer."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What became of a query."""

    query: str
    table: pa.Table | None
    """None: it failed, or was stopped."""
    error: str
    seconds: float
    more: bool = False
    """There were more rows than are kept."""


class SqlSession:
    """Answers by calling back, from its own thread."""

    def __init__(self, path: Path, user: User | None, answered: Callable[[Answer], None]) -> None:
        self._path, self._user, self._answered = path, user, answered
        self._thread: threading.Thread | None = None
        self._recording: Recording | None = None
        self._stopped = threading.Event()
        self._asked = False

    @property
    def running(self) -> bool:
        """A query runs."""
        return self._asked

    def progress(self) -> float:
        """How much of the query is done, 0 to 1; less than 0: not known."""
        recording = self._recording
        return recording.progress() if recording is not None else -1.0

    def words(self) -> tuple[str, ...]:
        """Names of views and columns, to complete what is typed."""
        try:
            with open_recording(self._path, self._user) as recording:
                rows = recording.table(read_sql("screen/words.sql")).column("word").to_pylist()
        except StacksError:
            return ()
        return tuple(map(str, rows))

    def run(self, query: str) -> bool:
        """Begin a query; False: another one runs."""
        if self.running:
            return False
        self._stopped.clear()
        self._asked = True
        self._thread = threading.Thread(target=self._run, args=(query,), name="sql", daemon=True)
        self._thread.start()
        return True

    def stop(self) -> None:
        """Stop the query that runs; it then answers that it was stopped."""
        self._stopped.set()
        recording = self._recording
        if recording is not None:
            recording.interrupt()

    def close(self) -> None:
        """Stop, and wait a little."""
        self.stop()
        if self._thread is not None:
            self._thread.join(2)

    def _run(self, query: str) -> None:
        began = time.monotonic()
        table, error, more = None, "", False
        try:
            # anew each time: a live recording has more of it than before
            with open_recording(self._path, self._user, memory=_memory()) as recording:
                self._recording = recording
                if not self._stopped.is_set():
                    relation = recording.sql(query)
                    kept = relation.limit(MOST_ROWS + 1)
                    table = kept.to_arrow_table()
                    more = table.num_rows > MOST_ROWS
                    table = table.slice(0, MOST_ROWS)
        except StacksError as failure:
            error = str(failure)
        except Exception as failure:  # noqa: BLE001  # DuckDB's many kinds: all are said, none raised
            error = " ".join(str(failure).split())[:500]
        finally:
            self._recording = None
        if self._stopped.is_set():
            table, error = None, "stopped"
        self._asked = False
        self._answered(Answer(query, table, error, time.monotonic() - began, more))


def _memory() -> int:
    """Bytes that a query may take."""
    with contextlib.suppress(OSError, ValueError):
        for line in Path("/proc/meminfo").read_text().splitlines():
            if line.startswith("MemAvailable:"):
                return max(_LEAST_BYTES, int(line.split()[1]) * 1024 // _MEMORY_SHARE)
    return _LEAST_BYTES


def cell(value: object) -> str:
    """A value of a result as text; not yet escaped."""
    if value is None:
        return "∅"
    if isinstance(value, float):
        return f"{value:.6g}"
    if isinstance(value, bytes):
        return value.hex()
    if isinstance(value, list):
        shown = ", ".join(
            cell(one.get("name", one) if isinstance(one, dict) else one) for one in value[:20]
        )
        return f"[{shown}{', …' * (len(value) > 20)}]"
    if isinstance(value, dict):
        return "{" + ", ".join(f"{key}: {cell(one)}" for key, one in value.items()) + "}"
    return str(value)


def completions(text_before: str, words: tuple[str, ...]) -> list[str]:
    """Words that begin as the last one of the text does, shortest first."""
    start = len(text_before)
    while start and (text_before[start - 1].isalnum() or text_before[start - 1] == "_"):
        start -= 1
    begun = text_before[start:].lower()
    if not begun:
        return []
    return sorted({one for one in words if one.lower().startswith(begun) and one.lower() != begun})
