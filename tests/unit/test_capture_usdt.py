"""USDT notes: where probes and arguments are, and files that lie about them."""

from __future__ import annotations

import contextlib
import struct
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stacks_tui.capture.usdt import Argument, Where, parse_arguments, read_probes, site_value
from stacks_tui.elf import ElfError, ElfImage

VADDR, OFFSET = 0x401000, 0x1000
CODE = b"\x90" * 64


def note(
    name: bytes = b"exit",
    address: int = VADDR,
    base: int = 0,
    semaphore: int = 0,
    arguments: bytes = b"8@%rdi",
    provider: bytes = b"stacks_tracing",
) -> bytes:
    desc = struct.pack("<3Q", address, base, semaphore)
    desc += provider + b"\0" + name + b"\0" + arguments + b"\0"
    body = struct.pack("<3I", 8, len(desc), 3) + b"stapsdt\0" + desc
    return body + bytes(-len(body) % 4)


def image(notes: bytes, base: int = 0, machine: int = 62) -> ElfImage:
    """An ELF file of one segment, at `OFFSET` and `VADDR`, and these notes."""
    names = b"\0.note.stapsdt\0.stapsdt.base\0.shstrtab\0"
    notes_at = OFFSET + len(CODE)
    names_at = notes_at + len(notes)
    table_at = names_at + len(names) + (-(names_at + len(names)) % 8)

    def section(name: bytes, kind: int, address: int, at: int, size: int) -> bytes:
        return struct.pack("<IIQQQQIIQQ", names.index(name), kind, 0, address, at, size, 0, 0, 4, 0)

    sections = [
        bytes(64),
        section(b".note.stapsdt", 7, 0, notes_at, len(notes)),
        section(b".stapsdt.base", 1, base, notes_at, 1),
        section(b".shstrtab", 3, 0, names_at, len(names)),
    ]
    head = b"\x7fELF\2\1\1" + bytes(9)
    head += struct.pack("<HHIQQQIHHHHHH", 2, machine, 1, 0, 64, table_at, 0, 64, 56, 1, 64, 4, 3)
    head += struct.pack("<IIQQQQQQ", 1, 5, OFFSET, VADDR, 0, len(CODE), len(CODE), 4096)
    data = head.ljust(OFFSET, b"\0") + CODE + notes + names
    return ElfImage.from_bytes(data.ljust(table_at, b"\0") + b"".join(sections))


def test_a_probe_is_where_its_segment_is_in_the_file() -> None:
    found = read_probes(image(note(address=VADDR + 8, semaphore=VADDR + 16)))
    (probe,) = found.probes
    assert (probe.name, probe.offset, probe.semaphore) == ("exit", OFFSET + 8, OFFSET + 16)
    assert found.refused == 0


def test_a_base_of_zero_moves_nothing() -> None:
    (probe,) = read_probes(image(note(base=0), base=0x500000)).probes
    assert probe.offset == OFFSET
    (moved,) = read_probes(image(note(address=VADDR - 0x100, base=0x7000), base=0x7100)).probes
    assert moved.offset == OFFSET


@pytest.mark.parametrize(
    "bad",
    [
        note(address=VADDR + len(CODE)),  # outside of the file
        note(semaphore=0xDEADBEEF),
        note(arguments=b"8@foo(%rip)"),
        note(arguments=b"8@%xmm0"),
        note(name=b"enter", arguments=b"8@%rdi"),  # too few
        note(name=b"ex\xff"),
    ],
)
def test_what_cannot_be_used_is_counted(bad: bytes) -> None:
    found = read_probes(image(bad + note()))
    assert len(found.probes) == 1
    assert found.refused == 1


def test_other_providers_and_other_machines_have_none() -> None:
    assert read_probes(image(note(provider=b"python") + note(name=b"other"))).probes == ()
    assert read_probes(image(note(), machine=183)).probes == ()


def test_a_probe_that_is_no_nop_is_refused() -> None:
    five = b"\x0f\x1f\x44\x00\x00"  # replaced by a call on new kernels: forks die of it
    one = image(note())
    data = bytearray(one.read(0, one.size))
    data[OFFSET : OFFSET + 5] = five
    found = read_probes(ElfImage.from_bytes(bytes(data)))
    assert (found.probes, found.refused) == ((), 1)


@given(st.binary(max_size=300))
def test_notes_of_any_bytes_do_no_harm(data: bytes) -> None:
    read_probes(image(data + note()))


