"""The one table of programs and kinds: names, codes, units, defaults; and the `-p` grammar.

Comes in: the text of `-p`. Goes out: `ProgramSpec` values. The BPF side's `bpf/event.h` repeats the
codes; a contract test holds the two together.
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass
from enum import IntEnum

from stacks_tui.errors import UsageError


class Kind(IntEnum):
    """Code of a kind in an event record (u8). Values are never reused."""

    PROFILE = 1
    SWITCH = 2
    WAIT = 3
    RSS = 4
    BLK_READ = 5
    BLK_WRITE = 6
    VFS_READ = 7
    VFS_WRITE = 8
    TCP_SEND = 9
    TCP_RECV = 10
    UDP_SEND = 11
    UDP_RECV = 12
    TRACE_EXIT = 13
    TRACE_CLOSE = 14

    @property
    def label(self) -> str:
        """The name stored in the `kind` column."""
        return self.name.lower()


@dataclass(frozen=True, slots=True)
class Program:
    """One program of `-p`: what it stores and what its optional number means."""

    name: str
    kinds: tuple[Kind, ...]
    answers: str
    """One line for help and documentation."""
    number: str | None = None
    """Name of the third field of the specification, with its unit; None: it takes none."""
    default: int = 0
    maximum: int = 0
    path: bool = False
    """It may have a file's path before the letters (`usdt:PATH:uk`)."""


PROGRAMS: tuple[Program, ...] = (
    Program("profile", (Kind.PROFILE,), "where CPU time is spent (samples)", "Hz", 99, 10_000),
    Program(
        "switch",
        (Kind.SWITCH, Kind.WAIT),
        "when and why threads leave the CPU, how long they wait, and who wakes them",
        "min ns",
        0,
        10**12,
    ),
    Program("rss", (Kind.RSS,), "growth and shrinkage of resident memory", "pages", 29, 1 << 20),
    Program("block", (Kind.BLK_READ, Kind.BLK_WRITE), "block device reads and writes"),
    Program("vfs", (Kind.VFS_READ, Kind.VFS_WRITE), "reads and writes by system call"),
    Program(
        "net",
        (Kind.TCP_SEND, Kind.TCP_RECV, Kind.UDP_SEND, Kind.UDP_RECV),
        "bytes sent and received on TCP and UDP sockets",
    ),
    Program(
        "usdt",
        (Kind.TRACE_EXIT, Kind.TRACE_CLOSE),
        "spans that programs mark; every other event bears the span in which it happened",
        path=True,
    ),
)
"""In the order of the screen's keys."""

PROGRAM_BY_NAME = {program.name: program for program in PROGRAMS}
PROGRAM_OF_KIND = {kind: program.name for program in PROGRAMS for kind in program.kinds}

DEFAULT_PROGRAMS = "profile:u:99,rss:u:29,switch:uk"


_COMMA = "\\,"
"""A comma that belongs to a path."""


@dataclass(frozen=True, slots=True)
class ProgramSpec:
    """One parsed entry of `-p`."""

    program: str
    user: bool = False
    kernel: bool = False
    number: int = 0
    path: str = ""
    """usdt: of the only file whose probes are meant; empty: of all that the targets map."""

    def __str__(self) -> str:
        """The entry in the grammar of `-p`."""
        letters = "u" * self.user + "k" * self.kernel
        if self.path:
            return f"{self.program}:{self.path.replace(',', _COMMA)}:{letters}"
        shown = PROGRAM_BY_NAME[self.program].number is not None
        parts = [self.program, letters, str(self.number)] if shown else [self.program, letters]
        return ":".join(parts).rstrip(":")


def parse_program(text: str) -> ProgramSpec:
    """Parse one entry, such as `profile:uk:99`, `block`, `vfs:u` or `usdt:/usr/bin/app:u`.

    Raises:
        UsageError: unknown program, letters other than `u` and `k`, a bad number or path.
    """
    name, *fields = text.strip().split(":")
    program = PROGRAM_BY_NAME.get(name)
    if program is None:
        near = difflib.get_close_matches(name, PROGRAM_BY_NAME, 1, 0.4)
        hint = f"did you mean {near[0]!r}? " if near else ""
        raise UsageError(
            f"unknown program {name!r} in -p; {hint}programs are: {', '.join(PROGRAM_BY_NAME)}."
        )
    path = ""
    if program.path and fields and not _are_letters(fields[0]):
        # The last colon ends a path where letters, or nothing, follow it.
        last = fields.pop() if len(fields) > 1 and _are_letters(fields[-1]) else ""
        path, fields = _path(":".join(fields), text), [last]
    if len(fields) > (2 if program.number else 1):
        raise UsageError(f"too many fields in -p entry {text!r}; expected {grammar(program)}.")
    letters = fields[0] if fields else ""
    if set(letters) - {"u", "k"} or len(set(letters)) != len(letters):
        raise UsageError(
            f"bad stack letters {letters!r} in -p entry {text!r}; "
            "use u (user stack), k (kernel stack), both or none."
        )
    number = program.default
    if len(fields) > 1 and fields[1]:
        if not (fields[1].isascii() and fields[1].isdigit()):
            raise UsageError(
                f"bad number {fields[1]!r} in -p entry {text!r}; expected {grammar(program)}."
            )
        number = int(fields[1])
        lowest = 0 if program.name == "switch" else 1
        if not lowest <= number <= program.maximum:
            raise UsageError(
                f"number {number} in -p entry {text!r} is out of range; "
                f"{program.number} goes from {lowest} to {program.maximum}."
            )
    return ProgramSpec(name, "u" in letters, "k" in letters, number, path)


def _are_letters(field: str) -> bool:
    return field in ("", "u", "k", "uk", "ku")


def _path(field: str, text: str) -> str:
    path = field.replace(_COMMA, ",")
    if "/" not in path or "\0" in path:
        raise UsageError(
            f"{field!r} in -p entry {text!r} is neither stack letters (u, k, uk) nor a path; "
            "a path has a slash in it, such as ./app."
        )
    return path


def parse_programs(text: str) -> tuple[ProgramSpec, ...]:
    """Parse the whole text of `-p`: entries with commas between, each program once.

    A comma in a path is written `\\,`; a colon needs nothing.

    Raises:
        UsageError: as `parse_program`, or a program named twice, or nothing named.
    """
    parts = re.split(r"(?<!\\),", text)
    specs = tuple(parse_program(part) for part in parts if part.strip())
    if not specs:
        raise UsageError("no program in -p; for example: -p profile:uk:99,switch:uk")
    names = [spec.program for spec in specs]
    for name in names:
        if names.count(name) > 1:
            raise UsageError(f"program {name!r} is named twice in -p; name it once.")
    return specs


def grammar(program: Program) -> str:
    """The form of a program's entry in `-p`, for help and messages."""
    letters = f"{program.name}[:PATH][:uk" if program.path else f"{program.name}[:uk"
    if not program.number:
        return f"{letters}]"
    return f"{letters}[:{program.number.upper().replace(' ', '_')}]]"
