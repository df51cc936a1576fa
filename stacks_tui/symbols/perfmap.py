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

SIZE_LIMIT = 64 << 20
"""Bytes of a map that are read."""
ENTRIES_LIMIT = 1 << 19
_LINE = re.compile(
    rb"^(?:0[xX])?([0-9a-fA-F]{1,16}) (?:0[xX])?([0-9a-fA-F]{1,16}) ([^\n]{1,4096})[^\n]*$",
    re.MULTILINE,
)
_TOP = (1 << 64) - 1


@dataclass(frozen=True, slots=True)
class JitSymbol:
    """One entry of a map."""

    start: int
    size: int
    name: bytes


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
        self._bounds = np.zeros(0, np.uint64)
        self._owner = np.zeros(0, np.int64)

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
            self._index()
            ended = time.monotonic()
            self._next = ended + self._patience * (ended - began)
        return changed

    def find(self, addresses: npt.NDArray[np.uint64]) -> list[JitSymbol | None]:
        """The entry that holds each address, None: there is none."""
        if not len(self._bounds):
            return [None] * len(addresses)
        cells = np.searchsorted(self._bounds, addresses, "right") - 1
        owners = np.where(cells >= 0, self._owner[cells], 0)
        return [self._entries[owner - 1] if owner else None for owner in owners.tolist()]

    def _open(self) -> int | None:
        try:
            status = (self._process / "status").read_bytes()
        except OSError:
            return None
        owners = {0, *_numbers(status, b"Uid:")[:2]}
        pids = _numbers(status, b"NSpid:")
        for pid in dict.fromkeys(reversed([int(self._process.name), *pids])):
            fd = open_regular(os.fsencode(self._process / "root" / "tmp" / f"perf-{pid}.map"))
            if fd is None:
                continue
            found = os.fstat(fd)
            if found.st_uid in owners and not found.st_mode & 0o002:
                return fd
            os.close(fd)
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

    def _index(self) -> None:
        """Cut the address space into cells and give each to the last entry that covers it."""
        starts = np.array([entry.start for entry in self._entries], np.uint64)
        ends = np.array([entry.start + entry.size for entry in self._entries], np.uint64)
        bounds = np.unique(np.concatenate((starts, ends)))
        owner = np.zeros(len(bounds), np.int64)
        low, high = np.searchsorted(bounds, starts), np.searchsorted(bounds, ends)
        number = np.arange(1, len(starts) + 1)
        # An entry covers its cells by two blocks of one power of two; blocks are handed down
        # from the largest size to the smallest, so this is n log n however entries overlap.
        power = np.zeros(len(starts), np.int64)
        width = (high - low) >> 1
        while width.any():
            power += width > 0
            width >>= 1
        for level in range(int(power.max(initial=0)), -1, -1):
            block = 1 << level
            here = power == level
            if level < int(power.max(initial=0)):
                handed = owner.copy()
                np.maximum(handed[block:], owner[:-block], out=handed[block:])
                owner = handed
            np.maximum.at(owner, low[here], number[here])
            np.maximum.at(owner, high[here] - block, number[here])
        self._bounds, self._owner = bounds, owner


def _numbers(status: bytes, label: bytes) -> list[int]:
    for line in status.splitlines():
        if line.startswith(label):
            return [int(word) for word in line.split()[1:] if word.isdigit()]
    return []