@given(st.integers(0, 4096 + 600), st.binary(min_size=1, max_size=40))
def test_files_of_any_bytes_do_no_harm(at: int, data: bytes) -> None:
    whole = image(note() + note(b"enter", arguments=b"8@%rdi " * 6))
    raw = bytearray(whole.read(0, whole.size))
    raw[at : at + len(data)] = data
    with contextlib.suppress(ElfError):
        read_probes(ElfImage.from_bytes(bytes(raw)))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("8@%rdi", Argument(Where.REGISTER, 64, False, 112)),
        ("-4@%eax", Argument(Where.REGISTER, 32, True, 80)),
        ("1@%bl", Argument(Where.REGISTER, 8, False, 40)),
        ("1@%sil", Argument(Where.REGISTER, 8, False, 104)),
        ("2@%r10w", Argument(Where.REGISTER, 16, False, 56)),
        ("-4@$-7", Argument(Where.CONSTANT, 32, True, value=-7)),
        ("8@$18446744073709551615", Argument(Where.CONSTANT, 64, False, value=-1)),
        ("8@-16(%rbp)", Argument(Where.MEMORY, 64, False, 32, value=-16)),
        ("8@(%rax)", Argument(Where.MEMORY, 64, False, 80)),
        ("4@8(%rsp,%rcx,4)", Argument(Where.MEMORY, 32, False, 152, 88, 4, 8)),
        ("%rdx", Argument(Where.REGISTER, 64, False, 96)),
        ("8@counter(%rip)", Argument(Where.MEMORY, 64, False, 128, value=0x300)),
        ("-4@8+counter(%rip)", Argument(Where.MEMORY, 32, True, 128, value=0x308)),
        ("4@counter-16(%rip)", Argument(Where.MEMORY, 32, False, 128, value=0x2F0)),
    ],
)
def test_arguments(text: str, expected: Argument) -> None:
    assert parse_arguments(text, VADDR, {"counter": VADDR + 0x300}.get) == (expected,)
    assert len(site_value((expected,))) == 6 * 16 + 8


@pytest.mark.parametrize("text", ["3@%rax", "8@%rzz", "8@", "8@16", "8@$x", "8@16(%rip)"])
def test_no_arguments(text: str) -> None:
    with pytest.raises(ValueError, match="a"):
        parse_arguments(text)


def with_variables(lines: str, tmp_path: Path, *more: Path) -> tuple[int, ...]:
    """What the arguments of a probe beside these variables add to the instruction's address."""
    source = tmp_path / "variables.s"
    source.write_text(
        '.text\n.globl _start\n_start: nop\n.section .note.stapsdt,"","note"\n'
        '.4byte 8, 2f-1f, 3\n.asciz "stapsdt"\n1: .8byte _start, 0, 0\n'
        '.asciz "stacks_tracing"\n.asciz "exit"\n.asciz "8@counter(%rip)"\n2: .balign 4\n' + lines
    )
    subprocess.run(["gcc", "-nostdlib", "-o", tmp_path / "it", source, *more], check=True)
    with (tmp_path / "it").open("rb") as file:
        found = read_probes(ElfImage.from_fd(file.fileno()))
    return tuple(one.value for probe in found.probes for one in probe.arguments)


def test_a_variable_is_found_by_its_name(tmp_path: Path) -> None:
    lines = ".data\nother_counter: .8byte 1\ncounter: .8byte 2\n.size counter, 8\n"
    (value,) = with_variables(lines, tmp_path)
    nm = subprocess.run(["nm", tmp_path / "it"], capture_output=True, text=True, check=True)
    at = {line.split()[2]: int(line.split()[0], 16) for line in nm.stdout.splitlines()}
    assert value == at["counter"] - at["_start"]
    subprocess.run(["strip", "--strip-all", tmp_path / "it"], check=True)
    with (tmp_path / "it").open("rb") as file:
        assert read_probes(ElfImage.from_fd(file.fileno())).refused == 1


def test_of_two_variables_of_a_name_neither_is_taken(tmp_path: Path) -> None:
    other = tmp_path / "other.s"
    other.write_text(".data\ncounter: .8byte 3\n")
    subprocess.run(["gcc", "-c", "-o", tmp_path / "other.o", other], check=True)
    lines = ".data\ncounter: .8byte 2\n"
    assert with_variables(lines, tmp_path, tmp_path / "other.o") == ()


@given(st.text(max_size=60))
def test_arguments_of_any_text(text: str) -> None:
    with contextlib.suppress(ValueError):
        site_value(parse_arguments(text))
