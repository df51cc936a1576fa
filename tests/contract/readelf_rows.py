"""Unwind rows against `readelf --debug-dump=frames-interp` of the same file, line by line.

By hand, over every ELF file of the machine: `python -m tests.contract.readelf_rows --all`, or over
the paths given.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import numpy.typing as npt

from stacks_tui.elf import EM_AARCH64, ElfError, ElfImage
from stacks_tui.unwind import crt
from stacks_tui.unwind.ehframe import GAP, UnwindTable, parse
from stacks_tui.unwind.rows import (
    RA_ALONE,
    RA_ALONE_LOST,
    RA_AT_BASE,
    RA_BESIDE_FP,
    RBP_AT_RBP,
    RBP_UNKNOWN,
    Kind,
)

FOLDERS = ("/usr/bin", "/usr/sbin", "/usr/lib")

_REGISTERS = {
    name: number
    for number, name in enumerate(
        ("rax", "rdx", "rcx", "rbx", "rsi", "rdi", "rbp", "rsp", *(f"r{n}" for n in range(8, 16)))
    )
}
_FDE = re.compile(r"FDE .*cie=([0-9a-f]+) pc=([0-9a-f]+)\.\.([0-9a-f]+)$")
_CIE = re.compile(r'^([0-9a-f]+) .*CIE "([^"]*)"')

Rule = tuple[str, str, str]
"""CFA, frame pointer and return address, as readelf writes them."""


@dataclass(slots=True)
class Function:
    """One FDE as readelf reads it."""

    start: int
    stop: int
    signal: bool
    lines: list[tuple[int, Rule]] = field(default_factory=list)


@dataclass(slots=True)
class Comparison:
    """What came out for one file."""

    path: str
    lines: int = 0
    functions: int = 0
    differences: list[str] = field(default_factory=list)
    tolerated: Counter[str] = field(default_factory=Counter)
    """Lines where a row deliberately tells less, by reason."""


def read_functions(path: str) -> tuple[dict[str, list[Function]], bool]:
    """The FDEs of each section; and whether readelf found no fault with the file."""
    command = ["readelf", "-wNF", path]
    process = subprocess.run(command, capture_output=True, check=False, env={"LC_ALL": "C"})
    sections: dict[str, list[Function]] = {}
    cies: dict[str, tuple[Rule, bool]] = {}
    current: list[Function] = []
    columns: list[str] = []
    cie = ""
    in_fde = False
    for line in process.stdout.decode("utf-8", "replace").splitlines():
        if line.startswith("Contents of the "):
            cies = {}
            current = sections.setdefault(line.split()[3], [])
            in_fde = False
        elif found := _FDE.search(line):
            rule, signal = cies.get(found[1], (("?", "?", "?"), False))
            start, stop = int(found[2], 16), int(found[3], 16)
            current.append(Function(start, stop, signal, [(start, rule)]))
            in_fde = True
        elif found := _CIE.search(line):
            cie = found[1]
            cies[cie] = (("?", "u", "u"), "S" in found[2])
            in_fde = False
        elif line.startswith("   LOC"):
            columns = line.split()
        elif line and line[0] in "0123456789abcdef":
            cells = line.split()
            if len(cells) != len(columns):
                continue
            named = dict(zip(columns, cells, strict=True))
            rule = (named["CFA"], named.get("rbp") or named.get("x29") or "u", named.get("ra", "u"))
            if in_fde:
                current[-1].lines.append((int(cells[0], 16), rule))
            else:
                cies[cie] = (rule, cies[cie][1])
    return sections, not process.stderr


def expected(rule: Rule, signal: bool, arm: bool) -> set[tuple[int, int, int]] | str:
    """The rows (kind, off, rbp) that say this; or why rows may tell less (BAD)."""
    return _expected_arm(rule, signal) if arm else _expected_x86(rule, signal)


def _based(cfa: str) -> tuple[str, int] | None:
    found = re.fullmatch(r"([a-z0-9]+)([+-]\d+)", cfa)
    return (found[1], int(found[2])) if found else None


def _expected_x86(rule: Rule, signal: bool) -> set[tuple[int, int, int]] | str:
    cfa, fp, ra = rule
    if ra == "u":
        return {(Kind.STOP, 0, 0)}
    if signal:
        return {(Kind.SIGNAL, 0, 0)}
    rbps = {"u": {0}, "s": {0}, "exp": {RBP_AT_RBP, RBP_UNKNOWN}, "vexp": {RBP_UNKNOWN}}.get(fp)
    if rbps is None:
        saved = int(fp[1:]) if re.fullmatch(r"c[+-]\d+", fp) else 1
        rbps = {saved // 8} if saved % 8 == 0 and -1024 <= saved < 0 else {RBP_UNKNOWN}
    if cfa == "exp":
        return "expression"
    based = _based(cfa)
    if based is None or based[1] % 8:
        return "no multiple of 8"
    register, units = based[0], based[1] // 8
    if abs(units) >= 1 << 15:
        return "frame of 256 KiB or more"
    if ra in _REGISTERS or ra.startswith("r"):
        if register != "rsp" or ra not in _REGISTERS:
            return "return address in a register"
        return {(Kind.RAREG, _REGISTERS[ra] << 8 | units, rbp) for rbp in rbps}
    if ra != "c-8":
        return "return address elsewhere"
    if register in ("rsp", "rbp"):
        kind = Kind.RSP if register == "rsp" else Kind.RBP
        return {(kind, units, rbp) for rbp in rbps}
    if not 0 <= units < 256 or register not in _REGISTERS:
        return "register out of reach"
    return {(Kind.REG, _REGISTERS[register] << 8 | units, rbp) for rbp in rbps}


def _expected_arm(rule: Rule, signal: bool) -> set[tuple[int, int, int]] | str:
    cfa, fp, ra = rule
    if signal:
        return {(Kind.SIGNAL, 0, 0)}
    based = _based(cfa)
    if based is None or based[1] % 8:
        return "expression"
    register, size = based
    saved_fp = int(fp[1:]) if fp.startswith("c") else None
    saved_ra = int(ra[1:]) if ra.startswith("c") else None
    if register in ("sp", "x29"):
        kind, off = (Kind.RSP if register == "sp" else Kind.RBP), size // 8
    elif 0 <= size < 2048 and register[1:].isdigit():
        kind, off = Kind.REG, int(register[1:]) << 8 | size // 8
    else:
        return "register out of reach"
    if saved_ra is None:
        if ra != "u" and ra != "s":
            return "return address elsewhere"
        if saved_fp is not None:
            near = -1024 <= saved_fp < 0
            return {(kind, off, saved_fp // 8 if near else RBP_UNKNOWN)}
        return {(kind, off, 0), (Kind.STOP, 0, 0)}  # both are "u" to readelf
    if saved_fp is None and -1024 <= saved_ra < 0:
        return {(kind | RA_ALONE, off, saved_ra // 8)}
    if saved_fp is not None and saved_ra == saved_fp + 8:
        if -1024 <= saved_fp < 0:
            return {(kind | RA_BESIDE_FP, off, saved_fp // 8)}
        if -saved_fp == size:
            return {(kind | RA_AT_BASE, off, 0)}
    if saved_fp is not None and -1024 <= saved_ra < 0:
        return {(kind | RA_ALONE_LOST, off, saved_ra // 8)}
    return "return address elsewhere"


def compare(path: str) -> Comparison | None:
    """The rows of a file against readelf's; None: no ELF file that is supported."""
    try:
        with open(path, "rb") as file:
            image = ElfImage.from_fd(file.fileno())
            table = parse(image)
            start_code = _start_code(image)
    except ElfError:
        return None
    if not table.supported:
        return None
    sections, _ = read_functions(path)
    arm = image.machine == EM_AARCH64
    loads = [(load.vaddr, load.vaddr + load.filesz) for load in image.loads]
    result = Comparison(path)
    taken: list[Function] = []
    for section in (".eh_frame", ".debug_frame"):
        known = sorted((f.start, f.stop) for f in taken)
        starts = np.array([start for start, _ in known], np.int64)
        seen = {f.start for f in taken}
        for function in sections.get(section, []):
            if function.start in seen or function.stop <= function.start:
                continue
            if not any(low <= function.start < high for low, high in loads):
                continue
            at = int(np.searchsorted(starts, function.start, side="right")) - 1
            if at >= 0 and function.start < known[at][1]:
                continue
            seen.add(function.start)
            taken.append(function)
    result.functions = len(taken)
    if len(taken) != table.functions:
        result.differences.append(f"{len(taken)} functions, rows have {table.functions}")
    _compare_lines(result, table, taken, arm)
    _compare_holes(result, table, taken, start_code)
    return result


