"""Files that had probes in earlier recordings, to be attached to before anybody maps them.

Comes in: paths, as they are attached to. Goes out: the same paths, in a later recording. To be
heard from its first span on, a library must have been attached to before a process loads it.
"""

from __future__ import annotations

import numpy as np

from stacks_tui.diskcache import DiskCache
from stacks_tui.symbols.files import open_regular

MOST = 16
"""Paths that are kept, the latest: each costs a recording's start some 0.5 ms."""
_VERSION = 1
_MOST_BYTES = 1 << 20
_KEY = "paths"


class KnownProviders:
    """Paths of files with probes, kept between recordings where the cache can be used."""

    def __init__(self, cache: DiskCache | None = None) -> None:
        self._cache = cache or DiskCache("probes", ".known", _VERSION, _MOST_BYTES)

    def paths(self) -> list[bytes]:
        """The latest first."""
        arrays = self._cache.get(_KEY) or {}
        joined = arrays.get("paths")
        if joined is None or joined.dtype != np.uint8:
            return []
        found = joined.tobytes().split(b"\0")
        return [path for path in found if path.startswith(b"/")][:MOST]

    def open(self, path: bytes) -> int | None:
        """Open one of them for reading; None: it is no file that can be opened."""
        return open_regular(path)

    def add(self, path: bytes) -> None:
        """Keep this one, too."""
        before = self.paths()
        if before[:1] != [path]:
            self._put([path, *(one for one in before if one != path)][:MOST])

    def drop(self, path: bytes) -> None:
        """Forget this one: it has no probes any more."""
        self._put([one for one in self.paths() if one != path])

    def close(self) -> None:
        """Let go of the cache."""
        self._cache.close()

    def _put(self, paths: list[bytes]) -> None:
        self._cache.put(_KEY, {"paths": np.frombuffer(b"\0".join(paths), np.uint8)})
