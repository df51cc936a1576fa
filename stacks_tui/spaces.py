"""Address spaces as values: the executable mappings of a process at one moment.

Comes in: mappings read from side-band records or /proc. Goes out: an immutable, searchable list,
shared by the unwinder's tables and the symbol resolver.
"""

from __future__ import annotations

import bisect
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Mapping:
    """One executable mapping of a process."""

    start: int
    end: int
    offset: int
    """Offset in the file of `start`, bytes."""
    path: str
    """As the process's kernel names it: `/usr/lib/…`, `[vdso]`, `//anon`, `… (deleted)`."""
    buildid: bytes | None = None
    device: int = 0
    """`os.makedev` of the file's device; 0 when only the build id is known."""
    inode: int = 0


@dataclass(frozen=True, slots=True)
class AddressSpace:
    """The executable mappings of one process between two changes, sorted and apart."""

    tgid: int
    generation: int
    """Counts the address spaces of this tgid (exec makes a new one)."""
    mappings: tuple[Mapping, ...] = ()
    starts: tuple[int, ...] = field(default=(), repr=False)

    def find(self, address: int) -> Mapping | None:
        """The mapping that holds `address`, or None."""
        at = bisect.bisect_right(self.starts, address) - 1
        if at >= 0 and address < self.mappings[at].end:
            return self.mappings[at]
        return None

    def with_mapping(self, new: Mapping) -> AddressSpace:
        """The same space after `new` was mapped: whatever it covers gives way."""
        kept: list[Mapping] = []
        for old in self.mappings:
            if old.end <= new.start or old.start >= new.end:
                kept.append(old)
                continue
            if old.start < new.start:
                kept.append(_part(old, old.start, new.start))
            if old.end > new.end:
                kept.append(_part(old, new.end, old.end))
        kept.append(new)
        return make_space(self.tgid, self.generation, kept)


def make_space(tgid: int, generation: int, mappings: list[Mapping]) -> AddressSpace:
    """An address space of these mappings, in any order, none overlapping another."""
    ordered = tuple(sorted(mappings, key=lambda mapping: mapping.start))
    return AddressSpace(tgid, generation, ordered, tuple(m.start for m in ordered))


def _part(old: Mapping, start: int, end: int) -> Mapping:
    offset = old.offset + start - old.start
    return Mapping(start, end, offset, old.path, old.buildid, old.device, old.inode)
