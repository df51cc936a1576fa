"""Names of kernel code: functions of the kernel, its modules, BPF programs and trampolines.

Comes in: /proc/kallsyms, read when first asked for. Goes out: symbols by absolute address, each
with its module. Addresses that the kernel hides (all zero) give no symbols.
"""

from __future__ import annotations

import time
from pathlib import Path

import numpy as np
import numpy.typing as npt

from stacks_tui.symbols.table import RawSymbols, SymbolTable, build, empty_table

CORE = "[kernel]"
_EXTENT = 1 << 18
"""kallsyms has no sizes: a function ends at the next symbol, at most this far."""
_AGAIN_SECONDS = 5.0
"""An unknown address makes the symbols be read again (new modules and programs), not sooner."""
_NIBBLE = np.full(256, 0xFF, np.uint8)
for _digit in range(16):
    _NIBBLE[ord(f"{_digit:x}")] = _digit


class KernelSymbols:
    """The symbols of the running kernel."""

    def __init__(self, path: Path = Path("/proc/kallsyms")) -> None:
        self._path = path
        self._read_at: float | None = None
        self.table: SymbolTable = empty_table()
        self._modules: list[str] = [CORE]
        self._module_at = np.zeros(0, np.int64)

    def find(self, addresses: npt.NDArray[np.uint64]) -> npt.NDArray[np.int64]:
        """[m] index in `table` of the function at each address, -1: none."""
        if self._read_at is None:
            self.load()
        at = self.table.find(addresses)
        assert self._read_at is not None
        if len(self.table) and (at < 0).any() and time.monotonic() - self._read_at > _AGAIN_SECONDS:
            self.load()
            at = self.table.find(addresses)
        return at

    def module(self, index: int) -> str:
        """`[kernel]`, or `[name]` of the module of a symbol."""
        return self._modules[int(self._module_at[index])]

    def load(self) -> None:
        """Read kallsyms, in place of what was read before."""
        try:
            data = self._path.read_bytes()
        except OSError:
            data = b""
        self.table, self._modules, self._module_at = _parse(data)
        self._read_at = time.monotonic()


def _parse(data: bytes) -> tuple[SymbolTable, list[str], npt.NDArray[np.int64]]:
    """From lines such as `ffffffff81000000 T _stext` and `… t name\t[module]`."""
    nothing = empty_table(), [CORE], np.zeros(0, np.int64)
    text = np.frombuffer(data, np.uint8)
    ends = np.flatnonzero(text == ord("\n"))
    starts = np.append(0, ends + 1)[: len(ends)]
    whole = ends - starts > 19
    starts, ends = starts[whole], ends[whole]
    if not len(starts):
        return nothing
    digits = _NIBBLE[text[starts[:, None] + np.arange(16)]]
    addresses = np.zeros(len(starts), np.uint64)
    for column in range(16):
        addresses = (addresses << np.uint64(4)) | digits[:, column]
    valid = (digits < 16).all(axis=1) & (text[starts + 16] == ord(" "))
    valid &= (text[starts + 18] == ord(" ")) & (addresses != 0)
    addresses, starts, ends = addresses[valid], starts[valid], ends[valid]
    if not len(addresses):
        return nothing

    # Symbols of data end functions too.
    known = np.unique(addresses)
    kinds = text[starts + 17]
    code = np.isin(kinds, np.frombuffer(b"tTwW", np.uint8))
    addresses, starts, ends, kinds = addresses[code], starts[code], ends[code], kinds[code]
    next_at = np.searchsorted(known, addresses, "right")
    following = np.append(known, np.uint64(2**64 - 1))[next_at]
    limits = addresses + np.minimum(following - addresses, np.uint64(_EXTENT))

    tabs = np.append(np.flatnonzero(text == ord("\t")), len(text))
    tab = tabs[np.searchsorted(tabs, starts)]
    name_at = starts + 19
    name_len = np.minimum(tab, ends) - name_at
    modules = [CORE]
    numbers = {b"": 0}
    module_of = np.zeros(len(starts), np.int64)
    for row in np.flatnonzero(tab < ends).tolist():
        label = data[tab[row] + 1 : ends[row]]
        if label not in numbers:
            numbers[label] = len(modules)
            modules.append(label.decode("utf-8", "backslashreplace"))
        module_of[row] = numbers[label]

    local = kinds >= ord("a")
    sizes = np.zeros(len(starts), np.uint64)
    table = build(RawSymbols(addresses, sizes, limits, local, name_at, name_len, text))
    order = np.argsort(addresses, kind="stable")
    chosen = order[np.searchsorted(addresses[order], table.starts)]
    return table, modules, module_of[chosen]
