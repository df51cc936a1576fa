"""ELF files of others, read safely: headers, sections, build id, file offset → address.

Comes in: a file descriptor or bytes, both possibly hostile. Goes out: an `ElfImage`; every flaw of
the file is an `ElfError` or an absence. Files are read with pread and never mapped: a mapped file
that its owner truncates would kill the recorder with SIGBUS.
"""

from __future__ import annotations

import os
import stat
import struct
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from stacks_tui.errors import StacksError
from stacks_tui.spaces import Mapping

ET_EXEC, ET_DYN = 2, 3
EM_386, EM_X86_64, EM_AARCH64 = 3, 62, 183
PT_LOAD, PT_DYNAMIC, PT_NOTE, PT_GNU_EH_FRAME = 1, 2, 4, 0x6474E550
PF_X, PF_W, PF_R = 1, 2, 4
SHT_PROGBITS, SHT_SYMTAB, SHT_STRTAB, SHT_RELA = 1, 2, 3, 4
SHT_NOTE, SHT_NOBITS, SHT_REL, SHT_DYNSYM = 7, 8, 9, 11
SHF_ALLOC, SHF_EXECINSTR, SHF_COMPRESSED = 2, 4, 0x800

READ_LIMIT = 256 << 20
"""Bytes that one read takes at most: above the symbol strings of a browser, below absurdity."""
_PAGE = 4096
_MASK = (1 << 64) - 1
_SYMBOLS_LIMIT = 96 << 20
"""Bytes of a symbol section that is read: four million symbols."""
_NOTE_LIMIT = 64 << 10
_NOTE_SEGMENTS = 16
_BUILD_ID_LIMIT = 64
_NT_GNU_BUILD_ID = 3

_PHDR64 = np.dtype(
    [
        ("type", "<u4"),
        ("flags", "<u4"),
        ("offset", "<u8"),
        ("vaddr", "<u8"),
        ("paddr", "<u8"),
        ("filesz", "<u8"),
        ("memsz", "<u8"),
        ("align", "<u8"),
    ]
)
_PHDR32 = np.dtype(
    [
        ("type", "<u4"),
        ("offset", "<u4"),
        ("vaddr", "<u4"),
        ("paddr", "<u4"),
        ("filesz", "<u4"),
        ("memsz", "<u4"),
        ("flags", "<u4"),
        ("align", "<u4"),
    ]
)


def _shdr(word: str) -> np.dtype[Any]:
    return np.dtype(
        [
            ("name", "<u4"),
            ("type", "<u4"),
            ("flags", word),
            ("addr", word),
            ("offset", word),
            ("size", word),
            ("link", "<u4"),
            ("info", "<u4"),
            ("addralign", word),
            ("entsize", word),
        ]
    )


_SYM64 = np.dtype(
    [
        ("name", "<u4"),
        ("info", "u1"),
        ("other", "u1"),
        ("shndx", "<u2"),
        ("value", "<u8"),
        ("size", "<u8"),
    ]
)
_SYM32 = np.dtype(
    [
        ("name", "<u4"),
        ("value", "<u4"),
        ("size", "<u4"),
        ("info", "u1"),
        ("other", "u1"),
        ("shndx", "<u2"),
    ]
)


class ElfError(StacksError):
    """The file is no ELF image that can be read here."""


@dataclass(frozen=True, slots=True)
class Segment:
    """One program header."""

    type: int
    flags: int
    offset: int
    vaddr: int
    filesz: int
    memsz: int


@dataclass(frozen=True, slots=True)
class Section:
    """One section header."""

    index: int
    name: str
    type: int
    flags: int
    addr: int
    offset: int
    size: int
    link: int
    info: int
    entsize: int


class _Source(Protocol):
    size: int

    def read(self, offset: int, size: int) -> bytes:
        """At most `size` bytes at `offset`, fewer at the end."""
        ...


class _Bytes:
    def __init__(self, data: bytes) -> None:
        self._data = data
        self.size = len(data)

    def read(self, offset: int, size: int) -> bytes:
        return self._data[offset : offset + size]


class _File:
    def __init__(self, fd: int) -> None:
        self._fd = fd
        try:
            status = os.fstat(fd)
        except OSError as error:
            raise ElfError(f"can't read the ELF file: {error.strerror}.") from error
        if not stat.S_ISREG(status.st_mode):
            raise ElfError("not a regular file.")
        self.size = status.st_size

    def read(self, offset: int, size: int) -> bytes:
        parts: list[bytes] = []
        while size:
            try:
                part = os.pread(self._fd, size, offset)
            except (OSError, OverflowError) as error:
                raise ElfError(f"can't read the ELF file: {error}.") from error
            if not part:
                break
            parts.append(part)
            offset += len(part)
            size -= len(part)
        return parts[0] if len(parts) == 1 else b"".join(parts)


