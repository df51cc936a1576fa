"""The vDSO: an ELF image that the kernel maps into every process.

Comes in: its mapping in a process. Goes out: the image's bytes, from our own process where it is
the same one (all of 64 bits), else from the memory of that process.
"""

from __future__ import annotations

import os
from pathlib import Path

from stacks_tui.spaces import Mapping

NAME = "[vdso]"
_LIMIT = 1 << 20
_LOWEST_64 = 1 << 32
"""A vDSO below belongs to a process of 32 bits."""


def is_shared(mapping: Mapping) -> bool:
    """Whether this vDSO is the one that our own process has too."""
    return mapping.start >= _LOWEST_64


def read_vdso(mapping: Mapping, tgid: int, proc: Path = Path("/proc")) -> bytes | None:
    """The bytes of a process's vDSO; None: the process is gone, or there is no vDSO."""
    if is_shared(mapping):
        own = _own_range(proc)
        return _read(proc / "self" / "mem", *own) if own else None
    return _read(proc / str(tgid) / "mem", mapping.start, mapping.end)


def _own_range(proc: Path) -> tuple[int, int] | None:
    try:
        lines = (proc / "self" / "maps").read_bytes().splitlines()
    except OSError:
        return None
    for line in lines:
        if line.endswith(NAME.encode()):
            start, _, end = line.split()[0].partition(b"-")
            return int(start, 16), int(end, 16)
    return None


def _read(path: Path, start: int, end: int) -> bytes | None:
    if not 0 < end - start <= _LIMIT:
        return None
    try:
        fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        try:
            return os.pread(fd, end - start, start)
        finally:
            os.close(fd)
    except (OSError, OverflowError):
        return None
