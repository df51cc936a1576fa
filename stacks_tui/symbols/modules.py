"""The modules of all processes: each mapped file found, verified and read once.

Comes in: a `Mapping` of a process. Goes out: its `Module` with the symbols. Files of new mappings
are opened when the mapping is heard of, so that a process that ends at once is no obstacle, and
read when a stack needs them.
"""

from __future__ import annotations

import contextlib
import os
import time
from collections import OrderedDict
from dataclasses import dataclass, field
from pathlib import Path

from stacks_tui.elf import ElfError, ElfImage, Segment, mapping_bias
from stacks_tui.spaces import Mapping
from stacks_tui.symbols import vdso
from stacks_tui.symbols.binaries import Binary, file_identity, file_path, open_binary
from stacks_tui.symbols.cache import TableCache, cache_key
from stacks_tui.symbols.debug_files import DEBUG_ROOT, open_debug_file
from stacks_tui.symbols.elf_symbols import symbols_of
from stacks_tui.symbols.frames import Frame
from stacks_tui.symbols.signals import signal_returns
from stacks_tui.symbols.table import SymbolTable

MODULES_LIMIT = 512
TABLES_BYTES = 128 << 20
"""Bytes of the symbol tables that modules hold; a table shared by two modules counts twice."""
OPEN_LIMIT = 64
"""Files held open for modules whose symbols nobody has needed yet."""
_KEYS_LIMIT = 16_384
_MISSING_LIMIT = 4096
_AGAIN_SECONDS = 2.0

Key = tuple[bytes | None, str, int, int, tuple[int, ...]]


@dataclass(slots=True)
class Module:
    """A mapped file with its symbols, and the frames already made from it."""

    segments: tuple[Segment, ...]
    buildid: bytes | None
    table: SymbolTable
    signal_returns: frozenset[int]
    frames: dict[tuple[int, bool], Frame] = field(default_factory=dict)
    """By address in the file, and whether it was looked up exactly."""

    def bias(self, mapping: Mapping) -> int | None:
        """As `elf.mapping_bias`; a vDSO is mapped from its beginning whatever its offset says."""
        if mapping.path == vdso.NAME:
            mapping = Mapping(mapping.start, mapping.end, 0, mapping.path)
        return mapping_bias(self.segments, mapping)


