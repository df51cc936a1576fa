"""Names of JIT-compiled code, from the perf map that a process writes (`/tmp/perf-PID.map`).

Comes in: a process. Goes out: the name and range of an address. The file is read through the
process's own root, taken only from its owner or root, and read on when it has grown. Where entries
overlap the later one counts, for code is moved and its place used again.
"""

from __future__ import annotations

import os
import re
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from stacks_tui.symbols.files import open_regular
from stacks_tui.symbols.jitcells import JitCells, JitSymbol

SIZE_LIMIT = 64 << 20
"""Bytes of a map that are read."""
ENTRIES_LIMIT = 1 << 19
_LINE = re.compile(
    rb"^(?:0[xX])?([0-9a-fA-F]{1,16}) (?:0[xX])?([0-9a-fA-F]{1,16}) ([^\n]{1,4096})[^\n]*$",
    re.MULTILINE,
)
_TOP = (1 << 64) - 1


class PerfMap:
    """The perf map of one process, as far as it was read. It stays good after the process ended."""

    def __init__(self, tgid: int, proc: Path = Path("/proc"), patience: float = 8.0) -> None:
        """`patience`: reading on waits this many times as long as the last reading took."""
        self._process = proc / str(tgid)
        self._patience = patience
        self._next = 0.0
        self._forget()

    def _forget(self) -> None:
        self._file: tuple[int, int] | None = None
        self._done = 0
        self._entries: list[JitSymbol] = []
        self._cells = JitCells()

    def __len__(self) -> int:
        """Number of entries."""
        return len(self._entries)

    def refresh(self) -> bool:
        """Read what was added to the file; True: names may have changed."""
        began = time.monotonic()
        if began < self._next:
            return False
        fd = self._open()
        if fd is None:
            return False
        try:
            changed = self._read(fd)
        except OSError:
            return False
        finally:
            os.close(fd)
        if changed:
            self._cells = JitCells(self._entries)
            ended = time.monotonic()
            self._next = ended + self._patience * (ended - began)
        return changed

    def find(self, addresses: npt.NDArray[np.uint64]) -> list[JitSymbol | None]:
        """The entry that holds each address, None: there is none."""
        return self._cells.find(addresses)

    def _open(self) -> int | None:
        trust = trust_in(self._process)
        if trust is None:
            return None
        for pid in trust.pids:
            fd = open_trusted(self._process, f"/tmp/perf-{pid}.map", trust)  # noqa: S108
            if fd is not None:
                return fd
        return None

    def _read(self, fd: int) -> bool:
        status = os.fstat(fd)
        same = self._file == (status.st_dev, status.st_ino) and status.st_size >= self._done
        if not same:
            self._forget()
            self._file = (status.st_dev, status.st_ino)
        size = min(status.st_size, SIZE_LIMIT)
        if size <= self._done:
            return not same
        data = os.pread(fd, size - self._done, self._done)
        data = data[: data.rfind(b"\n") + 1]  # the last line may still be half written
        self._done += len(data)
        before = len(self._entries)
        for match in _LINE.finditer(data):
            start, length = int(match[1], 16), int(match[2], 16)
            if length and start + length <= _TOP:
                self._entries.append(JitSymbol(start, length, match[3]))
            if len(self._entries) >= ENTRIES_LIMIT:
                break
        return not same or len(self._entries) > before


@dataclass(frozen=True, slots=True)
class Trust:
    """Whose word counts for the names of a process's code."""

    uids: frozenset[int]
    pids: tuple[int, ...]
    """The process's numbers, the one of its own namespace first."""


def trust_in(process: Path) -> Trust | None:
    """Who may name the code of a process, by its folder in /proc; None: it is gone."""
    try:
        status = (process / "status").read_bytes()
    except OSError:
        return None
    pids = [int(process.name), *_numbers(status, b"NSpid:")]
    uids = frozenset({0, *_numbers(status, b"Uid:")[:2]})
    return Trust(uids, tuple(dict.fromkeys(reversed(pids))))


def open_trusted(process: Path, path: str, trust: Trust) -> int | None:
    """Open a file as the process sees it; None: not there, or others could have written it."""
    fd = open_regular(os.fsencode(process / "root" / path.lstrip("/")))
    if fd is None:
        return None
    found = os.fstat(fd)
    if found.st_uid in trust.uids and not found.st_mode & 0o002:
        return fd
    os.close(fd)
    return None


def _numbers(status: bytes, label: bytes) -> list[int]:
    for line in status.splitlines():
        if line.startswith(label):
            return [int(word) for word in line.split()[1:] if word.isdigit()]
    return []
