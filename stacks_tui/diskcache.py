"""Tables made from other files, kept on disk: named NumPy arrays under a key such as a build id.

Comes in: arrays by key. Goes out: the same arrays, read-only and mapped, or None. A file is taken
only when it is ours, whole and of this version; the folder only when no one else can write there.
A cache that can't be used is a cache that is empty: nothing here raises for the disk's sake.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import math
import mmap
import os
import re
import stat
import struct
import time
import zlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

_MAGIC = b"stacks\x00\x01"
_HEAD = struct.Struct("<8sIIQII")  # magic, version, length of the index, size, two checksums
_ALIGN = 64
_INDEX_LIMIT = 64 << 10
_KEY = re.compile(r"[0-9A-Za-z][0-9A-Za-z._-]{0,127}")
_STALE_SECONDS = 3600
_FORMAT: Any = np.lib.format  # dtypes as text; it has no types of its own
_numbers = itertools.count()

Arrays = dict[str, npt.NDArray[Any]]


def cache_root() -> Path:
    """The folder of all caches: root's own, else the user's."""
    if os.geteuid() == 0:
        return Path("/var/cache/stacks-tui")
    own = os.environ.get("XDG_CACHE_HOME", "")
    base = Path(own) if own.startswith("/") else Path.home() / ".cache"
    return base / "stacks-tui"


class DiskCache:
    """A folder of files `<key><suffix>.<version>`, the least recently used removed.

    Several processes may use one folder: files appear whole, by a rename.
    """

    def __init__(
        self,
        folder_name: str,
        suffix: str,
        version: int,
        max_bytes: int,
        root: Path | None = None,
    ) -> None:
        """Use `root`/`folder_name` (default root: `cache_root()`), made when it isn't there."""
        self._ending = f"{suffix}.{version}"
        self._version = version
        self._max_bytes = max_bytes
        self._folder = _open_folder(root if root is not None else cache_root(), folder_name)
        self._bytes: int | None = None  # as last counted, plus what was put since

    def close(self) -> None:
        """Let go of the folder; arrays that were given out stay good."""
        if self._folder is not None:
            os.close(self._folder)
            self._folder = None

    def get(self, key: str) -> Arrays | None:
        """The arrays put under `key`, read-only; None: not there, or not to be trusted."""
        if self._folder is None or not _KEY.fullmatch(key):
            return None
        name = key + self._ending
        try:
            fd = os.open(
                name,
                os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC,
                dir_fd=self._folder,
            )
        except OSError:
            return None
        try:
            status = os.fstat(fd)
            if not (stat.S_ISREG(status.st_mode) and _is_ours(status)):
                return None
            if not _HEAD.size <= status.st_size <= self._max_bytes:
                return None
            # Nobody else can shorten a file of ours, so mapping it is safe.
            data = mmap.mmap(fd, status.st_size, prot=mmap.PROT_READ)
        except (OSError, ValueError):
            return None
        finally:
            os.close(fd)
        arrays = self._unpack(data)
        if arrays is not None:
            with contextlib.suppress(OSError):  # its time of use, for the removal
                os.utime(name, dir_fd=self._folder, follow_symlinks=False)
        return arrays

    def put(self, key: str, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
        """Keep `arrays` (one or more dimensions, no objects) under `key`, in place of what was.

        Raises:
            TypeError: an array holds Python objects.
        """
        if any(array.dtype.hasobject for array in arrays.values()):
            raise TypeError("a cache keeps no arrays of Python objects")
        if self._folder is None or not _KEY.fullmatch(key):
            return
        parts, size = self._pack(arrays)
        if size > self._max_bytes:
            return
        temporary = f".{os.getpid()}-{next(_numbers)}-{time.monotonic_ns()}.tmp"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            fd = os.open(temporary, flags, 0o600, dir_fd=self._folder)
            try:
                for part in parts:
                    _write_all(fd, part)
            finally:
                os.close(fd)
            os.rename(
                temporary, key + self._ending, src_dir_fd=self._folder, dst_dir_fd=self._folder
            )
        except OSError:
            with contextlib.suppress(OSError):
                os.unlink(temporary, dir_fd=self._folder)
            return
        self._trim(size)

    def _pack(self, arrays: Mapping[str, npt.NDArray[Any]]) -> tuple[list[Any], int]:
        index: list[dict[str, Any]] = []
        blocks: list[Any] = []
        at = 0
        for name, array in arrays.items():
            plain = np.ascontiguousarray(array)
            descr = _FORMAT.dtype_to_descr(plain.dtype)
            index.append({"name": name, "dtype": descr, "shape": plain.shape, "at": at})
            blocks.append(plain.reshape(-1).view(np.uint8).data if plain.size else b"")
            padding = -plain.nbytes % _ALIGN
            blocks.append(bytes(padding))
            at += plain.nbytes + padding
        text = json.dumps(index).encode()
        text += b" " * (-(_HEAD.size + len(text)) % _ALIGN)
        content = 0
        for block in blocks:
            content = zlib.crc32(block, content)
        size = _HEAD.size + len(text) + at
        head = _HEAD.pack(_MAGIC, self._version, len(text), size, zlib.crc32(text), content)
        return [head, text, *blocks], size

    def _unpack(self, data: mmap.mmap) -> Arrays | None:
        magic, version, length, size, index_sum, content_sum = _HEAD.unpack_from(data, 0)
        if magic != _MAGIC or version != self._version or size != len(data):
            return None
        start = _HEAD.size + length
        if length > _INDEX_LIMIT or start > size:
            return None
        view = memoryview(data)
        text = bytes(view[_HEAD.size : start])
        if zlib.crc32(text) != index_sum or zlib.crc32(view[start:]) != content_sum:
            return None
        arrays: Arrays = {}
        try:
            for entry in json.loads(text):
                dtype = _dtype(entry["dtype"])
                shape = tuple(int(extent) for extent in entry["shape"])
                count, at = math.prod(shape), int(entry["at"])
                if dtype.hasobject or at < 0 or min(shape, default=0) < 0:
                    return None
                flat = np.frombuffer(view, dtype, count, start + at) if count else None
                whole = np.zeros(0, dtype) if flat is None else flat
                arrays[str(entry["name"])] = whole.reshape(shape)
        except (ValueError, TypeError, KeyError, RecursionError, OverflowError):
            return None
        return arrays

    def _trim(self, added: int) -> None:
        """Remove what was unused longest, once more than the allowed bytes lie there."""
        if self._bytes is not None:
            self._bytes += added
            if self._bytes <= self._max_bytes:
                return
        now = time.time()
        kept: list[tuple[float, int, str]] = []
        for name, status in self._files():
            if name.endswith(".tmp"):
                if now - status.st_mtime > _STALE_SECONDS:
                    self._remove(name)
            else:
                kept.append((status.st_mtime, status.st_size, name))
        total = sum(size for _, size, _ in kept)
        for _, size, name in sorted(kept):
            if total <= self._max_bytes:
                break
            self._remove(name)
            total -= size
        self._bytes = total

    def _files(self) -> Iterator[tuple[str, os.stat_result]]:
        assert self._folder is not None
        with contextlib.suppress(OSError), os.scandir(self._folder) as entries:
            for entry in entries:
                with contextlib.suppress(OSError):
                    yield entry.name, entry.stat(follow_symlinks=False)

    def _remove(self, name: str) -> None:
        with contextlib.suppress(OSError):
            os.unlink(name, dir_fd=self._folder)


def _dtype(descr: Any) -> np.dtype[Any]:
    fields = descr if isinstance(descr, str) else [tuple(field) for field in descr]
    found: np.dtype[Any] = np.dtype(_FORMAT.descr_to_dtype(fields))
    return found


def _write_all(fd: int, data: Any) -> None:
    view = memoryview(data)
    while len(view):
        view = view[os.write(fd, view) :]


def _is_ours(status: os.stat_result) -> bool:
    return status.st_uid == os.geteuid() and not status.st_mode & 0o022


def _open_folder(root: Path, name: str) -> int | None:
    """The folder `root`/`name`, each made 0700 when missing; None: not ours alone, or no room."""
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    held: int | None = None
    try:
        root.parent.mkdir(parents=True, exist_ok=True)
        with contextlib.suppress(FileExistsError):
            root.mkdir(0o700)
        outer = held = os.open(root, flags)
        if not _is_ours(os.fstat(outer)):
            raise PermissionError
        with contextlib.suppress(FileExistsError):
            os.mkdir(name, 0o700, dir_fd=outer)
        held = os.open(name, flags, dir_fd=outer)
        os.close(outer)
        if not _is_ours(os.fstat(held)):
            raise PermissionError
    except OSError:
        if held is not None:
            os.close(held)
        return None
    return held
