"""Ranges of mappings in the kernel's array, counted by who refers to them, freed after a grace.

Comes in: a process's mappings. Goes out: where they lie. A range never changes once it is written;
processes with the same mappings (forks) share one.
"""

from __future__ import annotations

from collections import deque
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from stacks_tui.unwind.modules import Module
from stacks_tui.unwind.pool import Extent, Pool
from stacks_tui.unwind.rows import MAPPING, MAPPINGS_PER_CHUNK

_GRAIN = 4

Entry = tuple[int, int, int, int, int, int]
"""As a MAPPING: start, end, bias, first, count, chunk."""


@dataclass(slots=True, eq=False)
class Range:
    """Mappings of one process, or of several that have the same."""

    extent: Extent
    content: bytes
    modules: tuple[Module, ...]
    """Whose rows the mappings name."""
    references: int = 0
    free_at: int | None = None
    """When it is free, if nothing refers to it until then."""
    is_free: bool = False


class RangeStore:
    """The kernel's array of mappings, as a view of all its chunks one after the other."""

    def __init__(self, mappings: npt.NDArray[Any], grace_ns: int) -> None:
        self._mappings = mappings
        self._grace_ns = grace_ns
        self.pool = Pool(len(mappings) // MAPPINGS_PER_CHUNK, MAPPINGS_PER_CHUNK, _GRAIN)
        self._by_content: dict[bytes, Range] = {}
        self._retired: deque[tuple[int, Range]] = deque()

    def hold(self, entries: list[Entry], modules: tuple[Module, ...]) -> Range | None:
        """A range with these mappings, 1 to 1024 by ascending start, and a reference to it.

        None: there is no room.
        """
        content = np.array(entries, MAPPING)
        key = content.tobytes()
        found = self._by_content.get(key)
        if found is None:
            extent = self.pool.take(len(entries))
            if extent is None:
                return None
            at = extent.chunk * MAPPINGS_PER_CHUNK + extent.first
            self._mappings[at : at + extent.count] = content
            found = self._by_content[key] = Range(extent, key, modules)
            for module in modules:
                module.holders += 1
        self.refer(found)
        return found

    def refer(self, held: Range) -> None:
        """One reference more."""
        held.references += 1
        held.free_at = None

    def release(self, held: Range, now_ns: int) -> None:
        """One reference less; without any it is free after the grace period."""
        held.references -= 1
        if not held.references:
            held.free_at = now_ns + self._grace_ns
            self._retired.append((held.free_at, held))

    def tidy(self, now_ns: int) -> list[Module]:
        """Free what is due; the modules that no range names any more."""
        unheld: list[Module] = []
        while self._retired and self._retired[0][0] <= now_ns:
            at, old = self._retired.popleft()
            if old.free_at != at or old.is_free:  # referred to again meanwhile
                continue
            old.is_free = True
            del self._by_content[old.content]
            self.pool.give(old.extent)
            for module in old.modules:
                module.holders -= 1
                if not module.holders:
                    unheld.append(module)
        return unheld

    def next_ns(self) -> int | None:
        """When the next one may be due."""
        return self._retired[0][0] if self._retired else None
