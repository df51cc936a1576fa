"""Source lines of addresses by the tools that are installed: one process for all of a file.

Comes in: an open ELF file and addresses in order. Goes out: for each address its lines, innermost
first. llvm-symbolizer is preferred, then addr2line; without both pyelftools tells lines alone.
Tools run as the invoking user and never ask a server.
"""

from __future__ import annotations

import bisect
import json
import os
import re
import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from stacks_tui import text
from stacks_tui.export.model import Line
from stacks_tui.owner import User
from stacks_tui.symbols.demangle import demangle

Lines = tuple[Line, ...]
"""Innermost first; empty: nothing is known."""
Step = Callable[[], None]

_NEWEST_LLVM = 30
_OLDEST_LLVM = 13
"""The first whose output has the form asked for."""
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_POSITION = re.compile(r"(.*):(\d+|\?)(?: \(discriminator \d+\))?", re.DOTALL)
_WAIT_S = 0.2


@dataclass(frozen=True, slots=True)
class Symbolizer:
    """Something that knows source lines."""

    name: str
    """For the person."""
    inlined: bool
    """Whether it knows inlined calls."""
    look_up: Callable[[int, Sequence[int], User, Step], list[Lines]]
    """(descriptor of the file, addresses in order, whom to run as, called now and then)"""


def find_symbolizer() -> Symbolizer:
    """The best one of this machine."""
    for name in ("llvm-symbolizer", *(f"llvm-symbolizer-{v}" for v in _versions())):
        path = shutil.which(name, path=_PATH)
        if path is not None:
            return Symbolizer(name, True, _llvm(path))
    path = shutil.which("addr2line", path=_PATH)
    if path is not None:
        return Symbolizer("addr2line", True, _addr2line(path))
    return Symbolizer("pyelftools", False, _pyelftools)


def _versions() -> list[int]:
    return list(range(_NEWEST_LLVM, _OLDEST_LLVM - 1, -1))


def _llvm(path: str) -> Callable[[int, Sequence[int], User, Step], list[Lines]]:
    def look_up(fd: int, addresses: Sequence[int], user: User, step: Step) -> list[Lines]:
        command = [
            path,
            f"--obj=/proc/self/fd/{fd}",
            *("--output-style=JSON", "--inlines", "--no-demangle", "--functions=linkage"),
        ]
        out = _run(command, fd, addresses, user, step)
        found = [_from_json(line) for line in out.splitlines()]
        return found if len(found) == len(addresses) else []

    return look_up


def _from_json(line: str) -> Lines:
    try:
        answer = json.loads(line)
        symbols = answer.get("Symbol") or []
        made = [_from_symbol(symbol) for symbol in symbols]
    except (ValueError, TypeError, AttributeError):
        return ()
    return tuple(made) if any(one.line for one in made) else ()


def _from_symbol(symbol: dict[str, Any]) -> Line:
    return _line(
        str(symbol.get("FunctionName") or ""),
        str(symbol.get("FileName") or ""),
        int(symbol.get("Line") or 0),
        int(symbol.get("StartLine") or 0),
    )


def _addr2line(path: str) -> Callable[[int, Sequence[int], User, Step], list[Lines]]:
    def look_up(fd: int, addresses: Sequence[int], user: User, step: Step) -> list[Lines]:
        command = [path, "-a", "-f", "-i", "-e", f"/proc/self/fd/{fd}"]
        return _from_pairs(_run(command, fd, addresses, user, step), addresses)

    return look_up


def _from_pairs(out: str, addresses: Sequence[int]) -> list[Lines]:
    """An address, then pairs of function and position; the addresses come as they were asked."""
    words = out.split("\n")
    found: list[Lines] = []
    at = 0
    for address in addresses:
        if at >= len(words) or not _is_address(words[at], address):
            return []
        at += 1
        made: list[Line] = []
        following = addresses[len(found) + 1] if len(found) + 1 < len(addresses) else None
        while at + 1 < len(words) and not _is_address(words[at], following):
            position = _POSITION.fullmatch(words[at + 1])
            file, number = (position[1], position[2]) if position else ("", "?")
            made.append(_line(words[at], file, int(number) if number != "?" else 0, 0))
            at += 2
        if len(made) > 1 and made[0].linkage_name == made[-1].linkage_name:
            # where inlined code begins, it names the symbol there instead of the inlined function
            made[0] = replace(made[0], name="", linkage_name="")
        found.append(tuple(made) if any(one.line for one in made) else ())
    return found


