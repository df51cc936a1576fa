"""USDT notes of ELF files: where a provider's probes are, what guards them, where arguments lie.

Comes in: an `ElfImage`, possibly hostile. Goes out: `Probe`s with offsets in the file, and the
values of bpf/kinds/usdt.bpf.c's `struct site`. The note's layout is that of systemtap's sdt.h
(section `.note.stapsdt`); only x86-64 is read.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import IntEnum
from functools import cached_property

import numpy as np
import numpy.typing as npt

from stacks_tui.elf import (
    EM_X86_64,
    PT_LOAD,
    SHT_NOBITS,
    SHT_SYMTAB,
    ElfError,
    ElfImage,
    Segment,
    read_symbols,
)

PROVIDER = b"stacks_tracing"
PROBES = ("enter", "exit", "exit_stack", "close", "awaits")

MOST_NOTES = 1 << 20
"""Bytes of notes that are read: a server with probes everywhere has some 100 KiB."""
MOST_PROBES = 1024
"""Sites of a file that are attached to."""
MOST_ARGUMENTS = 6
_MOST_VARIABLES = 64
"""Names of a file's variables that are looked up, and ends of other names that are like one."""
_NT_STAPSDT = 3
_SHN_LORESERVE = 0xFF00
_NOP = b"\x90"
"""One byte: a longer one is replaced on new kernels, in a way that a fork doesn't survive."""
_WORDS = struct.Struct("<3I")
_PLACES = struct.Struct("<3Q")
_SITE_ARGUMENT = struct.Struct("<BBBBBBHq")

# Bytes from the start of struct pt_regs (arch/x86/include/uapi/asm/ptrace.h).
_REGISTERS = {
    "r15": 0, "r14": 8, "r13": 16, "r12": 24, "bp": 32, "bx": 40, "r11": 48, "r10": 56,
    "r9": 64, "r8": 72, "ax": 80, "cx": 88, "dx": 96, "si": 104, "di": 112, "sp": 152,
}  # fmt: skip
_IP = 128
_ARGUMENT = re.compile(
    r"(?:(?P<size>-?[1248])@)?(?:"
    r"\$(?P<constant>-?(?:0x[0-9a-fA-F]{1,16}|\d{1,20}))"
    r"|%(?P<register>\w{2,5})"
    r"|(?:(?P<before>-?\d{1,10})\+)?(?P<symbol>[A-Za-z_.][\w.$]*)(?P<after>[+-]\d{1,10})?\(%rip\)"
    r"|(?P<offset>-?(?:0x[0-9a-fA-F]{1,16}|\d{1,19}))?"
    r"\(%(?P<base>\w{2,5})(?:,%(?P<index>\w{2,5})(?:,(?P<scale>[1248]))?)?\)"
    r")",
    re.ASCII,
)


class Where(IntEnum):
    """`enum argument_kind` of bpf/kinds/usdt.bpf.c."""

    CONSTANT = 1
    REGISTER = 2
    MEMORY = 3


@dataclass(frozen=True, slots=True)
class Argument:
    """Where one argument of a probe is."""

    where: Where
    bits: int
    """Of the value: 8, 16, 32 or 64."""
    signed: bool
    place: int = 0
    """Of the register, or that of the address, in struct pt_regs."""
    index: int = 0
    scale: int = 0
    """Memory: what a second register is multiplied by; 0: there is none."""
    value: int = 0
    """The constant, or the displacement."""


@dataclass(frozen=True, slots=True)
class Probe:
    """One place at which a probe of the provider is."""

    name: str
    offset: int
    """Of the instruction, in the file. Never attach anywhere else: a nop of five bytes further on
    is replaced by a call that a fork doesn't copy."""
    semaphore: int
    """Of the counter that guards it, in the file; 0: there is none."""
    arguments: tuple[Argument, ...]


@dataclass(frozen=True, slots=True)
class Found:
    """The probes of a file, and how many notes of the provider could not be used."""

    probes: tuple[Probe, ...] = ()
    refused: int = 0


def read_probes(image: ElfImage, provider: bytes = PROVIDER) -> Found:
    """The probes of a provider in a file; none where it has no notes, or is no x86-64 program.

    Raises:
        ElfError: the file is damaged.
    """
    section = image.section(".note.stapsdt")
    if section is None or section.type == SHT_NOBITS:
        return Found()
    if image.elfclass != 64 or image.machine != EM_X86_64:
        return Found()
    loads = [one for one in image.segments if one.type == PT_LOAD]
    base = image.section(".stapsdt.base")
    variables = _Variables(image)
    found: list[Probe] = []
    refused = 0
    for note in _notes(image.content(section, MOST_NOTES)):
        if not note.startswith(provider + b"\0", _PLACES.size):
            continue
        if len(found) >= MOST_PROBES:
            raise ElfError(f"it has more than {MOST_PROBES} probes")
        probe = _probe(image, note, base.addr if base is not None else 0, loads, variables)
        if probe is None:
            refused += 1
        elif probe.name in PROBES:
            found.append(probe)
    return Found(tuple(found), refused)


def _notes(data: bytes) -> list[bytes]:
    """The descriptions of all whole notes of the type."""
    found = []
    at = 0
    while at + _WORDS.size <= len(data):
        name_size, size, kind = _WORDS.unpack_from(data, at)
        start = at + _WORDS.size + (name_size + 3 & ~3)
        end = start + size
        if end > len(data):
            break
        name = data[at + _WORDS.size :][:name_size]
        if kind == _NT_STAPSDT and name.rstrip(b"\0") == b"stapsdt":
            found.append(data[start:end])
        at = start + (size + 3 & ~3)
    return found


