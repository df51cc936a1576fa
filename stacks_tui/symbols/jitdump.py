"""Names and lines of JIT-compiled code, from the dump that a runtime writes (`jit-PID.dump`).

Comes in: a process that maps such a file, as runtimes do so that profilers find it. Goes out: the
piece of code of an address. Trusted as perf maps are: a regular file of the process's owner or
root, with the process's own number in it. Read on when it has grown; a record that is not whole yet
is read the next time, one that is malformed ends the reading.
"""

from __future__ import annotations

import os
import re
import struct
import time
from pathlib import Path

import numpy as np
import numpy.typing as npt

from stacks_tui.spaces import AddressSpace
from stacks_tui.symbols.jitcells import JitCells, JitSymbol
from stacks_tui.symbols.perfmap import open_trusted, trust_in

SIZE_LIMIT = 256 << 20
"""Bytes of a dump that are read: it has the code itself, too."""
ENTRIES_LIMIT = 1 << 19
LINES_LIMIT = 1 << 20
"""Lines kept of one process."""
_NAME_LIMIT = 4096
_PIECE = 8 << 20

_FILE = re.compile(r"(?:.*/)?jit-(\d{1,10})\.dump")
_MAGIC = 0x4A695444
_HEADER = struct.Struct("<IIIIIIQQ")  # magic, version, size, machine, pad, pid, time, flags
_RECORD = struct.Struct("<IIQ")  # kind, size, time
_LOAD = struct.Struct("<IIQQQQ")  # pid, tid, vma, address, size, index; then name, NUL, code
_MOVE = struct.Struct("<IIQQQQQ")  # pid, tid, vma, old address, new address, size, index
_LINES = struct.Struct("<QQ")  # address of the code, number of entries
_LINE = struct.Struct("<QII")  # address, line, discriminator; then the file's name, NUL
_KIND_LOAD, _KIND_MOVE, _KIND_LINES = 0, 1, 2
_TOP = (1 << 64) - 1

Lines = tuple[tuple[int, bytes, int], ...]


def is_dump(path: str) -> bool:
    """Whether a mapped file of this path is a dump."""
    return path.startswith("/") and _FILE.fullmatch(path) is not None


def dump_path(space: AddressSpace) -> str | None:
    """The path of the dump that a process has mapped, as it sees it; None: it has none."""
    for mapping in space.mappings:
        if is_dump(mapping.path):
            return mapping.path
    return None


