"""Symbol tables kept: in memory by bytes, on disk from one recording to the next.

Comes in: the identity of a file. Goes out: its table, made once. The key on disk holds the build
id and what the kernel vouches for (device, inode, size, times), since anyone can write any build
id into a file of their own.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable

from stacks_tui.diskcache import DiskCache
from stacks_tui.symbols.binaries import FileIdentity
from stacks_tui.symbols.table import SymbolTable, table_from_arrays

DISK_VERSION = 1
DISK_BYTES = 256 << 20
MEMORY_BYTES = 64 << 20


def open_disk_cache() -> DiskCache:
    """The folder of symbol tables of this user."""
    return DiskCache("symbols", ".symbols", DISK_VERSION, DISK_BYTES)


def cache_key(
    buildid: bytes | None, binary: FileIdentity, debug: FileIdentity | None = None
) -> str:
    """The key of a file's table, made with or without its debug file."""
    text = repr((binary, debug)).encode()
    digest = hashlib.blake2b(text, digest_size=16).hexdigest()
    return f"{buildid.hex() if buildid else 'none'}-{digest}"


class TableCache:
    """Tables by key, the least recently used dropped beyond `max_bytes` of memory."""

    def __init__(self, disk: DiskCache | None = None, max_bytes: int = MEMORY_BYTES) -> None:
        self._disk = disk
        self._max_bytes = max_bytes
        self._tables: OrderedDict[str, SymbolTable] = OrderedDict()
        self.nbytes = 0
        """Bytes of the tables held."""

    def get(self, key: str, make: Callable[[], SymbolTable]) -> SymbolTable:
        """The table under `key`: from memory, else from disk, else made and kept in both."""
        table = self._tables.get(key)
        if table is not None:
            self._tables.move_to_end(key)
            return table
        table = self._from_disk(key)
        if table is None:
            table = make()
            if self._disk is not None:
                self._disk.put(key, table.arrays())
        self._tables[key] = table
        self.nbytes += table.nbytes
        while self.nbytes > self._max_bytes and len(self._tables) > 1:
            _, dropped = self._tables.popitem(last=False)
            self.nbytes -= dropped.nbytes
        return table

    def _from_disk(self, key: str) -> SymbolTable | None:
        arrays = self._disk.get(key) if self._disk is not None else None
        return table_from_arrays(arrays) if arrays is not None else None