def _compare_lines(
    result: Comparison, table: UnwindTable, functions: list[Function], arm: bool
) -> None:
    pcs: list[int] = []
    rules: list[tuple[Rule, bool]] = []
    for function in functions:
        lines = dict(function.lines)  # of several at one address the last
        for pc, rule in lines.items():
            if function.start <= pc < function.stop:
                pcs.append(pc)
                rules.append((rule, function.signal))
    result.lines = len(pcs)
    if not pcs:
        return
    if not len(table.rows):
        result.differences.append("no rows at all")
        return
    at = np.searchsorted(table.rows["pc"], np.array(pcs) - table.base, side="right") - 1
    found = table.rows[at].tolist()
    known: dict[tuple[Rule, bool], set[tuple[int, int, int]] | str] = {}
    for pc, key, (_, off, kind, rbp) in zip(pcs, rules, found, strict=True):
        wanted = known.get(key)
        if wanted is None:
            wanted = known[key] = expected(*key, arm)
        if isinstance(wanted, str):
            plain = kind in (Kind.RSP, Kind.RBP) and wanted != "expression"
            if plain or kind in (Kind.NONE, Kind.STOP, Kind.REG, Kind.RAREG):
                result.differences.append(f"{pc:x}: {key}, row {kind, off, rbp}")
            result.tolerated[f"{wanted}: {Kind(kind & 15).name}"] += 1
        elif (kind, off, rbp) not in wanted:
            result.differences.append(f"{pc:x}: {key}, row {kind, off, rbp}, not {wanted}")


