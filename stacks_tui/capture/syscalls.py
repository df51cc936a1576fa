"""The system calls of the read and write families, by number, for 64-bit and 32-bit callers.

Source: arch/x86/entry/syscalls/syscall_{64,32}.tbl and include/uapi/asm-generic/unistd.h (aarch64);
a number is never reused.
"""

from __future__ import annotations

import platform

READ, WRITE = 1, 2
COMPAT = 512
"""Where `bpf/kinds/vfs.bpf.c` looks for the numbers of 32-bit callers."""

_FAMILY = {
    "read": READ,
    "pread64": READ,
    "readv": READ,
    "preadv": READ,
    "preadv2": READ,
    "write": WRITE,
    "pwrite64": WRITE,
    "writev": WRITE,
    "pwritev": WRITE,
    "pwritev2": WRITE,
    "sendfile": READ | WRITE,
    "sendfile64": READ | WRITE,
    "copy_file_range": READ | WRITE,
    "splice": READ | WRITE,
    "vmsplice": WRITE,
}

_NUMBERS = {
    "x86_64": {
        "read": 0,
        "write": 1,
        "pread64": 17,
        "pwrite64": 18,
        "readv": 19,
        "writev": 20,
        "sendfile": 40,
        "splice": 275,
        "preadv": 295,
        "pwritev": 296,
        "copy_file_range": 326,
        "preadv2": 327,
        "pwritev2": 328,
    },
    "i386": {
        "read": 3,
        "write": 4,
        "readv": 145,
        "writev": 146,
        "pread64": 180,
        "pwrite64": 181,
        "sendfile": 187,
        "sendfile64": 239,
        "splice": 313,
        "preadv": 333,
        "pwritev": 334,
        "copy_file_range": 377,
        "preadv2": 378,
        "pwritev2": 379,
    },
    "aarch64": {
        "read": 63,
        "write": 64,
        "readv": 65,
        "writev": 66,
        "pread64": 67,
        "pwrite64": 68,
        "preadv": 69,
        "pwritev": 70,
        "sendfile": 71,
        "splice": 76,
        "copy_file_range": 285,
        "preadv2": 286,
        "pwritev2": 287,
    },
}


def families() -> list[tuple[int, int]]:
    """(number, family bits) of this machine's calls; those of 32-bit callers from `COMPAT` on."""
    machine = platform.machine()
    found = [(number, _FAMILY[name]) for name, number in _NUMBERS.get(machine, {}).items()]
    if machine == "x86_64":
        found += [(number + COMPAT, _FAMILY[name]) for name, number in _NUMBERS["i386"].items()]
    return found
