"""Reading /proc: one function per file, each with None or nothing for a process that is gone.

Comes in: process and thread numbers. Goes out: values as the kernel wrote them. Names are decoded
with surrogateescape, so that a path can be opened again and no byte is refused.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from stacks_tui.spaces import Mapping

PROC = Path("/proc")

GONE = (FileNotFoundError, ProcessLookupError, NotADirectoryError, PermissionError)
"""What reading a file of a process that ends, or that is not ours to see, raises."""

_OCTAL = re.compile(rb"\\012")


@dataclass(frozen=True, slots=True)
class Stat:
    """The parts of /proc/N/stat that are used here."""

    comm: str
    state: str
    """One letter: R runs or could, S, D, I and others don't (fs/proc/array.c)."""
    parent: int
    start_ticks: int
    """Since boot (CLOCK_BOOTTIME), in units of `os.sysconf("SC_CLK_TCK")`."""
    flags: int
    """PF_ bits of the kernel; see `kernel_thread`."""

    @property
    def kernel_thread(self) -> bool:
        """It has no user memory (PF_KTHREAD)."""
        return bool(self.flags & 0x00200000)


def decode(raw: bytes) -> str:
    """Text of any bytes; `os.fsencode` gives the bytes back."""
    return raw.decode("utf-8", "surrogateescape")


def read_bytes(path: str) -> bytes | None:
    """The whole of a small file of /proc; None if the process is gone or hidden."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except GONE:
        return None
    try:
        parts = []
        while part := os.read(fd, 1 << 16):
            parts.append(part)
        return b"".join(parts)
    except OSError:
        return None
    finally:
        os.close(fd)


def tgids() -> list[int]:
    """Every process that runs now, in no order."""
    return [int(name) for name in os.listdir(PROC) if name.isdigit()]  # noqa: PTH208


def threads(tgid: int) -> list[int]:
    """The threads of a process; empty if it is gone."""
    try:
        return [int(name) for name in os.listdir(f"{PROC}/{tgid}/task")]  # noqa: PTH208
    except GONE:
        return []


def comm(pid: int) -> str | None:
    """The kernel's name of a process or thread."""
    raw = read_bytes(f"{PROC}/{pid}/comm")
    return None if raw is None else decode(raw.removesuffix(b"\n"))


def tgid_of(pid: int) -> int | None:
    """The process that a thread belongs to."""
    raw = read_bytes(f"{PROC}/{pid}/status")
    if raw is None:
        return None
    found = re.search(rb"^Tgid:\t(\d+)$", raw, re.MULTILINE)
    return int(found[1]) if found else None


def stat(pid: int) -> Stat | None:
    """Name, parent and start of a process; the name may hold any byte, `)` and spaces too."""
    raw = read_bytes(f"{PROC}/{pid}/stat")
    if not raw:
        return None
    name = raw[raw.index(b"(") + 1 : raw.rindex(b")")]
    rest = raw[raw.rindex(b")") + 2 :].split()
    return Stat(decode(name), decode(rest[0]), int(rest[1]), int(rest[19]), int(rest[6]))


def cmdline(tgid: int) -> str | None:
    """The arguments with spaces between; None if gone, empty for a kernel thread."""
    raw = read_bytes(f"{PROC}/{tgid}/cmdline")
    return None if raw is None else decode(raw.rstrip(b"\0").replace(b"\0", b" "))


def exe(tgid: int) -> str | None:
    """The path of the executable as the process's kernel names it; None for kernel threads."""
    try:
        return os.readlink(f"{PROC}/{tgid}/exe")  # noqa: PTH115
    except GONE:
        return None
    except OSError:  # a name longer than a page
        return None


def cgroup(tgid: int) -> str | None:
    """The path in the cgroup v2 tree, or the longest of the v1 trees' where that is the root."""
    raw = read_bytes(f"{PROC}/{tgid}/cgroup")
    if raw is None:
        return None
    paths = [line.split(b":", 2) for line in raw.splitlines() if line.count(b":") >= 2]
    unified = [decode(path) for number, _, path in paths if number == b"0"]
    if unified and unified[0] != "/":
        return unified[0]
    longest = max(
        (decode(path) for number, _, path in paths if number != b"0"), key=len, default=""
    )
    return longest or (unified[0] if unified else None)


def mappings(tgid: int) -> tuple[Mapping, ...]:
    """The executable mappings of a process by /proc/PID/maps, without build ids; sorted."""
    raw = read_bytes(f"{PROC}/{tgid}/maps")
    return tuple(parse_maps(raw)) if raw else ()


def parse_maps(raw: bytes) -> Iterator[Mapping]:
    """The executable lines of a `maps` file; anonymous ones are named `//anon`, as perf does."""
    for line in raw.split(b"\n"):
        fields = line.split(None, 5)
        if len(fields) < 5 or fields[1][2:3] != b"x":
            continue
        path = _OCTAL.sub(b"\n", fields[5]) if len(fields) > 5 else b"//anon"
        if path == b"[vsyscall]":  # the kernel's page, in no process's own space
            continue
        start, end = fields[0].split(b"-")
        major, minor = fields[3].split(b":")
        yield Mapping(
            int(start, 16),
            int(end, 16),
            int(fields[2], 16),
            decode(path),
            None,
            os.makedev(int(major, 16), int(minor, 16)),
            int(fields[4]),
        )


def every_stat() -> Iterator[tuple[int, Stat]]:
    """(tgid, stat) of every process that is still there when it is read."""
    for tgid in tgids():
        found = stat(tgid)
        if found is not None:
            yield tgid, found
