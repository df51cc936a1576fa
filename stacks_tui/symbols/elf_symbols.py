"""Function symbols of an ELF image, of what it carries compressed, and of its debug file.

Comes in: an `ElfImage`, and the separate debug file's image if there is one. Goes out: a
`SymbolTable` in the addresses of the file. Sections are read whole into NumPy; a part that is
broken gives no symbols, and the rest stands.
"""

from __future__ import annotations

import lzma
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from stacks_tui.elf import (
    SHF_ALLOC,
    SHF_EXECINSTR,
    SHT_DYNSYM,
    SHT_SYMTAB,
    ElfError,
    ElfImage,
    Section,
    read_symbols,
)
from stacks_tui.symbols.plt import plt_symbols
from stacks_tui.symbols.signals import trampoline_symbols
from stacks_tui.symbols.table import (
    NAME_LIMIT,
    RawSymbols,
    SymbolTable,
    build,
    empty_table,
    join,
)

_STT_NOTYPE, _STT_FUNC, _STT_GNU_IFUNC = 0, 2, 10
_STB_LOCAL = 0
_SHN_UNDEF, _SHN_ABS, _SHN_COMMON = 0, 0xFFF1, 0xFFF2
_DEBUGDATA_LIMIT = 64 << 20


def symbols_of(image: ElfImage, debug: ElfImage | None = None) -> SymbolTable:
    """All functions of `image`; `debug` is its separate debug file, already verified.

    Read: .symtab, .dynsym, .gnu_debugdata of the image, .symtab of the debug file, and the PLT
    stubs, named `name@plt`. Hostile images give fewer symbols or none, never an error.
    """
    code = code_ranges(image)
    parts = [_read(image, SHT_SYMTAB, code), _read(image, SHT_DYNSYM, code)]
    if debug is not None:
        # Its own section headers have the same addresses; the image's are sure to be right.
        parts.append(_read(debug, SHT_SYMTAB, code if len(code.starts) else code_ranges(debug)))
    mini = _debugdata(image)
    if mini is not None:
        parts.append(_read(mini, SHT_SYMTAB, code))
    found = [part for part in parts if part is not None]
    stubs = _stubs(image, found)
    if stubs is not None:
        found.append(stubs)
    if not found:
        return empty_table()
    table = build(join(found))
    trampoline = trampoline_symbols(image, table)
    return table if trampoline is None else build(join([*found, trampoline]))


def _stubs(image: ElfImage, functions: list[RawSymbols]) -> RawSymbols | None:
    @cache
    def table() -> SymbolTable:
        return build(join(functions)) if functions else empty_table()

    def function_at(address: int) -> bytes:
        index = int(table().find(np.array([address], np.uint64))[0])
        return table().name(index) if index >= 0 else b""

    try:
        return plt_symbols(image, function_at, dynamic_namer(image))
    except ElfError:
        return None


@dataclass(frozen=True, slots=True)
class CodeRanges:
    """Executable sections, sorted by start; a symbol counts only inside one of them."""

    starts: npt.NDArray[np.uint64]
    ends: npt.NDArray[np.uint64]


def code_ranges(image: ElfImage) -> CodeRanges:
    """The executable sections of an image; without section headers, its executable PT_LOADs."""
    table = image.section_table
    flags = SHF_ALLOC | SHF_EXECINSTR
    wanted = table[(table["flags"] & flags) == flags]
    starts, sizes = wanted["addr"].astype(np.uint64), wanted["size"].astype(np.uint64)
    if not len(wanted):
        starts = np.array([load.vaddr for load in image.loads], np.uint64)
        sizes = np.array([load.filesz for load in image.loads], np.uint64)
    ends = starts + sizes
    order = np.argsort(starts, kind="stable")
    order = order[(ends > starts)[order]]
    return CodeRanges(starts[order], ends[order])


def dynamic_namer(image: ElfImage) -> Callable[[int], bytes]:
    """Gives the name of a dynamic symbol by its number, empty when there is none."""
    found = read_symbols(image, SHT_DYNSYM)

    def name_of(number: int) -> bytes:
        if found is None or not 0 < number < len(found[0]):
            return b""
        start = int(found[0]["name"][number])
        return found[1][start : max(found[1].find(b"\0", start, start + NAME_LIMIT), start)]

    return name_of


def _read(image: ElfImage, kind: int, code: CodeRanges) -> RawSymbols | None:
    found = read_symbols(image, kind)
    if found is None or not len(code.starts):
        return None
    symbols, strings = found
    return _functions(symbols, strings, code)


def _functions(
    symbols: npt.NDArray[np.void], strings: bytes, code: CodeRanges
) -> RawSymbols | None:
    names = np.frombuffer(strings, np.uint8)
    terminators = np.flatnonzero(names == 0)
    types, bindings = symbols["info"] & 15, symbols["info"] >> 4
    value, size = symbols["value"].astype(np.uint64), symbols["size"].astype(np.uint64)
    name_at = symbols["name"].astype(np.int64)
    section = symbols["shndx"]
    function = (types == _STT_FUNC) | (types == _STT_GNU_IFUNC)
    # Assemblers leave labels without a type; those that are exported or sized are functions.
    label = (types == _STT_NOTYPE) & ((size > 0) | (bindings != _STB_LOCAL))
    defined = (section != _SHN_UNDEF) & (section != _SHN_ABS) & (section != _SHN_COMMON)
    kept = (function | label) & defined & (name_at < len(names))
    if len(terminators):
        kept &= name_at < terminators[-1]
    range_at = np.searchsorted(code.starts, value, "right") - 1
    kept &= (range_at >= 0) & (value < code.ends[range_at])
    chosen = np.flatnonzero(kept)
    if not len(chosen) or not len(terminators):
        return None
    name_at = name_at[chosen]
    lengths = terminators[np.searchsorted(terminators, name_at)] - name_at
    named = (lengths > 0) & (names[name_at] != ord("$"))
    chosen, name_at, lengths = chosen[named], name_at[named], lengths[named]
    if not len(chosen):
        return None
    return RawSymbols(
        value[chosen],
        size[chosen],
        code.ends[range_at[chosen]],
        bindings[chosen] == _STB_LOCAL,
        name_at,
        lengths,
        names,
    )


def _debugdata(image: ElfImage) -> ElfImage | None:
    """The image inside .gnu_debugdata (xz)."""
    section: Section | None = image.section(".gnu_debugdata")
    if section is None:
        return None
    try:
        data: Any = image.content(section, _DEBUGDATA_LIMIT)
        plain = lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_DEBUGDATA_LIMIT).decompress(
            data, _DEBUGDATA_LIMIT
        )
        return ElfImage.from_bytes(plain)
    except (ElfError, lzma.LZMAError, MemoryError, EOFError):
        return None
