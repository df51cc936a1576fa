"""What the BPF program does with rows and mappings, in Python; and modules to map."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt
from unwind_images import TEXT, Function, simple, uleb

from stacks_tui.elf import ElfImage
from stacks_tui.spaces import AddressSpace, Mapping, make_space
from stacks_tui.unwind.ehframe import parse
from stacks_tui.unwind.rows import (
    MAPPING,
    MAPPINGS_PER_CHUNK,
    ROW,
    ROWS_PER_CHUNK,
    Kind,
    Rows,
    find_row,
)
from stacks_tui.unwind.tables import Tables

Rule = tuple[int, int, int]
"""off, kind, rbp"""
Entry = tuple[int, int, int, int]
"""chunk, first, count, epoch"""
ABSENT: Rule = (0, int(Kind.ABSENT), 0)
HOPELESS: Rule = (0, int(Kind.BAD), 0)
PLAIN: Rule = (0, int(Kind.NONE), 0)


@dataclass
class Module:
    """A file, and the rows that it should give."""

    path: str
    data: bytes
    rows: Rows
    size: int
    build_id: bytes


def make_module(number: int, functions: int, has_build_id: bool = True) -> Module:
    """A file with one row for each function of 16 bytes, unlike those of any other."""
    offsets = [8 * (1 + (n * 7 + number * 1009) % 30000) for n in range(functions)]
    made = [Function(TEXT + 16 * n, 16, b"\x0e" + uleb(offset)) for n, offset in enumerate(offsets)]
    size = -(-16 * functions // 4096) * 4096 + 4096
    build_id = bytes([number]) * 20 if has_build_id else b""
    data = simple(made, build_id, size)
    table = parse(ElfImage.from_bytes(data))
    assert len(table.rows) >= functions
    return Module(f"/lib/module{number}", data, table.rows, size, build_id)


class Kernel:
    """The arrays, the hash, and the searches over them."""

    def __init__(self, row_chunks: int, mapping_chunks: int) -> None:
        self.rows = np.zeros(row_chunks * ROWS_PER_CHUNK, ROW)
        self.mappings = np.zeros(mapping_chunks * MAPPINGS_PER_CHUNK, MAPPING)
        self.entries: dict[int, Entry] = {}
        self.updates = 0

    def publish(self, tgid: int, chunk: int, first: int, count: int, epoch: int) -> None:
        self.updates += 1
        assert 1 <= count <= MAPPINGS_PER_CHUNK
        assert first + count <= MAPPINGS_PER_CHUNK
        self.entries[tgid] = chunk, first, count, epoch

    def replace(self, tgid: int, chunk: int, first: int, count: int, epoch: int) -> None:
        if tgid in self.entries:
            self.publish(tgid, chunk, first, count, epoch)

    def remove(self, tgid: int) -> None:
        self.entries.pop(tgid, None)

    def rule(self, entry: Entry, pc: int) -> Rule | None:
        """The rule for an address; None: no mapping holds it."""
        chunk, first, count, _ = entry
        maps = self.mappings[chunk * MAPPINGS_PER_CHUNK :][first : first + count]
        start, end, bias, row_first, row_count, row_chunk = maps[_last(maps["start"], pc)].tolist()
        if not start <= pc < end:
            return None
        rows = self.rows[row_chunk * ROWS_PER_CHUNK :][row_first : row_first + row_count]
        _, off, kind, rbp = rows[_last(rows["pc"], (pc - bias) & 0xFFFFFFFF)].tolist()
        return off, kind, rbp


def _last(keys: npt.NDArray[Any], key: int) -> int:
    """The last that is at most `key`, else the first: what a search by halves finds."""
    return max(int(np.searchsorted(keys, np.uint64(key), side="right")) - 1, 0)


@dataclass
class World:
    """A kernel, the tables that are tested, a clock, and the files."""

    modules: list[Module]
    row_chunks: int = 4
    mapping_chunks: int = 2
    now_ns: int = 1_000_000_000
    opened: list[str] = field(default_factory=list)
    ticks: Callable[[], int] | None = None
    """A clock that goes by itself."""

    def __post_init__(self) -> None:
        self.kernel = Kernel(self.row_chunks, self.mapping_chunks)
        self.files = {module.path: module for module in self.modules}
        self.tables = Tables(
            self.kernel.rows,
            self.kernel.mappings,
            self.kernel,
            self.open,
            clock=lambda: self.now_ns if self.ticks is None else self.ticks(),
        )

    @contextmanager
    def open(self, mapping: Mapping, tgid: int) -> Iterator[ElfImage | None]:
        self.opened.append(mapping.path)
        module = self.files.get(mapping.path)
        yield None if module is None else ElfImage.from_bytes(module.data)

    def mapping(self, number: int, at: int, by_inode: bool = False) -> Mapping:
        """The module's code mapped at an address."""
        module = self.modules[number]
        if by_inode or not module.build_id:
            return Mapping(at, at + module.size, TEXT, module.path, None, 8, 100 + number)
        return Mapping(at, at + module.size, TEXT, module.path, module.build_id)

    def space(self, tgid: int, *mappings: Mapping, generation: int = 0) -> AddressSpace:
        return make_space(tgid, generation, list(mappings))

    def update(self, space: AddressSpace) -> None:
        self.tables.update(space, self.now_ns)

    def settle(self) -> None:
        """All that is to be loaded is loaded, all that is due is done."""
        for _ in range(4):
            while self.tables.work():
                pass
            self.now_ns += 1_100_000_000
        self.tables.work()

    def truth(self, mapping: Mapping, pc: int) -> Rule | None:
        """The rule that is right for an address in a mapping; None: it has no file."""
        module = self.files.get(mapping.path)
        if module is None:
            return None
        row = module.rows[find_row(module.rows, pc - mapping.start + mapping.offset - TEXT)]
        _, off, kind, rbp = row.tolist()
        return off, kind, rbp

    def rule(self, tgid: int, pc: int) -> Rule | None:
        """What a walk in the process would find."""
        entry = self.kernel.entries.get(tgid)
        return None if entry is None else self.kernel.rule(entry, pc)

    def samples(self, mapping: Mapping) -> list[int]:
        """Some addresses in it: the ends, and around where chunks are crossed."""
        size = mapping.end - mapping.start
        inner = [n for n in (16 * 16381, 16 * 16384, 16 * 16390, size // 2, size // 3) if n < size]
        return [mapping.start + n for n in (0, *inner, size - 1)]

    def all_right(self, space: AddressSpace) -> bool:
        """Whether every address that is tried gets the right rule."""
        return all(
            self.rule(space.tgid, pc) == self.truth(mapping, pc)
            for mapping in space.mappings
            for pc in self.samples(mapping)
        )
