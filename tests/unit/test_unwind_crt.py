"""Rules for `_init` and `_fini`: as the code there is, and none where it is other code."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from unwind_images import TEXT, Function, image, simple

from stacks_tui.elf import ElfImage
from stacks_tui.unwind.crt import start_rows
from stacks_tui.unwind.ehframe import parse
from stacks_tui.unwind.rows import Kind, find_row

GLIBC = bytes.fromhex("f30f1efa4883ec08488b05c12f00004885c07402ffd04883c408c3")
GLIBC_FINI = bytes.fromhex("f30f1efa4883ec084883c408c3")
MUSL = bytes.fromhex("50e81234000058c3")


def _with(code: bytes) -> ElfImage:
    """An image whose .init is at TEXT."""
    text = code + bytes(0x1000 - len(code))
    return ElfImage.from_bytes(image(code, TEXT, text, name=b".init"))


@pytest.mark.parametrize("code", [GLIBC, GLIBC_FINI, MUSL])
def test_rules_follow_the_instructions(code: bytes) -> None:
    (rows,) = start_rows(_with(code), TEXT)
    pushed = 1 if code == MUSL else 8 if code[0] == 0xF3 else 4
    assert rows["pc"].tolist() == [0, pushed, len(code) - 1, len(code)]
    assert rows["off"].tolist() == [1, 2, 1, 0]
    assert rows["kind"].tolist() == [Kind.RSP, Kind.RSP, Kind.RSP, Kind.NONE]


@pytest.mark.parametrize(
    "code",
    [
        GLIBC[:-1] + b"\x90",
        GLIBC.replace(b"\x83\xec\x08", b"\x83\xec\x18"),
        GLIBC_FINI[:6],
        b"\x90" + MUSL,
        b"",
    ],
)
def test_other_code_has_no_rules(code: bytes) -> None:
    assert start_rows(_with(code), TEXT) == []


def test_a_functions_own_rules_go_first() -> None:
    data = bytearray(simple([Function(TEXT, 0x40, b"\x42\x0e\x20")]))
    data[TEXT : TEXT + len(GLIBC)] = GLIBC
    rows = parse(ElfImage.from_bytes(bytes(data))).rows
    assert rows[find_row(rows, 8)]["off"] == 4


@pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc")
@pytest.mark.parametrize("flags", [[], ["-static"]], ids=["dynamic", "static"])
def test_programs_have_them(flags: list[str], tmp_path: Path) -> None:
    source, program = tmp_path / "a.c", tmp_path / "a"
    source.write_text("int main(void) { return 0; }\n")
    subprocess.run(["gcc", *flags, "-o", program, source], check=True)
    found = ElfImage.from_bytes(program.read_bytes())
    table = parse(found)
    section = found.section(".init")
    assert section is not None
    first = table.rows[find_row(table.rows, section.addr - table.base)]
    assert (first["kind"], first["off"]) == (Kind.RSP, 1)


def _disassembled(program: Path, *names: str) -> dict[str, list[tuple[int, str]]]:
    """Addresses and instructions of functions, by objdump."""
    command = ["objdump", "-d", "--no-show-raw-insn", str(program)]
    told = subprocess.run(command, capture_output=True, text=True, check=True)
    found: dict[str, list[tuple[int, str]]] = {}
    for part in told.stdout.split("\n\n"):
        head, *lines = part.strip().splitlines()
        match = re.fullmatch(r"[0-9a-f]+ <(.+)>:", head)
        if match is not None and match[1] in names:
            pairs = [line.split(":", 1) for line in lines]
            found[match[1]] = [(int(at, 16), text.strip()) for at, text in pairs]
    return found


@pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc")
@pytest.mark.parametrize("flags", [[], ["-no-pie"], ["-static"], ["-shared", "-fPIC"]], ids=str)
def test_gccs_start_code_has_them(flags: list[str], tmp_path: Path) -> None:
    source, program = tmp_path / "a.c", tmp_path / "a"
    source.write_text("int main(void) { return 0; }\n")
    subprocess.run(["gcc", *flags, "-o", program, source], check=True)
    table = parse(ElfImage.from_bytes(program.read_bytes()))
    names = ("deregister_tm_clones", "register_tm_clones", "__do_global_dtors_aux", "frame_dummy")
    functions = _disassembled(program, *names)
    assert functions.keys() == set(names)
    for instructions in functions.values():
        pushed = 0
        for at, text in instructions:
            row = table.rows[find_row(table.rows, at - table.base)]
            assert (row["kind"], row["off"]) == (Kind.RSP, 1 + pushed), (hex(at), text)
            assert row["rbp"] == (-2 if pushed else 0)
            pushed += text.startswith("push") - text.startswith("pop")


@pytest.mark.skipif(shutil.which("gcc") is None, reason="needs gcc")
def test_jumps_of_static_programs_have_them(tmp_path: Path) -> None:
    source, program = tmp_path / "a.c", tmp_path / "a"
    source.write_text("int main(void) { return 0; }\n")
    subprocess.run(["gcc", "-static", "-o", program, source], check=True)
    found = ElfImage.from_bytes(program.read_bytes())
    section = found.section(".plt")
    assert section is not None
    table = parse(found)
    for at in range(section.addr, section.addr + section.size):
        row = table.rows[find_row(table.rows, at - table.base)]
        assert (row["kind"], row["off"]) == (Kind.RSP, 1)
