"""PLT stubs of an x86-64 image, named after the functions they jump to.

Comes in: an image, and what names its functions and its dynamic symbols. Goes out: symbols such as
`read@plt`. Each stub's `jmp *slot(%rip)` is decoded and its slot looked up among the relocations,
so any linker's layout is right: lazy, `.plt.sec` of IBT, `.plt.got`.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from stacks_tui.elf import EM_X86_64, SHT_RELA, ElfImage
from stacks_tui.symbols.table import NAME_LIMIT, RawSymbols

_RELA64 = np.dtype([("offset", "<u8"), ("type", "<u4"), ("symbol", "<u4"), ("addend", "<u8")])
_GLOB_DAT, _JUMP_SLOT, _IRELATIVE = 6, 7, 37
_STUB_SECTIONS = (".plt", ".plt.sec", ".plt.got")
_SECTION_LIMIT = 16 << 20
_RELOCATIONS_LIMIT = 96 << 20


def plt_symbols(
    image: ElfImage, function_at: Callable[[int], bytes], dynamic: Callable[[int], bytes]
) -> RawSymbols | None:
    """The stubs of an image, None: it has none.

    `function_at` names the function at an address, `dynamic` a dynamic symbol by number.

    Raises:
        ElfError: a section is broken.
    """
    if image.machine != EM_X86_64 or image.elfclass != 64:
        return None
    slots = _slots(image)
    if not len(slots):
        return None
    starts: list[int] = []
    sizes: list[int] = []
    limits: list[int] = []
    names: list[bytes] = []
    for label in _STUB_SECTIONS:
        section = image.section(label)
        if section is None:
            continue
        code = np.frombuffer(image.content(section, _SECTION_LIMIT), np.uint8)
        width = section.entsize if section.entsize in (8, 16) else 16
        at, targets = _jumps(code, width, section.addr)
        place = np.minimum(np.searchsorted(slots["offset"], targets), len(slots) - 1)
        hit = slots["offset"][place] == targets
        for stub, slot in zip(at[hit].tolist(), slots[place[hit]].tolist(), strict=True):
            name = _name(slot[1], slot[2], slot[3], function_at, dynamic)
            if name:
                starts.append(section.addr + stub)
                sizes.append(width)
                limits.append(section.addr + section.size)
                names.append(name[: NAME_LIMIT - 4] + b"@plt")
    if not starts:
        return None
    lengths = np.array([len(name) for name in names], np.int64)
    ends = np.cumsum(lengths)
    return RawSymbols(
        np.array(starts, np.uint64),
        np.array(sizes, np.uint64),
        np.array(limits, np.uint64),
        np.ones(len(starts), np.bool_),
        ends - lengths,
        lengths,
        np.frombuffer(b"".join(names), np.uint8),
    )


def _slots(image: ElfImage) -> npt.NDArray[np.void]:
    """The relocations that fill GOT slots with functions, sorted by slot."""
    parts: list[npt.NDArray[np.void]] = []
    for section in image.sections:
        if section.type == SHT_RELA and section.name in (".rela.plt", ".rela.dyn"):
            data = image.content(section, _RELOCATIONS_LIMIT)
            rows = np.frombuffer(data, _RELA64, len(data) // _RELA64.itemsize)
            parts.append(rows[np.isin(rows["type"], (_GLOB_DAT, _JUMP_SLOT, _IRELATIVE))])
    if not parts:
        return np.zeros(0, _RELA64)
    rows = np.concatenate(parts)
    return rows[np.argsort(rows["offset"], kind="stable")]


def _jumps(
    code: npt.NDArray[np.uint8], width: int, address: int
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.uint64]]:
    """Where each stub with a `jmp *slot(%rip)` (ff 25 rel32) begins in `code`, and its slot."""
    count = len(code) // width
    stubs = code[: count * width].reshape(count, width)
    jump = (stubs[:, : width - 5] == 0xFF) & (stubs[:, 1 : width - 4] == 0x25)
    rows = np.flatnonzero(jump.any(axis=1))
    within = jump[rows].argmax(axis=1)
    distance = np.zeros(len(rows), np.int64)
    for byte in range(4):
        distance |= stubs[rows, within + 2 + byte].astype(np.int64) << (8 * byte)
    distance -= (distance >> 31) << 32
    start = rows * width
    after = (start + within + 6 + distance).astype(np.uint64)
    return start, after + np.uint64(address)


def _name(
    kind: int,
    symbol: int,
    addend: int,
    function_at: Callable[[int], bytes],
    dynamic: Callable[[int], bytes],
) -> bytes:
    if kind == _IRELATIVE:
        return function_at(addend)
    return dynamic(symbol)