class JitDump:
    """The dump of one process, as far as it was read. It stays good after the process ended."""

    def __init__(
        self, tgid: int, path: str, proc: Path = Path("/proc"), patience: float = 8.0
    ) -> None:
        """`patience`: reading on waits this many times as long as the last reading took."""
        self._process = proc / str(tgid)
        self._path = path
        self._patience = patience
        self._next = 0.0
        self._fd: int | None = None
        self._pids: tuple[int, ...] = ()
        self._forget()

    def close(self) -> None:
        """Close the file; what was read stays."""
        if self._fd is not None:
            os.close(self._fd)
            self._fd = None

    def _forget(self) -> None:
        self._file: tuple[int, int] | None = None
        self._done = 0
        self._broken = False
        self._entries: list[JitSymbol] = []
        self._by_index: dict[int, int] = {}
        self._lines: dict[int, Lines] = {}
        self._line_count = 0
        self._cells = JitCells()

    def __len__(self) -> int:
        """Pieces of code."""
        return len(self._entries)

    def refresh(self) -> bool:
        """Read what was added to the file; True: names may have changed."""
        began = time.monotonic()
        if began < self._next:
            return False
        if self._fd is None and not self.open():
            return False
        assert self._fd is not None
        try:
            changed = self._read(self._fd, self._pids)
        except OSError:
            return False
        if changed:
            self._cells = JitCells(self._entries)
            ended = time.monotonic()
            self._next = ended + self._patience * (ended - began)
        return changed

    def find(self, addresses: npt.NDArray[np.uint64]) -> list[JitSymbol | None]:
        """The piece of code that holds each address, None: there is none."""
        return self._cells.find(addresses)

    def open(self) -> bool:
        """Open the file, to be held: a runtime may write the most of it as its last act."""
        trust = trust_in(self._process)
        named = _FILE.fullmatch(self._path)
        if trust is None or named is None or int(named[1]) not in trust.pids:
            return False
        self._pids = trust.pids
        self._fd = open_trusted(self._process, self._path, trust)
        return self._fd is not None

    def _read(self, fd: int, pids: tuple[int, ...]) -> bool:
        status = os.fstat(fd)
        same = self._file == (status.st_dev, status.st_ino) and status.st_size >= self._done
        if not same:
            self._forget()
            self._file = status.st_dev, status.st_ino
        size = min(status.st_size, SIZE_LIMIT)
        before = len(self._entries)
        if not self._done and size >= _HEADER.size:
            self._begin(os.pread(fd, _HEADER.size, 0), pids)
        while self._done and not self._broken and len(self._entries) < ENTRIES_LIMIT:
            data = os.pread(fd, min(size - self._done, _PIECE), self._done)
            taken = self._records(data)
            if not taken:
                break
            self._done += taken
        return not same or len(self._entries) > before

    def _begin(self, data: bytes, pids: tuple[int, ...]) -> None:
        magic, _, size, _, _, pid, _, _ = _HEADER.unpack(data)
        if magic == _MAGIC and _HEADER.size <= size <= _PIECE and pid in pids:
            self._done = size
        else:
            self._broken = True

    def _records(self, data: bytes) -> int:
        """Take the whole records at the beginning; how many bytes they have."""
        at = 0
        while at + _RECORD.size <= len(data):
            kind, size, _ = _RECORD.unpack_from(data, at)
            if size < _RECORD.size or size > SIZE_LIMIT:
                self._broken = True
                break
            if at + size > len(data):
                if at == 0 and len(data) == _PIECE:
                    self._broken = True  # one record larger than what is read at once
                break
            body = data[at + _RECORD.size : at + size]
            if kind == _KIND_LOAD:
                self._load(body)
            elif kind == _KIND_MOVE:
                self._move(body)
            elif kind == _KIND_LINES:
                self._take_lines(body)
            at += size
        return at

    def _load(self, body: bytes) -> None:
        if len(body) < _LOAD.size:
            return
        _, _, _, address, size, index = _LOAD.unpack_from(body)
        name = body[_LOAD.size : _LOAD.size + _NAME_LIMIT].partition(b"\0")[0]
        self._add(address, size, name, index, self._lines.pop(address, ()))

    def _move(self, body: bytes) -> None:
        if len(body) < _MOVE.size:
            return
        _, _, _, old, new, size, index = _MOVE.unpack_from(body)
        at = self._by_index.get(index)
        if at is not None and self._entries[at].start == old:
            moved = self._entries[at]
            lines = tuple((where - old + new, file, line) for where, file, line in moved.lines)
            self._add(new, size, moved.name, index, lines)

    def _add(self, start: int, size: int, name: bytes, index: int, lines: Lines) -> None:
        if not all(start <= where < start + size and _is_text(file) for where, file, _ in lines):
            lines = ()  # what V8 writes is at times no more than its memory
        if size and start + size <= _TOP and name:
            self._by_index[index] = len(self._entries)
            self._entries.append(JitSymbol(start, size, name, lines))

    def _take_lines(self, body: bytes) -> None:
        """Lines come before the code that they are of."""
        if len(body) < _LINES.size:
            return
        address, count = _LINES.unpack_from(body)
        at = _LINES.size
        found: list[tuple[int, bytes, int]] = []
        file = b""
        while count > len(found) and at + _LINE.size < len(body):
            where, line, _ = _LINE.unpack_from(body, at)
            end = body.find(b"\0", at + _LINE.size, at + _LINE.size + _NAME_LIMIT)
            if end < 0 or self._line_count >= LINES_LIMIT:
                break
            name = body[at + _LINE.size : end]
            file = file if name == b"\xff" else name  # the same as before
            found.append((where, file, line))
            self._line_count += 1
            at = end + 1
        if len(self._lines) < ENTRIES_LIMIT:
            self._lines[address] = tuple(sorted(found, key=lambda entry: entry[0]))


def _is_text(name: bytes) -> bool:
    try:
        return name.decode().isprintable() and name != b""
    except UnicodeDecodeError:
        return False