def _is_address(word: str, address: int | None) -> bool:
    return address is not None and word.startswith("0x") and word[2:].lstrip("0") == f"{address:x}"


def _line(name: str, file: str, line: int, start: int) -> Line:
    mangled = "" if name in ("??", "") else text.valid(name)
    shown = demangle(os.fsencode(name)) if mangled else ""
    known = None if file in ("", "??") else text.valid(file)
    return Line(shown, known, line, start, mangled)


def _run(command: list[str], fd: int, addresses: Sequence[int], user: User, step: Step) -> str:
    """What the tool answers; empty where it can't be started."""
    asked = "".join(f"{address:#x}\n" for address in addresses)
    identity: dict[str, Any] = {}
    if os.geteuid() == 0 and user.uid != 0:
        groups = os.getgrouplist(user.name, user.gid)
        identity = {"user": user.uid, "group": user.gid, "extra_groups": groups}
    try:
        process = subprocess.Popen(
            command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            pass_fds=(fd,),
            cwd="/",
            # no DEBUGINFOD_URLS: these tools would ask the servers by themselves
            env={"PATH": _PATH, "LC_ALL": "C.UTF-8", "HOME": str(user.home)},
            **identity,
        )
    except OSError:
        return ""
    try:
        given: bytes | None = asked.encode()
        while True:
            try:
                out, _ = process.communicate(given, timeout=_WAIT_S)
                return str(out, "utf-8", "surrogateescape")
            except subprocess.TimeoutExpired:
                given = None
                step()
    except BaseException:
        process.kill()
        process.communicate()
        raise


def _pyelftools(fd: int, addresses: Sequence[int], user: User, step: Step) -> list[Lines]:
    """Lines alone, a compilation unit at a time."""
    from elftools.common.exceptions import DWARFError, ELFError
    from elftools.elf.elffile import ELFFile

    found: list[Lines] = [()] * len(addresses)
    try:
        with open(fd, "rb", closefd=False) as file:
            file.seek(0)
            dwarf = ELFFile(file).get_dwarf_info()
            ranges = dwarf.get_aranges()
            if ranges is None:
                return []
            units: dict[int, list[int]] = {}
            for at, address in enumerate(addresses):
                offset = ranges.cu_offset_at_addr(address)
                if offset is not None:
                    units.setdefault(offset, []).append(at)
            for offset, wanted in units.items():
                step()
                rows = _line_rows(dwarf, dwarf.get_CU_at(offset))
                starts = [row[0] for row in rows]
                for at in wanted:
                    row = rows[bisect.bisect_right(starts, addresses[at]) - 1] if rows else None
                    if row is not None and row[0] <= addresses[at] and row[2]:
                        found[at] = (_line("", row[1], row[2], 0),)
    except (ELFError, DWARFError, OSError, ValueError, KeyError, IndexError, AttributeError):
        return found
    return found


def _line_rows(dwarf: Any, unit: Any) -> list[tuple[int, str, int]]:
    """(address, file, line; 0: a gap begins) in the order of addresses."""
    program = dwarf.line_program_for_CU(unit)
    if program is None:
        return []
    version = program["version"]
    files, folders = program["file_entry"], program["include_directory"]

    def name(index: int) -> str:
        entry = files[index if version >= 5 else index - 1]
        folder = entry.dir_index if version >= 5 else entry.dir_index - 1
        parts = [folders[folder]] if 0 <= folder < len(folders) else []
        joined = b"/".join([*parts, entry.name])
        if not joined.startswith(b"/"):
            home = unit.get_top_DIE().attributes.get("DW_AT_comp_dir")
            joined = home.value + b"/" + joined if home is not None else joined
        return os.fsdecode(joined)

    rows = []
    for entry in program.get_entries():
        state = entry.state
        if state is not None:
            line = 0 if state.end_sequence else state.line
            rows.append((state.address, name(state.file) if line else "", line))
    rows.sort(key=lambda row: (row[0], row[2] > 0))
    return rows