def _compare_holes(
    result: Comparison, table: UnwindTable, functions: list[Function], known: list[tuple[int, int]]
) -> None:
    """No row that has a rule begins outside of the functions; wide holes begin with NONE.

    But for start files, which readelf knows nothing of (`unwind.crt`; unit tests of their own).
    """
    if not functions:
        return
    functions.sort(key=lambda function: function.start)
    starts = np.array([function.start for function in functions])
    stops = np.maximum.accumulate([function.stop for function in functions])
    rows = table.rows
    pcs = rows["pc"].astype(np.int64) + table.base
    at = np.searchsorted(starts, pcs, side="right") - 1
    outside = ~_inside(pcs, known)
    outside &= (at < 0) | (pcs >= stops[np.maximum(at, 0)])
    stray = outside & (rows["kind"] != Kind.NONE) & (rows["kind"] != Kind.SIGNAL)
    result.differences += [f"{pc:x}: a rule outside of functions" for pc in pcs[stray][:5]]
    wide = np.append(starts[1:] - stops[:-1] >= GAP, True) & ~_inside(stops, known)
    index = np.searchsorted(pcs, stops[wide], side="right") - 1
    ends = rows["kind"][index] == Kind.NONE
    result.differences += [f"{pc:x}: a hole with a rule" for pc in stops[wide][~ends][:5]]


def _start_code(image: ElfImage) -> list[tuple[int, int]]:
    names = (".init", ".fini", ".plt", ".iplt", ".plt.sec", ".plt.got")
    sections = filter(None, map(image.section, names))
    found = [(section.addr, section.addr + section.size) for section in sections]
    text = image.section(".text")
    match = text and crt.BEGIN.search(image.content(text))
    if text and match:
        found.append((text.addr + match.start() - 16, text.addr + match.end()))
    return found


def _inside(
    addresses: npt.NDArray[np.int64], ranges: list[tuple[int, int]]
) -> npt.NDArray[np.bool_]:
    inside = np.zeros(len(addresses), np.bool_)
    for first, last in ranges:
        inside |= (addresses >= first) & (addresses < last)
    return inside


def elf_files(folders: tuple[str, ...] = FOLDERS) -> Iterator[str]:
    """Every ELF file below the folders, each inode once."""
    seen: set[tuple[int, int]] = set()
    for folder in folders:
        for base, _, names in os.walk(folder):
            for name in sorted(names):
                path = Path(base, name)
                try:
                    status = path.stat()
                    key = status.st_dev, status.st_ino
                    if path.is_symlink() or key in seen or not path.is_file():
                        continue
                    with path.open("rb") as file:
                        if file.read(4) != b"\x7fELF" or path.suffix in (".o", ".a"):
                            continue
                except OSError:
                    continue
                seen.add(key)
                yield str(path)


def main() -> int:
    """Compare the files named, or all; a line for each that differs, then a summary."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("paths", nargs="*")
    parser.add_argument("--all", action="store_true")
    options = parser.parse_args()
    files = lines = functions = wrong = skipped = 0
    tolerated: Counter[str] = Counter()
    for path in elf_files() if options.all else options.paths:
        result = compare(path)
        if result is None:
            skipped += 1
            continue
        files += 1
        lines += result.lines
        functions += result.functions
        tolerated += result.tolerated
        if result.differences:
            wrong += 1
            print(f"{path}: {len(result.differences)} of {result.lines} lines differ")
            for difference in result.differences[:5]:
                print(f"    {difference}")
            sys.stdout.flush()
    print(f"{files} files, {functions} functions, {lines} lines; {wrong} files differ")
    print(f"{skipped} files not supported; rows that tell less: {dict(tolerated)}")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
