"""The rows of modules in the kernel's array: each module's once, however many processes map it.

Comes in: unwind tables. Goes out: where their rows lie. When the array is full, the modules that
were used least recently give way, those that no process maps first.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import Enum
from typing import Any

from stacks_tui.elf import Segment
from stacks_tui.spaces import Mapping
from stacks_tui.unwind.ehframe import UnwindTable, base_of
from stacks_tui.unwind.pool import Extent, Pool
from stacks_tui.unwind.rows import ROWS_PER_CHUNK, Kind, Rows

IN_USE_NS = 10_000_000_000
"""A module that processes map gives way only if none of them was published for this long."""

_GRAIN = 64
_SMALLEST_PIECE = 1024
"""Rows in a piece at least: each piece costs every process a mapping."""
_WAITING_LIMIT = 16
_PAGE = 4096
_MASK = (1 << 64) - 1


class State(Enum):
    """What a module can give."""

    LOADING = "loading"
    ROWS = "rows"
    FRAME_POINTERS = "frame pointers"
    """It has no rules, so its code is walked as a JIT's."""
    UNREADABLE = "unreadable"
    UNSUPPORTED = "unsupported"
    NO_ROOM = "no room"
    """Its rows are not in the kernel's array, or no longer."""


HOPELESS = frozenset((State.UNREADABLE, State.UNSUPPORTED))
"""Where a copy of the stack would tell no more."""


@dataclass(slots=True, eq=False)
class Module:
    """A file that processes map, by its content."""

    build_id: bytes | None = None
    state: State = State.LOADING
    since_ns: int = 0
    """When it got its state."""
    used_ns: int = 0
    """When a process that maps it was last published."""
    loads: tuple[Segment, ...] = ()
    size: int = 0
    """Rows of its table, as it was loaded last."""
    pieces: tuple[tuple[int, Extent], ...] = ()
    """(first pc, where the rows lie), ascending."""
    keys: set[Any] = field(default_factory=set)
    """The names by which mappings find it."""
    tgids: set[int] = field(default_factory=set)
    """The processes that map it."""
    holders: int = 0
    """Ranges of mappings in the kernel's array that name its rows, those in grace too."""

    @property
    def rows(self) -> int:
        """How many rows it has in the kernel's array."""
        return sum(extent.count for _, extent in self.pieces)

    def enter(self, state: State, now_ns: int) -> None:
        """Be in a state from now on."""
        self.state, self.since_ns = state, now_ns


def row_bias(loads: tuple[Segment, ...], mapping: Mapping) -> int | None:
    """What to take from an address in the mapping to get a row's pc, modulo 2**64.

    None: no executable segment of the file lies there.
    """
    found: Segment | None = None
    for load in loads:
        first = load.offset & -_PAGE
        if first <= mapping.offset < load.offset + load.filesz:
            found = load
            if first == mapping.offset:  # of two that share a page, the one mapped from it
                break
    if found is None:
        return None
    vaddr = mapping.offset - found.offset + found.vaddr
    return (mapping.start - vaddr + base_of(loads)) & _MASK