class _Variables:
    """The addresses of a file's variables; no symbol is read before the first is asked for."""

    def __init__(self, image: ElfImage) -> None:
        self._image = image
        self._known: dict[str, int | None] = {}

    def address(self, name: str) -> int | None:
        """As the file was linked; None: there is no such name, or it is that of several."""
        if name not in self._known:
            if len(self._known) >= _MOST_VARIABLES:
                return None
            self._known[name] = self._find(name.encode() + b"\0")
        return self._known[name]

    @cached_property
    def _symbols(self) -> tuple[npt.NDArray[np.void], bytes] | None:
        return read_symbols(self._image, SHT_SYMTAB)

    def _find(self, name: bytes) -> int | None:
        if self._symbols is None:
            return None
        table, names = self._symbols
        starts: list[int] = []  # a linker keeps a name once where it is the end of another, too
        at = names.find(name)
        while at >= 0:
            starts.append(at)
            at = names.find(name, at + 1)
            if len(starts) > _MOST_VARIABLES:
                return None
        section = table["shndx"]
        here = np.isin(table["name"], starts) & (section > 0) & (section < _SHN_LORESERVE)
        found = set(table["value"][here].tolist())
        return found.pop() if len(found) == 1 else None


def _probe(
    image: ElfImage, note: bytes, base: int, loads: Sequence[Segment], variables: _Variables
) -> Probe | None:
    """None: it is not whole, is at no nop of the file, or has arguments that can't be read."""
    parts = note[_PLACES.size :].split(b"\0")
    if len(parts) < 3:
        return None
    address, linked_base, semaphore = _PLACES.unpack_from(note)
    # The section moves when a file is relinked (prelink); a base of 0 says that there is none.
    shift = base - linked_base if base and linked_base else 0
    offset = _file_offset(loads, address + shift)
    guard = _file_offset(loads, semaphore + shift) or 0 if semaphore else 0
    if guard >= 1 << 32:
        return None
    if not offset or image.read(offset, 1) != _NOP or (semaphore and not guard):
        return None
    try:
        name = parts[1].decode("ascii")
        arguments = parse_arguments(parts[2].decode("ascii"), address + shift, variables.address)
    except ValueError:
        return None
    least = {"enter": 5, "awaits": 3}.get(name, 1)
    if len(arguments) < least:
        return None
    return Probe(name, offset, guard, arguments)


def _file_offset(loads: Sequence[Segment], address: int) -> int | None:
    for one in loads:
        if one.vaddr <= address < one.vaddr + one.filesz:
            return address - one.vaddr + one.offset
    return None


def parse_arguments(
    text: str, at: int = 0, address: Callable[[str], int | None] = lambda name: None
) -> tuple[Argument, ...]:
    """The first arguments of a note, such as `8@%rdi -4@$7 8@16(%rsp) 8@4+counter(%rip)`.

    `at`: the probe's address; `address`: that of a variable, by its name, as it was linked.

    Raises:
        ValueError: one of them is of no form that a BPF program can follow.
    """
    return tuple(_parse(one, at, address) for one in text.split()[:MOST_ARGUMENTS])


def _parse(text: str, at: int, address: Callable[[str], int | None]) -> Argument:
    match = _ARGUMENT.fullmatch(text)
    if match is None:
        raise ValueError(f"an argument {text[:40]!r}")
    size = int(match["size"] or 8)
    bits, signed = 8 * abs(size), size < 0
    if match["constant"] is not None:
        return Argument(Where.CONSTANT, bits, signed, value=_signed(int(match["constant"], 0)))
    if match["register"] is not None:
        return Argument(Where.REGISTER, bits, signed, _register(match["register"]))
    if match["symbol"] is not None:
        # a file is loaded as a whole, so that a variable lies at a fixed distance from the probe
        variable = address(match["symbol"])
        if variable is None:
            raise ValueError(f"a variable {match['symbol'][:40]!r} that isn't known")
        further = int(match["before"] or 0) + int(match["after"] or 0)
        return Argument(Where.MEMORY, bits, signed, _IP, value=_signed(variable + further - at))
    index = match["index"]
    return Argument(
        Where.MEMORY,
        bits,
        signed,
        _register(match["base"]),
        0 if index is None else _register(index),
        0 if index is None else int(match["scale"] or 1),
        _signed(int(match["offset"] or "0", 0)),
    )


def _signed(value: int) -> int:
    return (value + 2**63) % 2**64 - 2**63


def _register(name: str) -> int:
    """Of the whole register, whatever part of it is named: %rax, %eax, %ax, %al, %r8d."""
    short = re.sub(r"^(r\d+)[dwb]$", r"\1", name)
    if short not in _REGISTERS:
        short = name[1:] if len(name) == 3 and name[0] in "re" else name
    if short not in _REGISTERS and short.endswith("l"):
        short = {"al": "ax", "bl": "bx", "cl": "cx", "dl": "dx"}.get(short, short[:-1])
    if short not in _REGISTERS:
        raise ValueError(f"a register {name[:10]!r}")
    return _REGISTERS[short]


def site_value(arguments: Sequence[Argument]) -> bytes:
    """`struct site` of bpf/kinds/usdt.bpf.c."""
    rows = [
        _SITE_ARGUMENT.pack(
            one.where, one.bits, one.signed, one.place, one.index, one.scale, 0, one.value
        )
        for one in arguments
    ]
    body = b"".join(rows).ljust(MOST_ARGUMENTS * _SITE_ARGUMENT.size, b"\0")
    return body + struct.pack("<Q", len(rows))
