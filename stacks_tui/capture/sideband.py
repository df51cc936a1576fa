"""Who is who from the kernel: fork, exit, names and executable mappings, as perf records them.

Comes in: nothing but the machine, all of it. Goes out: records sorted by time. One dummy software
event per CPU that is online at the start; a CPU plugged in later isn't watched. The layout of
records is that of perf_event_open(2). Clock: CLOCK_MONOTONIC, that of the BPF programs.
"""

from __future__ import annotations

import bisect
import errno
import mmap
import os
import struct
import sys
import time
from dataclasses import dataclass
from operator import attrgetter
from types import TracebackType
from typing import Self

from stacks_tui.capture.bpf import PERF_ATTRIBUTES, online_cpus, open_perf_event
from stacks_tui.errors import MachineError
from stacks_tui.spaces import Mapping


@dataclass(frozen=True, slots=True)
class Fork:
    """A new process; a new thread of the same one when `tgid == parent_tgid`."""

    time: int
    """ns, CLOCK_MONOTONIC; the same in all records."""
    tgid: int
    parent_tgid: int
    pid: int
    parent_pid: int


@dataclass(frozen=True, slots=True)
class Exit:
    """A thread has ended; the process with its last one."""

    time: int
    tgid: int
    pid: int


@dataclass(frozen=True, slots=True)
class Comm:
    """A thread got a name."""

    time: int
    tgid: int
    pid: int
    name: str
    """Any bytes, decoded with surrogateescape."""
    exec: bool
    """By an exec: what the process had mapped is gone, and so are its other threads."""


@dataclass(frozen=True, slots=True)
class Mapped:
    """Executable memory was mapped. Its path is any bytes, decoded with surrogateescape.

    `[vdso]`, `//anon` and the like are named as the kernel does. The mapping has either a build id
    or, where the file has none, device and inode.
    """

    time: int
    tgid: int
    pid: int
    mapping: Mapping


Record = Fork | Exit | Comm | Mapped

PAGES_PER_CPU = 128
"""512 KiB: room for some 800 short processes between two reads."""

_SOFTWARE, _DUMMY = 1, 9
_SAMPLE = (
    0x2 | 0x4 | 0x80
)  # TID, TIME, CPU: 24 bytes at the end of each record, the time 16 from it
_BITS = {
    "mmap": 8,
    "comm": 9,
    "task": 13,
    "watermark": 14,
    "sample_id_all": 18,
    "mmap2": 23,
    "comm_exec": 24,
    "use_clockid": 25,
}
_BUILD_ID = 34  # since 5.12
_LOST, _COMM, _EXIT, _FORK, _MMAP2 = 2, 3, 4, 7, 10
_MISC_EXEC, _MISC_BUILD_ID = 1 << 13, 1 << 14
_PROT_EXEC = 4
_PAGE = mmap.PAGESIZE
_HEAD, _TAIL = 1024 // 8, 1032 // 8  # words of the first page

_head = struct.Struct("<IHH").unpack_from
_time = struct.Struct("<Q").unpack_from
_two = struct.Struct("<II").unpack_from
_four = struct.Struct("<IIII").unpack_from
_place = struct.Struct("<IIQQQ").unpack_from
_file = struct.Struct("<IIQ").unpack_from
_prot = struct.Struct("<I").unpack_from
_by_time = attrgetter("time")
_ROUNDS = 8


class Sideband:
    """The records of the whole machine from now on. `fds` wake an epoll at the first new record.

    A wake-up is given once: read after each, and read at intervals for what came meanwhile.

    Raises:
        MachineError: the kernel refuses; the message holds the fix.
    """

    def __init__(self, pages_per_cpu: int = PAGES_PER_CPU) -> None:
        if pages_per_cpu & pages_per_cpu - 1 or pages_per_cpu < 1:
            raise ValueError(f"pages_per_cpu is {pages_per_cpu}; it must be a power of two.")
        self.lost = 0
        """Records that found no room since the start."""
        self._decoder = Decoder()
        self._later: list[Record] = []
        self._rings: list[_Ring] = []
        try:
            for cpu in online_cpus():
                self._rings.append(_Ring(cpu, pages_per_cpu))
        except OSError as error:
            self.close()
            raise _refusal(error) from error

    @property
    def fds(self) -> list[int]:
        """One descriptor per CPU."""
        return [ring.fd for ring in self._rings]

    def read(self) -> list[Record]:
        """The new records of all CPUs, in the order of their times.

        The rings are read until nothing is new, so nothing older can still come. Where that does
        not end, what an older record of another CPU could precede is kept for the next call.
        """
        found = self._later + self._decode()
        self._later = []
        for _ in range(_ROUNDS):
            now = time.monotonic_ns()
            more = self._decode()
            found += more
            if not more:
                now = sys.maxsize
                break
        found.sort(key=_by_time)
        keep = bisect.bisect_right(found, now, key=_by_time)
        self._later = found[keep:]
        return found[:keep]

    def close(self) -> None:
        """Give memory and descriptors back."""
        for ring in self._rings:
            ring.close()
        self._rings.clear()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _decode(self) -> list[Record]:
        found: list[Record] = []
        for ring in self._rings:
            data = ring.read()
            if data:
                self.lost += self._decoder.decode(data, found)
        return found


