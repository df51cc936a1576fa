"""The FDEs of an ELF image: which functions have call frame information, and where it is.

Comes in: an `ElfImage`. Goes out: the section's bytes, its CIEs, and one entry per FDE, in order
of address. The linker's search table (.eh_frame_hdr) finds them at once; without one that is
usable the section is read record by record.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from stacks_tui.elf import PT_GNU_EH_FRAME, PT_LOAD, SHT_NOBITS, ElfError, ElfImage, Segment
from stacks_tui.unwind.cfi import (
    PADDING,
    PCREL,
    POINTER_SIZES,
    UNREADABLE,
    Budget,
    Cie,
    Frames,
    Machine,
    Malformed,
    read_cie,
)
from stacks_tui.unwind.lanes import Entries, Ints

SECTION_LIMIT = 96 << 20
"""Bytes of call frame information read from one file: the largest browsers have 20 MiB."""
FDE_LIMIT = 1 << 21
CIE_LIMIT = 1 << 17

_DATAREL = 0x30
_TABLE = 0x3B
"""The search table that linkers make: pairs of 4 signed bytes, from the header's own address."""
_UNKNOWN_RANGE = -1


@dataclass(frozen=True, slots=True)
class FdeList:
    """The usable FDEs of one section, by ascending start."""

    frames: Frames
    cies: list[Cie]
    entries: Entries
    stop: Ints
    """The address after each function."""


def eh_frame(image: ElfImage, machine: Machine, budget: Budget) -> FdeList | None:
    """The FDEs of .eh_frame; None: the image has none.

    Raises:
        ElfError: the file can't be read, or is absurd.
    """
    header = image.segment(PT_GNU_EH_FRAME)
    address, table = (None, None) if header is None else _search_table(image, header)
    section = image.section(".eh_frame")
    usable = section is not None and section.type != SHT_NOBITS and section.size > 0
    if section is not None and usable and address in (None, section.addr):
        data, vaddr = image.content(section, SECTION_LIMIT), section.addr
    elif address is not None:
        holder = _load_with(image, address)
        if holder is None:
            return None
        size = holder.vaddr + holder.filesz - address
        offset = address - holder.vaddr + holder.offset
        data, vaddr = image.read(offset, min(size, SECTION_LIMIT, image.size - offset)), address
    else:
        return None
    frames = Frames(data + bytes(PADDING), len(data), vaddr, True)
    records = None
    if table is not None:
        records = _records_of_table(frames, table - vaddr)
    if records is None:
        records = _records_in_order(frames)
    return _fdes(frames, records, machine, budget)


def debug_frame(image: ElfImage, machine: Machine, budget: Budget) -> FdeList | None:
    """The FDEs of .debug_frame; None: the image has none, or none that can be read."""
    section = image.section(".debug_frame")
    if section is None or section.type == SHT_NOBITS or not section.size:
        return None
    try:
        data = image.content(section, SECTION_LIMIT)
    except ElfError:
        return None
    frames = Frames(data + bytes(PADDING), len(data), 0, False)
    return _fdes(frames, _records_in_order(frames), machine, budget)


def _search_table(image: ElfImage, header: Segment) -> tuple[int | None, Ints | None]:
    """(address of .eh_frame, addresses of the FDEs) as .eh_frame_hdr tells; None: it doesn't."""
    try:
        head = image.read(header.offset, min(header.filesz, 64))
    except ElfError:
        return None, None
    if len(head) < 8 or head[0] != 1:
        return None, None
    padded = Frames(head + bytes(PADDING), len(head), header.vaddr, True)
    try:
        address, at = _header_pointer(padded, 4, head[1])
    except Malformed:
        return None, None
    if head[3] != _TABLE or head[2] & 0xF0 or head[2] & 15 not in POINTER_SIZES:
        return address, None
    count, at = padded.pointer(at, head[2])
    if not 0 < count <= FDE_LIMIT or at + count * 8 > header.filesz:
        return address, None
    try:
        pairs = image.read(header.offset + at, count * 8)
    except ElfError:
        return address, None
    return address, np.frombuffer(pairs, "<i4").reshape(-1, 2)[:, 1].astype(np.int64) + header.vaddr


def _header_pointer(frames: Frames, at: int, encoding: int) -> tuple[int, int]:
    if encoding & 0xF0 != _DATAREL:
        return frames.pointer(at, encoding)
    value, end = frames.pointer(at, encoding & 15)
    return (value + frames.vaddr) & (1 << 64) - 1, end


def _load_with(image: ElfImage, address: int) -> Segment | None:
    for segment in image.segments:
        if segment.type == PT_LOAD and segment.vaddr <= address < segment.vaddr + segment.filesz:
            return segment
    return None


@dataclass(frozen=True, slots=True)
class _Records:
    """FDE records: where the first address is, where the record ends, where its CIE begins."""

    body: Ints
    end: Ints
    cie: Ints