class ElfImage:
    """A little-endian ELF image of 32 or 64 bits. Make one by `from_fd` or `from_bytes`.

    Headers are read at once (one page), everything else when asked for.
    """

    machine: int
    type: int
    elfclass: int
    """32 or 64."""
    segments: tuple[Segment, ...]
    loads: tuple[Segment, ...]
    """The executable PT_LOADs, in file order."""

    def __init__(self, source: _Source) -> None:
        self._source = source
        head = source.read(0, _PAGE)
        if len(head) < 52 or head[:4] != b"\x7fELF":
            raise ElfError("not an ELF file.")
        if head[4] not in (1, 2) or head[5] != 1:
            raise ElfError("not a little-endian ELF file of 32 or 64 bits.")
        self.elfclass = 64 if head[4] == 2 else 32
        if self.elfclass == 64:
            if len(head) < 64:
                raise ElfError("the ELF header is cut short.")
            fields = struct.unpack_from("<HHIQQQIHHHHHH", head, 16)
        else:
            fields = struct.unpack_from("<HHIIIIIHHHHHH", head, 16)
        self.type, self.machine = fields[0], fields[1]
        phoff, self._shoff = fields[4], fields[5]
        phentsize, phnum, self._shentsize, self._shnum, self._shstrndx = fields[8:13]
        dtype = _PHDR64 if self.elfclass == 64 else _PHDR32
        self.segments = ()
        if phnum and phoff:
            if phentsize != dtype.itemsize:
                raise ElfError("the program headers have a strange size.")
            table = np.frombuffer(self.read(phoff, phnum * dtype.itemsize), dtype)
            columns = (table[name].tolist() for name in Segment.__slots__)
            self.segments = tuple(map(Segment, *columns))
        self.loads = tuple(s for s in self.segments if s.type == PT_LOAD and s.flags & PF_X)

    @classmethod
    def from_fd(cls, fd: int) -> ElfImage:
        """The image in the regular file `fd`, which stays the caller's and open while in use.

        Raises:
            ElfError: not a regular file, or no ELF image.
        """
        return cls(_File(fd))

    @classmethod
    def from_bytes(cls, data: bytes) -> ElfImage:
        """The image in memory, for example a vDSO.

        Raises:
            ElfError: no ELF image.
        """
        return cls(_Bytes(data))

    @property
    def size(self) -> int:
        """Bytes of the whole file."""
        return self._source.size

    def read(self, offset: int, size: int, limit: int = READ_LIMIT) -> bytes:
        """Exactly `size` bytes of the file.

        Raises:
            ElfError: not all inside the file, or more than `limit`.
        """
        if size > limit:
            raise ElfError(f"a part of {size} bytes is larger than {limit}.")
        if offset < 0 or size < 0 or offset + size > self._source.size:
            raise ElfError("the ELF file is cut short.")
        data = self._source.read(offset, size)
        if len(data) != size:
            raise ElfError("the ELF file is cut short.")
        return data

    def segment(self, kind: int) -> Segment | None:
        """The first program header of a type, such as PT_GNU_EH_FRAME."""
        return next((s for s in self.segments if s.type == kind), None)

    @cached_property
    def section_table(self) -> npt.NDArray[np.void]:
        """The raw section headers (name, type, flags, addr, offset, size, link, info, …).

        Empty when the file has none, or none that can be read.
        """
        dtype = _shdr("<u8" if self.elfclass == 64 else "<u4")
        empty = np.zeros(0, dtype)
        if not self._shoff or self._shentsize != dtype.itemsize:
            return empty
        try:
            count = self._shnum
            if count == 0:  # more than 65,279: the first header has the number
                first = np.frombuffer(self.read(self._shoff, dtype.itemsize), dtype)[0]
                count = int(first["size"])
            return np.frombuffer(self.read(self._shoff, count * dtype.itemsize, 8 << 20), dtype)
        except ElfError:
            return empty

    @cached_property
    def sections(self) -> tuple[Section, ...]:
        """All sections in order; a name that can't be read is empty."""
        table = self.section_table
        index = self._shstrndx
        if index == 0xFFFF and len(table):
            index = int(table["link"][0])
        names = b""
        if index < len(table):
            try:
                names = self.read(int(table["offset"][index]), int(table["size"][index]), 8 << 20)
            except ElfError:
                names = b""

        def name_at(start: int) -> str:
            end = names.find(b"\0", start, start + 256)
            return names[start : max(end, start)].decode("ascii", "backslashreplace")

        columns = (table[name].tolist() for name in Section.__slots__[2:])
        labels = map(name_at, table["name"].tolist())
        return tuple(map(Section, range(len(table)), labels, *columns))

    @cached_property
    def _by_name(self) -> dict[str, Section]:
        return {section.name: section for section in reversed(self.sections)}

    def section(self, name: str) -> Section | None:
        """The first section of this name."""
        return self._by_name.get(name)

    def section_of_type(self, kind: int) -> Section | None:
        """The first section of a type, such as SHT_SYMTAB."""
        return next((s for s in self.sections if s.type == kind), None)

    def content(self, section: Section, limit: int = READ_LIMIT) -> bytes:
        """The bytes of a section, uncompressed; SHT_NOBITS has none.

        Raises:
            ElfError: not inside the file, larger than `limit`, or a compression unknown here.
        """
        if section.type == SHT_NOBITS:
            return b""
        data = self.read(section.offset, section.size, limit)
        if not section.flags & SHF_COMPRESSED:
            return data
        header = "<IIQQ" if self.elfclass == 64 else "<III"
        length = struct.calcsize(header)
        if len(data) < length:
            raise ElfError("a compressed section is cut short.")
        fields = struct.unpack_from(header, data)
        kind, size = fields[0], fields[2] if self.elfclass == 64 else fields[1]
        if kind != 1:
            raise ElfError(f"a section has compression {kind}; only zlib (1) is read.")
        if size > limit:
            raise ElfError(f"a part of {size} bytes is larger than {limit}.")
        try:
            plain = zlib.decompressobj().decompress(memoryview(data)[length:], size)
        except zlib.error as error:
            raise ElfError(f"a compressed section can't be read: {error}.") from error
        if len(plain) != size:
            raise ElfError("a compressed section is cut short.")
        return plain

    @cached_property
    def build_id(self) -> bytes | None:
        """The GNU build id, from the PT_NOTEs, else the note sections; None: the file has none."""
        notes = [(s.offset, s.filesz) for s in self.segments if s.type == PT_NOTE]
        found = self._build_id_in(notes)
        if found is None:
            wanted = (s for s in self.sections if s.type == SHT_NOTE)
            found = self._build_id_in([(s.offset, s.size) for s in wanted])
        return found

    def _build_id_in(self, places: list[tuple[int, int]]) -> bytes | None:
        for offset, size in places[:_NOTE_SEGMENTS]:
            try:
                data = self.read(offset, min(size, _NOTE_LIMIT))
            except ElfError:
                continue
            found = _build_id_note(data)
            if found:
                return found
        return None

    def bias(self, mapping: Mapping) -> int | None:
        """`mapping_bias` of this image."""
        return mapping_bias(self.segments, mapping)


