"""The probes as a file tells of them: five notes, each guarded, whatever it is built with."""

from __future__ import annotations

import re
import subprocess
from dataclasses import dataclass
from pathlib import Path

import pytest
from elftools.elf.constants import P_FLAGS
from elftools.elf.elffile import ELFFile
from span_programs import INCLUDE, built, extension

ONE, SIX = "8@%rdi", "8@%rdi 8@%rsi 8@%rdx 8@%rcx 8@%r8 8@%r9"
ARGUMENTS = {"enter": SIX, "exit": ONE, "exit_stack": ONE, "close": ONE}

TWO_FILES = {
    "one.c": """
        #include "tracing_stacks.h"
        int other(void);
        int main(void) { TRACING_STACKS_SPAN("one", 1, 2); return other(); }
    """,
    "two.c": """
        #include "tracing_stacks.h"
        int other(void);
        int other(void) { TRACING_STACKS_SPAN_STACK("two", 1, 2); return 0; }
    """,
    "two.cc": """
        #include "tracing_stacks.h"
        extern "C" int other();
        int other() {
            tracing_stacks::span span{"two", 1, 2, true};
            TRACING_STACKS_SPAN("three", 1, 2);
            return span.span_id() == 0;
        }
    """,
}


@dataclass(frozen=True)
class Note:
    name: str
    semaphore: int
    arguments: str


def notes(path: Path) -> list[Note]:
    """As binutils read them."""
    told = subprocess.run(["readelf", "-nW", path], capture_output=True, text=True, check=True)
    found = re.findall(
        r"Provider: stacks_tracing\s+Name: (\w+)\s+Location: \w+, Base: \w+, Semaphore: (\w+)\s+"
        r"Arguments: (.*)",
        told.stdout,
    )
    return [Note(name, int(semaphore, 16), arguments) for name, semaphore, arguments in found]


def assert_are_the_probes(found: list[Note]) -> None:
    assert [note.name for note in found[:4]] == list(ARGUMENTS)
    assert {note.name: note.arguments for note in found[:4]} == ARGUMENTS
    assert [note.name for note in found[4:]] in (
        ["awaits"],
        [],
    )  # a linker may drop what isn't used
    assert all(note.semaphore for note in found)
    assert len({note.semaphore for note in found}) == len(found)


def assert_semaphores_are_mapped_once(path: Path, found: list[Note]) -> None:
    """The kernel counts in the first writable mapping of the file's page that holds a semaphore."""
    page = 4096
    with path.open("rb") as file:
        loads = [
            part.header
            for part in ELFFile(file).iter_segments("PT_LOAD")
            if part.header.p_flags & P_FLAGS.PF_W
        ]
    for note in found:
        (load,) = [load for load in loads if 0 <= note.semaphore - load.p_vaddr < load.p_filesz]
        at = (note.semaphore - load.p_vaddr + load.p_offset) // page
        holding = [
            load
            for load in loads
            if load.p_offset // page <= at <= (load.p_offset + load.p_filesz - 1) // page
        ]
        assert len(holding) == 1, note


def test_the_extension_has_each_probe_once() -> None:
    found = notes(extension())
    assert_are_the_probes(found)
    assert_semaphores_are_mapped_once(extension(), found)
    assert found[4].arguments == "8@%rdi 8@%rsi 8@%rdx"


@pytest.mark.parametrize(
    "flags",
    [
        "-O2",
        "-O0",
        "-O2 -flto",
        "-O2 -ffunction-sections -Wl,--gc-sections",
        "-O2 -static",
        "-O2 -s",
    ],
)
@pytest.mark.parametrize("second", ["two.c", "two.cc"])
def test_files_of_one_program_share_the_probes(second: str, flags: str, tmp_path: Path) -> None:
    for name in ("one.c", second):
        (tmp_path / name).write_text(TWO_FILES[name])
    warnings = ["-Wall", "-Wextra", "-Wshadow", "-Wpedantic", "-Werror"]
    objects = []
    for name, compiler, standard in (("one.c", "gcc", "gnu99"), (second, "gcc", "gnu99")):
        if name.endswith(".cc"):
            compiler, standard = "g++", "c++11"
        objects.append(tmp_path / f"{name}.o")
        command = [compiler, f"-std={standard}", *warnings, *flags.split(), f"-I{INCLUDE}", "-c"]
        subprocess.run([*command, tmp_path / name, "-o", objects[-1]], check=True)
    program = tmp_path / "program"
    subprocess.run(["g++", *flags.split(), *objects, "-o", program], check=True)
    assert_are_the_probes(notes(program))
    assert_semaphores_are_mapped_once(program, notes(program))
    subprocess.run([program], check=True)


def test_the_probed_instruction_has_one_byte() -> None:
    # Linux 6.18 makes a call of a probed 5-byte nop, to a page that a fork does not copy
    told = subprocess.run(
        ["objdump", "-d", "--no-show-raw-insn", built("c_spans")],
        capture_output=True,
        text=True,
        check=True,
    )
    bodies = re.findall(r"<tracing_stacks_fire_\w+>:\n\s+\w+:\t(.*)\n\s+\w+:\t(.*)\n", told.stdout)
    assert len(bodies) == 5
    assert {tuple(part.strip() for part in body) for body in bodies} == {("nop", "ret")}


def test_the_layout_of_the_rust_crate_has_neither_semaphores_nor_a_sixth_argument() -> None:
    found = notes(built("crate_layout"))
    enters = [note for note in found if note.name == "enter"]
    assert len(enters) == 6
    assert all(len(note.arguments.split()) == 5 for note in enters)
    assert {note.semaphore for note in found} == {0}
    text = " ".join(note.arguments for note in enters)
    assert re.search(r"@\$7 ", text), "a constant"
    assert re.search(r"@-?\d*\(%rsp\)", text), "memory"
    assert re.search(r"1@%[abcd]l", text), "a part of a register"