class RowStore:
    """The kernel's array of rows, as a view of all its chunks one after the other."""

    def __init__(self, rows: Rows) -> None:
        self._rows = rows
        self.pool = Pool(len(rows) // ROWS_PER_CHUNK, ROWS_PER_CHUNK, _GRAIN)
        self.evicted = 0
        self.rejected = 0
        self._waiting: list[tuple[Module, UnwindTable]] = []
        stop = self.pool.take(1)
        if stop is None:
            raise ValueError("no chunk of rows at all")
        self.stop: Extent = stop
        """One row ABSENT from pc 0 on: a walk ends where rules are not known yet."""
        self._rows[stop.first] = (0, 0, Kind.ABSENT, 0)
        plain, bad = self.pool.take(1), self.pool.take(1)
        if plain is None or bad is None:
            raise ValueError("no room for three rows")
        self.plain: Extent = plain
        """One row NONE from pc 0 on: code that has no rules."""
        self._rows[plain.first] = (0, 0, Kind.NONE, 0)
        self.bad: Extent = bad
        """One row BAD from pc 0 on: code whose rules can't be had; a copy would not help."""
        self._rows[bad.first] = (0, 0, Kind.BAD, 0)

    @property
    def waiting(self) -> int:
        """Modules that wait for others' rows to be free."""
        return len(self._waiting)

    def load(
        self, module: Module, table: UnwindTable, known: Iterable[Module], now_ns: int
    ) -> list[Module]:
        """Bring a module's rows in; the modules that changed their state for it, itself included.

        One that stays LOADING waits for the rows of others that gave way.
        """
        module.size = len(table.rows)
        if self._add(module, table, now_ns):
            return [module]
        needed = len(table.rows)
        free = self.pool.total - self.pool.used
        coming = sum(m.rows for m in known if m.state is not State.ROWS and m.holders)
        coming -= sum(len(waiting.rows) for _, waiting in self._waiting)
        victims = [
            other
            for other in known
            if other.state is State.ROWS and (not other.tgids or now_ns - other.used_ns > IN_USE_NS)
        ]
        possible = free + max(coming, 0) + sum(victim.rows for victim in victims)
        if possible < needed or len(self._waiting) >= _WAITING_LIMIT:
            self.rejected += 1
            module.enter(State.NO_ROOM, now_ns)
            return [module]
        changed: list[Module] = []
        victims.sort(key=lambda victim: (bool(victim.tgids), victim.used_ns))
        for victim in victims:
            if coming > 0 and free + coming >= needed:
                break
            changed.append(victim)
            self.evicted += 1
            victim.enter(State.NO_ROOM, now_ns)
            if victim.holders:
                coming += victim.rows
                continue
            free += victim.rows
            self.drop(victim)
            if self._add(module, table, now_ns):
                return [*changed, module]
        if coming <= 0:  # free rows there are, but in too small pieces
            self.rejected += 1
            module.enter(State.NO_ROOM, now_ns)
            return [*changed, module]
        self._waiting.append((module, table))
        return changed

    def has_room(self, size: int, known: Iterable[Module]) -> bool:
        """Whether so many rows are free, or only kept for modules that no process maps."""
        free = self.pool.total - self.pool.used
        unused = sum(m.rows for m in known if m.state is State.ROWS and not m.tgids)
        return free + unused >= size + _GRAIN

    def retry(self, known: Iterable[Module], now_ns: int) -> list[Module]:
        """After rows became free: the waiting modules that got theirs, or never will."""
        changed: list[Module] = []
        coming = any(m.pieces and m.state is not State.ROWS for m in known)
        still: list[tuple[Module, UnwindTable]] = []
        for module, table in self._waiting:
            if self._add(module, table, now_ns):
                changed.append(module)
            elif coming:
                still.append((module, table))
            else:
                self.rejected += 1
                module.enter(State.NO_ROOM, now_ns)
                changed.append(module)
        self._waiting = still
        return changed

    def drop(self, module: Module) -> None:
        """Free a module's rows. No range of mappings may name them any more."""
        assert not module.holders
        for _, extent in module.pieces:
            self.pool.give(extent)
        module.pieces = ()

    def forget(self, module: Module) -> None:
        """Don't load it any more."""
        self._waiting = [pair for pair in self._waiting if pair[0] is not module]

    def _add(self, module: Module, table: UnwindTable, now_ns: int) -> bool:
        extents = self.pool.take_pieces(len(table.rows), _SMALLEST_PIECE)
        if extents is None:
            return False
        pieces: list[tuple[int, Extent]] = []
        done = 0
        for extent in extents:
            at = extent.chunk * ROWS_PER_CHUNK + extent.first
            part = table.rows[done : done + extent.count]
            self._rows[at : at + extent.count] = part
            pieces.append((int(part["pc"][0]), extent))
            done += extent.count
        module.pieces = tuple(pieces)
        module.enter(State.ROWS, now_ns)
        return True