class Modules:
    """Modules by mapping. For one thread."""

    def __init__(
        self,
        tables: TableCache,
        proc: Path = Path("/proc"),
        own_root: Path = Path("/"),
        debug_root: Path = DEBUG_ROOT,
    ) -> None:
        self._tables = tables
        self._proc = proc
        self._own_root = own_root
        self._debug_root = debug_root
        self._keys: OrderedDict[tuple[int, Mapping], Key] = OrderedDict()
        self._modules: OrderedDict[Key, Module] = OrderedDict()
        self._open: OrderedDict[Key, tuple[Binary, str]] = OrderedDict()
        self._missing: OrderedDict[Key, float] = OrderedDict()
        self._nbytes = 0

    def close(self) -> None:
        """Close the files still held open."""
        while self._open:
            self._open.popitem()[1][0].close()

    def prefetch(self, mapping: Mapping, tgid: int) -> None:
        """Hold on to the file of a new mapping while the process is there. Cheap when known."""
        path = file_path(mapping)
        if path is None:
            return
        key = self._key(mapping, tgid)
        if key in self._modules or key in self._open or self._is_missing(key):
            return
        binary = open_binary(mapping, tgid, self._proc, self._own_root)
        if binary is None:
            self._miss(key)
            return
        self._open[key] = binary, path
        if len(self._open) > OPEN_LIMIT:
            oldest, (binary, path) = self._open.popitem(last=False)
            self._keep(oldest, self._load(binary, path))

    def module(self, mapping: Mapping, tgid: int) -> Module | None:
        """The module of a mapping; None: it maps no file, or its file isn't available."""
        path = file_path(mapping)
        if path is None and mapping.path != vdso.NAME:
            return None
        key = self._key(mapping, tgid)
        module = self._modules.get(key)
        if module is not None:
            self._modules.move_to_end(key)
            return module
        if self._is_missing(key):
            return None
        if path is None:
            module = self._load_vdso(mapping, tgid)
        else:
            binary, path = self._open.pop(key, (None, path))
            if binary is None:
                binary = open_binary(mapping, tgid, self._proc, self._own_root)
            module = self._load(binary, path) if binary is not None else None
        if module is None:
            self._miss(key)
            return None
        self._keep(key, module)
        return module

    def forget_frames(self) -> None:
        """Drop the frames made so far."""
        for module in self._modules.values():
            module.frames.clear()

    def _key(self, mapping: Mapping, tgid: int) -> Key:
        known = self._keys.get((tgid, mapping))
        if known is not None:
            self._keys.move_to_end((tgid, mapping))
            return known
        place = self._place(mapping, tgid)
        key = mapping.buildid, mapping.path, mapping.device, mapping.inode, place
        self._keys[tgid, mapping] = key
        if len(self._keys) > _KEYS_LIMIT:
            self._keys.popitem(last=False)
        return key

    def _place(self, mapping: Mapping, tgid: int) -> tuple[int, ...]:
        """What tells apart mappings that say the same of themselves.

        Containers may have other files at the same path, and a build id proves little: what one
        root has says nothing about another's. Without a build id a file that was written anew
        may have the inode of the old one, so its size and times count.
        """
        path = file_path(mapping)
        if path is None:
            return () if vdso.is_shared(mapping) else (tgid,)
        found: tuple[int, ...] = ()
        root = self._proc / str(tgid) / "root"
        with contextlib.suppress(OSError, ValueError):
            status = root.stat()
            found = status.st_dev, status.st_ino
        if mapping.buildid is None:
            base = root if found else self._own_root
            with contextlib.suppress(OSError, ValueError):
                status = (base / path.lstrip("/")).lstat()
                found += status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
        return found

    def _keep(self, key: Key, module: Module) -> None:
        self._missing.pop(key, None)
        self._modules[key] = module
        self._nbytes += module.table.nbytes
        while len(self._modules) > 1 and (
            self._nbytes > TABLES_BYTES or len(self._modules) > MODULES_LIMIT
        ):
            self._nbytes -= self._modules.popitem(last=False)[1].table.nbytes

    def _miss(self, key: Key) -> None:
        self._missing[key] = time.monotonic()
        if len(self._missing) > _MISSING_LIMIT:
            self._missing.popitem(last=False)

    def _is_missing(self, key: Key) -> bool:
        since = self._missing.get(key)
        return since is not None and time.monotonic() - since < _AGAIN_SECONDS

    def _load(self, binary: Binary, path: str) -> Module:
        image = binary.image
        debug: int | None = None
        try:
            debug = open_debug_file(image, path, self._debug_root)
            identity = file_identity(os.fstat(debug)) if debug is not None else None

            def make() -> SymbolTable:
                try:
                    return symbols_of(image, None if debug is None else ElfImage.from_fd(debug))
                except ElfError:  # the debug file was changed just now
                    return symbols_of(image)

            key = cache_key(image.build_id, binary.identity, identity)
            table = self._tables.get(key, make)
            return Module(image.segments, image.build_id, table, signal_returns(table))
        finally:
            if debug is not None:
                os.close(debug)
            binary.close()

    def _load_vdso(self, mapping: Mapping, tgid: int) -> Module | None:
        data = vdso.read_vdso(mapping, tgid, self._proc)
        if data is None:
            return None
        try:
            image = ElfImage.from_bytes(data)
        except ElfError:
            return None
        table = symbols_of(image)
        return Module(image.segments, image.build_id, table, signal_returns(table))