def _records_of_table(frames: Frames, at: Ints) -> _Records | None:
    """The records at these offsets; None: not as the linker's table should be."""
    at = np.unique(at)
    if at[0] < 0 or at[-1] > frames.size - 8:
        return None
    data = np.frombuffer(frames.data, np.uint8)
    length = _u32(data, at)
    pointer = _u32(data, at + 4)
    end = at + 4 + length
    if (length == 0xFFFFFFFF).any() or (pointer == 0).any() or end.max() > frames.size:
        return None
    if (end[:-1] > at[1:]).any():  # records that overlap would make the work quadratic
        return None
    return _Records(at + 8, end, at + 4 - pointer)


def _records_in_order(frames: Frames) -> _Records:
    """All FDE records, one after the other, up to the first that is malformed."""
    data, size = frames.data, frames.size
    unpack = struct.Struct("<II").unpack_from
    found: list[tuple[int, int, int]] = []
    at = 0
    while at <= size - 8 and len(found) < FDE_LIMIT:
        length, identity = unpack(data, at)
        body, id_size = at + 4, 4
        if length == 0xFFFFFFFF:
            length = int.from_bytes(data[at + 4 : at + 12], "little")
            body = at + 12
            if not frames.is_eh:
                id_size = 8
            identity = int.from_bytes(data[body : body + id_size], "little")
        elif length == 0:  # a terminator; crtend's is last, but another may follow
            at += 4
            continue
        end = body + length
        if length < id_size or end > size:
            break
        if frames.is_eh:
            if identity:
                found.append((body + id_size, end, body - identity))
        elif identity != (1 << 8 * id_size) - 1:
            found.append((body + id_size, end, identity))
        at = end
    columns = (
        np.array(found, np.int64).reshape(-1, 3) if _fit(found) else np.zeros((0, 3), np.int64)
    )
    return _Records(columns[:, 0], columns[:, 1], columns[:, 2])


def _fit(found: list[tuple[int, int, int]]) -> bool:
    return all(abs(cie) < 1 << 62 for _, _, cie in found)


def _fdes(frames: Frames, records: _Records, machine: Machine, budget: Budget) -> FdeList:
    data = np.frombuffer(frames.data, np.uint8)
    offsets, cie_index = np.unique(records.cie, return_inverse=True)
    cies = [
        read_cie(frames, at, machine, budget) if number < CIE_LIMIT else UNREADABLE
        for number, at in enumerate(offsets.tolist())
    ]
    encoding = np.array([cie.encoding for cie in cies], np.int64)[cie_index]
    augmented = np.array([cie.augmented for cie in cies], np.bool_)[cie_index]
    count = len(cie_index)
    start, length = np.zeros(count, np.int64), np.zeros(count, np.int64)
    at = records.end.copy()
    good = np.zeros(count, np.bool_)
    for value in np.unique(encoding).tolist():
        if value < 0:
            continue
        size = POINTER_SIZES[value & 15]
        which = np.nonzero((encoding == value) & (records.body + 2 * size <= records.end))[0]
        body = records.body[which]
        start[which] = _number(data, body, size, bool(value & 8))
        if value & 0xF0 == PCREL:
            start[which] += body + frames.vaddr
        length[which] = _number(data, body + size, size, False)
        at[which] = body + 2 * size
        good[which] = True
    skip = np.nonzero(good & augmented)[0]
    at[skip] = _after_block(data, at[skip])
    at = np.minimum(at, records.end)
    # a function is shorter than 4 GiB and doesn't wrap
    good &= (length > 0) & (length < 1 << 32) & (start >= 0) & (start < 1 << 62)
    which = np.nonzero(good)[0]
    which = which[np.argsort(start[which], kind="stable")]
    entries = Entries(at[which], records.end[which], start[which], cie_index[which])
    return FdeList(frames, cies, entries, start[which] + length[which])


def _after_block(data: npt.NDArray[np.uint8], at: Ints) -> Ints:
    """Past a length (LEB128 of at most 4 bytes, or past anything) and as many bytes."""
    value = np.zeros(at.size, np.int64)
    more = np.ones(at.size, np.bool_)
    end = at.copy()
    for shift in range(0, 28, 7):
        byte = data[end].astype(np.int64)
        value = np.where(more, value | (byte & 127) << shift, value)
        end += more
        more &= byte >= 128
        if not more.any():
            break
    return np.where(more, len(data), end + value)


def _number(data: npt.NDArray[np.uint8], at: Ints, size: int, signed: bool) -> Ints:
    if size == 8:
        low, high = _u32(data, at), _u32(data, at + 4)
        return (high << 32) | low
    if size == 4:
        value = _u32(data, at)
    else:
        value = data[at].astype(np.int64) | data[at + 1].astype(np.int64) << 8
    if signed:
        value = np.where(value >= 1 << 8 * size - 1, value - (1 << 8 * size), value)
    return value


def _u32(data: npt.NDArray[np.uint8], at: Ints) -> Ints:
    words = data[at[:, None] + np.arange(4)]
    return np.ascontiguousarray(words).view("<u4")[:, 0].astype(np.int64)