class Decoder:
    """Bytes of a ring → records. Names and build ids seen before are the same objects again."""

    _MOST = 8192

    def __init__(self) -> None:
        self._names: dict[bytes, str] = {}
        self._buildids: dict[bytes, bytes] = {}

    def decode(self, data: bytes, into: list[Record]) -> int:
        """Append the records of `data`, whole ones; returns how many its LOST records tell of."""
        lost = at = 0
        end = len(data)
        append = into.append
        while at < end:
            kind, misc, size = _head(data, at)
            if size < 8:
                raise ValueError(f"a side-band record of {size} bytes at {at}")
            following = at + size
            if kind == _MMAP2:
                tgid, pid, start, length, offset = _place(data, at + 8)
                if _prot(data, at + 64)[0] & _PROT_EXEC:
                    buildid, device, inode = None, 0, 0
                    if misc & _MISC_BUILD_ID:
                        buildid = (
                            self._buildid(data[at + 44 : at + 44 + min(data[at + 40], 20)]) or None
                        )
                    else:
                        major, minor, inode = _file(data, at + 40)
                        device = os.makedev(major, minor)
                    path = self._name(data, at + 72, following)
                    mapping = Mapping(start, start + length, offset, path, buildid, device, inode)
                    append(Mapped(_time(data, following - 16)[0], tgid, pid, mapping))
            elif kind == _COMM:
                tgid, pid = _two(data, at + 8)
                name = self._name(data, at + 16, following)
                when = _time(data, following - 16)[0]
                append(Comm(when, tgid, pid, name, bool(misc & _MISC_EXEC)))
            elif kind == _FORK:
                tgid, parent_tgid, pid, parent_pid = _four(data, at + 8)
                append(Fork(_time(data, at + 24)[0], tgid, parent_tgid, pid, parent_pid))
            elif kind == _EXIT:
                tgid, _, pid, _ = _four(data, at + 8)
                append(Exit(_time(data, at + 24)[0], tgid, pid))
            elif kind == _LOST:
                lost += _time(data, at + 16)[0]
            at = following
        return lost

    def _name(self, data: bytes, start: int, end: int) -> str:
        stop = data.find(0, start, end)
        raw = data[start : stop if stop >= 0 else end]
        name = self._names.get(raw)
        if name is None:
            if len(self._names) >= self._MOST:
                self._names.clear()
            name = self._names[raw] = raw.decode("utf-8", "surrogateescape")
        return name

    def _buildid(self, raw: bytes) -> bytes:
        if len(self._buildids) >= self._MOST:
            self._buildids.clear()
        return self._buildids.setdefault(raw, raw)


class _Ring:
    """One CPU's records: written by the kernel at `head`, read by us from `tail`."""

    def __init__(self, cpu: int, pages: int) -> None:
        self.fd = _open(cpu)
        self._size = pages * _PAGE
        try:
            self._memory = mmap.mmap(self.fd, _PAGE + self._size, mmap.MAP_SHARED)
        except OSError:
            os.close(self.fd)
            raise
        self._bytes = memoryview(self._memory)
        self._data = self._bytes[_PAGE:]
        # as words, which are loaded and stored whole, never in parts
        self._words = self._bytes[:_PAGE].cast("Q")

    def read(self) -> bytes:
        """The records that are whole; their place is given back."""
        head = self._words[_HEAD]
        tail = self._words[_TAIL]
        if head == tail:
            return b""
        data = unwrap(self._data, self._size, tail, head)
        self._words[_TAIL] = head
        return data

    def close(self) -> None:
        for view in (self._words, self._data, self._bytes):
            view.release()
        self._memory.close()
        os.close(self.fd)


def unwrap(data: memoryview, size: int, tail: int, head: int) -> bytes:
    """The bytes from `tail` to `head`, positions that only grow, of a ring of `size` bytes."""
    start, end = tail % size, head % size
    if start < end:
        return bytes(data[start:end])
    return bytes(data[start:size]) + bytes(data[:end])


def _open(cpu: int) -> int:
    """A dummy event of everything that runs on `cpu`."""
    try:
        return _open_with(cpu, (*_BITS.values(), _BUILD_ID))
    except OSError as error:
        if error.errno != errno.EINVAL:
            raise
    return _open_with(cpu, tuple(_BITS.values()))


def _open_with(cpu: int, bits: tuple[int, ...]) -> int:
    flags = sum(1 << bit for bit in bits)
    # type, size, config, period, sample type, read format, flags, wake at the first byte, no
    # breakpoint; then the clock, at 92
    attributes = struct.pack(
        "<IIQQQQQII36xi",
        _SOFTWARE,
        PERF_ATTRIBUTES,
        _DUMMY,
        0,
        _SAMPLE,
        0,
        flags,
        1,
        0,
        time.CLOCK_MONOTONIC,
    )
    return open_perf_event(attributes, cpu)


def _refusal(error: OSError) -> MachineError:
    what = "can't watch forks and mappings (perf_event_open)"
    if error.errno in (errno.EACCES, errno.EPERM):
        return MachineError(
            f"{what}: permission denied. Run with sudo, or give CAP_PERFMON and CAP_IPC_LOCK."
        )
    if error.errno in (errno.EMFILE, errno.ENFILE):
        return MachineError(f"{what}: too many open files. Raise `ulimit -n`.")
    reason = (error.strerror or str(error)).lower()
    return MachineError(f"{what}: {reason}. See `stacks-tui --doctor`.")
