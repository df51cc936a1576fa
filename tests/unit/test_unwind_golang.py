"""Rules of Go programs by their own table: as .debug_frame has them, but where stacks change."""

from __future__ import annotations

import random
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest

from stacks_tui.elf import ElfImage
from stacks_tui.unwind import ehframe, golang
from stacks_tui.unwind.ehframe import base_of, parse
from stacks_tui.unwind.golang import GoCode, go_code
from stacks_tui.unwind.rows import Kind, find_row

pytestmark = pytest.mark.skipif(shutil.which("go") is None, reason="needs go")

SOURCE = """package main
import "fmt"
//go:noinline
func down(n int) int {
	var a [200]int
	if n == 0 { fmt.Println(a[n]) ; return 0 }
	return down(n-1) + a[n]
}
func main() { down(3) }
"""


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("go")
    (folder / "a.go").write_text(SOURCE)
    command = ["go", "build", "-o", "a", "a.go"]
    environ = {"GO111MODULE": "off", "HOME": str(folder), "PATH": "/usr/bin:/usr/local/go/bin"}
    subprocess.run(command, cwd=folder, check=True, env=environ)
    return folder / "a"


def _image(path: Path) -> ElfImage:
    return ElfImage.from_bytes(path.read_bytes())


def _code(image: ElfImage) -> GoCode:
    found = go_code(image, base_of(image.loads))
    assert found is not None
    return found


def _functions(program: Path) -> dict[str, int]:
    told = subprocess.run(["nm", program], capture_output=True, text=True, check=True).stdout
    lines = [line.split() for line in told.splitlines()]
    return {words[-1].removesuffix(".abi0"): int(words[0], 16) for words in lines}


def test_depths_are_those_of_debug_frame(program: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image = _image(program)
    code, base = _code(image), base_of(image.loads)
    monkeypatch.setattr(ehframe, "go_code", lambda *given: None)
    other = parse(image).rows
    rules = code.rows[code.rows["kind"] == Kind.RSP]
    assert len(rules) > 4000
    compared = 0
    for row in rules:
        expected = other[find_row(other, int(row["pc"]))]
        if expected["kind"] not in (Kind.NONE, Kind.SIGNAL):  # between functions; by its code
            assert (row["kind"], row["off"]) == (expected["kind"], expected["off"])
            compared += 1
    assert compared > 4000
    assert code.start == _functions(program)["runtime.text"]
    assert base <= code.start < code.stop == _functions(program)["runtime.etext"]


def test_starts_and_changes_of_stacks_end_a_walk(program: Path) -> None:
    image = _image(program)
    table, functions = parse(image), _functions(program)
    assert ".gopclntab" in table.source

    def kind(address: int) -> Kind:
        return Kind(int(table.rows[find_row(table.rows, address - table.base)]["kind"]))

    for name in ("runtime.goexit", "runtime.rt0_go", "runtime.mcall"):
        assert kind(functions[name]) is Kind.STOP
    for name in ("runtime.systemstack", "runtime.morestack", "runtime.asmcgocall"):
        assert kind(functions[name]) is Kind.BAD
    told = subprocess.run(["objdump", "-d", program], capture_output=True, text=True, check=True)
    clone = told.stdout.partition("<runtime.clone.abi0>:")[2].partition("\n\n")[0]
    calls = re.findall(r"^\s*([0-9a-f]+):\s.*call +\*%r12", clone, re.MULTILINE)
    assert [kind(int(at, 16) + 2) for at in calls] == [Kind.STOP]
    assert kind(functions["runtime.clone"]) is Kind.BAD


def test_a_stripped_program_has_the_same(program: Path) -> None:
    stripped = program.with_suffix(".stripped")
    subprocess.run(["strip", "-o", stripped, program], check=True)
    code = _code(_image(program))
    assert np.array_equal(_code(_image(stripped)).rows, code.rows)
    inside = parse(_image(stripped))
    assert inside.source == ".gopclntab"
    assert inside.functions == code.functions


def test_any_table_is_read_in_bounded_work(program: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image = _image(program)
    whole = golang._table(image)
    assert whole is not None
    chance = random.Random(1)
    for turn in range(60):
        table = bytearray(whole[: len(whole) - chance.choice((0, 0, 1, chance.randrange(1 << 18)))])
        for _ in range(chance.choice((1, 8, 2000))):
            at = chance.randrange(chance.choice((72, len(table))))
            table[at] = chance.choice((0, 0xFF, 0x80, chance.randrange(256)))
        if turn % 10 == 0:
            table[72:] = bytes(0x80 | n & 3 for n in table[72:])
        monkeypatch.setattr(golang, "_table", lambda image, table=bytes(table): table)
        code = go_code(image, base_of(image.loads))
        if code is not None:
            assert (np.diff(code.rows["pc"].astype(np.int64)) >= 0).all()