def read_symbols(image: ElfImage, kind: int) -> tuple[npt.NDArray[np.void], bytes] | None:
    """The raw symbols of the section of type `kind` and its strings; None: not there or broken."""
    section = image.section_of_type(kind)
    if section is None or not 0 < section.link < len(image.sections):
        return None
    dtype = _SYM64 if image.elfclass == 64 else _SYM32
    try:
        data = image.content(section, _SYMBOLS_LIMIT)
        strings = image.content(image.sections[section.link])
    except ElfError:
        return None
    return np.frombuffer(data, dtype, len(data) // dtype.itemsize), strings


def code_vaddr(segments: Sequence[Segment], offset: int) -> int | None:
    """The address at which the file's byte `offset` is loaded, as code if anywhere; None: nowhere.

    Segments count by whole pages, as the kernel maps them. Of two that share a page of the file
    the one that begins with it was mapped by it.
    """
    inside: Segment | None = None
    loads = [s for s in segments if s.type == PT_LOAD and s.filesz]
    for segment in sorted(loads, key=lambda load: not load.flags & PF_X):
        start = segment.offset & ~(_PAGE - 1)
        if start == offset and segment.flags & PF_X:
            inside = segment
            break
        if inside is None and start <= offset < segment.offset + segment.filesz:
            inside = segment
    if inside is None:
        return None
    return (offset - inside.offset + inside.vaddr) & _MASK


def mapping_bias(segments: Sequence[Segment], mapping: Mapping) -> int | None:
    """What to take from an address in `mapping` (modulo 2**64) to get the file's own address.

    None: the file loads nothing at the mapping's offset, so it is another file.
    """
    vaddr = code_vaddr(segments, mapping.offset)
    return None if vaddr is None else (mapping.start - vaddr) & _MASK


def _build_id_note(data: bytes) -> bytes | None:
    at = 0
    while at + 12 <= len(data):
        name_size, size, kind = struct.unpack_from("<III", data, at)
        name_at = at + 12
        content = name_at + (name_size + 3 & ~3)
        if kind == _NT_GNU_BUILD_ID and data[name_at : name_at + name_size] == b"GNU\0":
            found = data[content : content + size]
            return found if 0 < len(found) == size <= _BUILD_ID_LIMIT else None
        at = content + (size + 3 & ~3)
    return None
