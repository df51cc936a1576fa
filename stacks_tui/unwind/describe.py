"""What each mapping of a process can give to unwinding, for people who ask why a stack ended.

Comes in: an address space. Goes out: one report per mapping. Nothing is written to the kernel.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from stacks_tui.diskcache import DiskCache
from stacks_tui.elf import ElfError, ElfImage
from stacks_tui.spaces import AddressSpace, Mapping
from stacks_tui.unwind.cached import load_table
from stacks_tui.unwind.catalog import Opener
from stacks_tui.unwind.ehframe import UnwindTable
from stacks_tui.unwind.identity import VDSO, FileKey, file_key
from stacks_tui.unwind.modules import State, row_bias
from stacks_tui.unwind.rows import Kind
from stacks_tui.unwind.vdso import read_vdso


@dataclass(frozen=True, slots=True)
class MappingReport:
    """One executable mapping, and how a walk gets through its code."""

    mapping: Mapping
    state: State
    """ROWS, FRAME_POINTERS, UNREADABLE or UNSUPPORTED."""
    source: str
    """`.eh_frame`, `.debug_frame`, both joined by `+`, or `none`, and why if something failed."""
    rows: int
    """Rows of the mapping's code."""
    code_bytes: int
    """Bytes of code that the file loads here."""
    ruled_bytes: int
    """Those that rows cover; the others are walked by frame pointer."""


def describe(
    space: AddressSpace, opener: Opener, cache: DiskCache | None = None
) -> list[MappingReport]:
    """A report for each mapping of the process, by address."""
    known: dict[FileKey, _Loaded | str] = {}
    reports: list[MappingReport] = []
    for mapping in space.mappings:
        key = file_key(mapping, space.tgid)
        if key is None:
            state, why = State.FRAME_POINTERS, "none"
            reports.append(MappingReport(mapping, state, why, 0, mapping.end - mapping.start, 0))
            continue
        loaded = known.get(key)
        if loaded is None:
            loaded = known[key] = _load(mapping, space.tgid, opener, cache)
        reports.append(_report(mapping, loaded))
    return reports


@dataclass(frozen=True, slots=True)
class _Loaded:
    table: UnwindTable
    image: ElfImage


def _load(mapping: Mapping, tgid: int, opener: Opener, cache: DiskCache | None) -> _Loaded | str:
    try:
        if mapping.path == VDSO:
            image = read_vdso()
            return _Loaded(load_table(image, cache), image)
        with opener(mapping, tgid) as opened:
            if opened is None:
                return "none: its file can't be had"
            return _Loaded(load_table(opened, cache), opened)
    except (ElfError, OSError) as error:
        return f"none: {error}"


def _report(mapping: Mapping, loaded: _Loaded | str) -> MappingReport:
    size = mapping.end - mapping.start
    if isinstance(loaded, str):
        return MappingReport(mapping, State.UNREADABLE, loaded, 0, size, 0)
    table, loads = loaded.table, loaded.image.loads
    if not table.supported:
        return MappingReport(mapping, State.UNSUPPORTED, table.source, 0, size, 0)
    bias = row_bias(loads, mapping)
    if bias is None:
        return MappingReport(mapping, State.UNREADABLE, "none: no code there", 0, size, 0)
    first, last = mapping.start - bias, mapping.end - bias
    code = sum(
        max(
            min(load.vaddr - table.base + load.filesz, last) - max(load.vaddr - table.base, first),
            0,
        )
        for load in loads
    )
    if not len(table.rows):
        return MappingReport(mapping, State.FRAME_POINTERS, table.source, 0, code, 0)
    pcs = table.rows["pc"].astype(np.int64)
    inside = (pcs < last) & (np.append(pcs[1:], 1 << 32) > first)
    ends = np.clip(np.append(pcs[1:], 1 << 32), first, last)
    lengths = np.where(table.rows["kind"] != Kind.NONE, ends - np.clip(pcs, first, last), 0)
    return MappingReport(
        mapping,
        State.ROWS,
        table.source,
        int(inside.sum()),
        code,
        min(int(lengths.sum()), code),
    )
