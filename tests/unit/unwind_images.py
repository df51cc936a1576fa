"""Small ELF images with call frame information made by hand."""

from __future__ import annotations

import struct
from dataclasses import dataclass

TEXT = 0x2000
"""Where code begins, in the file and in memory."""
X86_CIE = bytes([0x0C, 7, 8, 0x90, 1])  # def_cfa rsp 8; offset rip at cfa-8


@dataclass(frozen=True)
class Function:
    """One FDE."""

    start: int
    size: int
    code: bytes = b""


def uleb(value: int) -> bytes:
    """An unsigned LEB128 number."""
    out = bytearray()
    while True:
        byte = value & 127
        value >>= 7
        out.append(byte | (128 if value else 0))
        if not value:
            return bytes(out)


def sleb(value: int) -> bytes:
    """A signed LEB128 number."""
    out = bytearray()
    while True:
        byte = value & 127
        value >>= 7
        done = (value == 0 and not byte & 64) or (value == -1 and byte & 64)
        out.append(byte | (0 if done else 128))
        if done:
            return bytes(out)


def eh_frame(
    functions: list[Function],
    vaddr: int,
    cie_code: bytes = X86_CIE,
    letters: bytes = b"zR",
    encoding: int = 0x1B,
    ra: int = 16,
    code_factor: int = 1,
) -> tuple[bytes, list[int]]:
    """The section and the offset of each FDE."""
    data = bytes([encoding]) if b"R" in letters else b""
    head = b"\0" * 4 + b"\x01" + letters + b"\0" + uleb(code_factor) + sleb(-8) + bytes([ra])
    body = head + (uleb(len(data)) + data if letters[:1] == b"z" else b"") + cie_code
    body += bytes(-(len(body) + 4) % 8)
    section = struct.pack("<I", len(body)) + body
    offsets: list[int] = []
    for function in functions:
        at = len(section)
        offsets.append(at)
        size = {0: 8, 3: 4, 4: 8, 0xA: 2, 0xB: 4, 0xC: 8}[encoding & 15]
        start = function.start - (vaddr + at + 8 if encoding & 0x70 == 0x10 else 0)
        body = struct.pack("<I", at + 4)
        body += start.to_bytes(size, "little", signed=start < 0)
        body += function.size.to_bytes(size, "little")
        body += (b"\0" if letters[:1] == b"z" else b"") + function.code
        body += bytes(-(len(body) + 4) % 4)
        section += struct.pack("<I", len(body)) + body
    return section + bytes(4), offsets


def image(
    section: bytes,
    vaddr: int,
    text: bytes = bytes(0x1000),
    table: list[tuple[int, int]] | None = None,
    machine: int = 62,
    build_id: bytes = b"",
    name: bytes = b".eh_frame",
    text_vaddr: int = TEXT,
) -> bytes:
    """An ELF file: code at TEXT, then the section at `vaddr`, with section headers.

    `table`: pairs (start, address of the FDE) for .eh_frame_hdr.
    """
    at = TEXT + len(text)
    header = b""
    if table is not None:
        place = vaddr + len(section)
        header = struct.pack("<BBBBiI", 1, 0x1B, 3, 0x3B, vaddr - place - 4, len(table))
        for start, fde in table:
            header += struct.pack("<ii", start - place, fde - place)
    note = struct.pack("<III", 4, len(build_id), 3) + b"GNU\0" + build_id if build_id else b""
    names = b"\0" + name + b"\0.shstrtab\0"
    sections_at = at + len(section) + len(header) + len(note)
    names_at = sections_at + 3 * 64
    programs = [
        (1, 5, TEXT, text_vaddr, len(text)),
        (1, 4, at, vaddr, len(section) + len(header)),
    ]
    if table is not None:
        programs.append((0x6474E550, 4, at + len(section), vaddr + len(section), len(header)))
    if note:
        programs.append((4, 4, at + len(section) + len(header), 0, len(note)))
    head = b"\x7fELF\x02\x01\x01" + bytes(9)
    head += struct.pack(
        "<HHIQQQIHHHHHH", 3, machine, 1, 0, 64, sections_at, 0, 64, 56, len(programs), 64, 3, 2
    )
    for kind, flags, offset, address, size in programs:
        head += struct.pack("<IIQQQQQQ", kind, flags, offset, address, address, size, size, 4096)
    head += bytes(TEXT - len(head))
    sections = bytes(64)
    sections += struct.pack("<IIQQQQIIQQ", 1, 1, 2, vaddr, at, len(section), 0, 0, 8, 0)
    sections += struct.pack("<IIQQQQIIQQ", 2 + len(name), 3, 0, 0, names_at, len(names), 0, 0, 1, 0)
    return head + text + section + header + note + sections + names


def simple(functions: list[Function], build_id: bytes = b"", text_size: int = 0x1000) -> bytes:
    """An x86-64 image with a search table."""
    vaddr = TEXT + text_size + 0x1000
    section, offsets = eh_frame(functions, vaddr)
    table = [(f.start, vaddr + at) for f, at in zip(functions, offsets, strict=True)]
    return image(section, vaddr, bytes(text_size), table, build_id=build_id)
