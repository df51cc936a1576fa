"""Where signal handlers return to: the trampoline that libc hands to the kernel.

Comes in: an image and its symbols. Goes out: the trampolines' addresses. A stack through a signal
has there an address that no call made, and the frame after it was interrupted anywhere, so both
are looked up exactly and not one byte before.
"""

from __future__ import annotations

import numpy as np

from stacks_tui.elf import EM_X86_64, ElfError, ElfImage
from stacks_tui.symbols.table import RawSymbols, SymbolTable

_NAMES = (
    b"__restore_rt",
    b"__restore",
    b"__kernel_rt_sigreturn",
    b"__kernel_sigreturn",
    b"runtime.sigreturn",
    b"runtime.sigreturn.abi0",
    b"runtime.sigreturn__sigaction",
    b"runtime.sigreturn__sigaction.abi0",
)
_CODE = bytes.fromhex("48c7c00f0000000f05")  # mov $15 (rt_sigreturn), %rax; syscall
_TEXT_LIMIT = 32 << 20


def signal_returns(table: SymbolTable) -> frozenset[int]:
    """The starts of the trampolines among these symbols."""
    return frozenset(int(table.starts[at]) for name in _NAMES for at in named(table, name))


def named(table: SymbolTable, name: bytes) -> list[int]:
    """Indices of the symbols that have exactly this name."""
    text = table.names.tobytes()
    found: list[int] = []
    at = text.find(name)
    while at >= 0:
        index = int(np.searchsorted(table.name_at, at, "right")) - 1
        # Kept names lie end to end, so a hit may also straddle two of them.
        if int(table.name_at[index]) == at and table.name(index) == name:
            found.append(index)
        at = text.find(name, at + 1)
    return found


def trampoline_symbols(image: ElfImage, table: SymbolTable) -> RawSymbols | None:
    """The trampoline of a stripped libc, found by its code; None: it is named, or not there.

    Only an image that has `sigaction` is searched.
    """
    if image.machine != EM_X86_64 or image.elfclass != 64:
        return None
    if not (named(table, b"sigaction") or named(table, b"__sigaction")) or signal_returns(table):
        return None
    for load in image.loads:
        try:
            at = image.read(load.offset, load.filesz, _TEXT_LIMIT).find(_CODE)
        except ElfError:
            continue
        if at >= 0:
            name = np.frombuffer(_NAMES[0], np.uint8)
            start = np.array([load.vaddr + at], np.uint64)
            size = np.array([len(_CODE)], np.uint64)
            zero, length = np.zeros(1, np.int64), np.array([len(name)])
            return RawSymbols(start, size, start + size, zero == 0, zero, length, name)
    return None


def exact_lookups(pcs: list[int], returns: list[frozenset[int]]) -> list[bool]:
    """[n] whether each frame's address is the instruction itself and not a return address.

    Args:
        pcs: addresses of the frames, leaf first, each in its own file's terms.
        returns: the trampolines of the file of each frame.
    """
    exact: list[bool] = []
    signalled = True  # nothing called the innermost
    for pc, trampolines in zip(pcs, returns, strict=True):
        here = pc in trampolines
        exact.append(signalled or here)
        signalled = here
    return exact
