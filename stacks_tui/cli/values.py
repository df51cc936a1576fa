"""Types of option values: each parses one text, names what is wrong with it, and completes."""

from __future__ import annotations

import mmap
import re
from pathlib import Path
from typing import Any

import click
from click.shell_completion import CompletionItem

from stacks_tui import kinds
from stacks_tui.session.options import MAX_RING_BYTES

_SECONDS = {"": 1.0, "ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_BYTES = {"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}
_PROC = Path("/proc")


class Programs(click.ParamType):
    """The text of `-p`, as parsed entries."""

    name = "programs"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[kinds.ProgramSpec, ...]:
        """Raises UsageError: the parser's own words name the option."""
        return value if isinstance(value, tuple) else kinds.parse_programs(value)

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """The names that can follow the last comma."""
        done, comma, last = incomplete.rpartition(",")
        used = {entry.partition(":")[0] for entry in done.split(",")}
        return [
            CompletionItem(f"{done}{comma}{program.name}", help=program.answers)
            for program in kinds.PROGRAMS
            if program.name.startswith(last) and program.name not in used
        ]


class Duration(click.ParamType):
    """`10`, `10s`, `2m`, `1.5h`, `500ms`: seconds, more than none."""

    name = "time"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> float:
        """Raises click.BadParameter for anything else."""
        if isinstance(value, float):
            return value
        match = re.fullmatch(r"([0-9]{1,9}(?:\.[0-9]{1,9})?)(ms|s|m|h|)", value, re.ASCII)
        seconds = float(match[1]) * _SECONDS[match[2]] if match else 0.0
        if seconds <= 0:
            self.fail(f"{value!r} is not a time; write 10, 10s, 500ms, 2m or 1h.", param, ctx)
        return seconds


class Count(click.ParamType):
    """A whole number from 1 to a highest."""

    name = "number"

    def __init__(self, highest: int) -> None:
        self._highest = highest

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Raises click.BadParameter for anything else."""
        digits = str(value)
        fits = re.fullmatch(r"[0-9]{1,18}", digits, re.ASCII)
        if not fits or not 1 <= int(digits) <= self._highest:
            span = f"1 to {self._highest:,}"
            self.fail(f"{digits!r} is not a whole number from {span}.", param, ctx)
        return int(digits)


class RingBytes(click.ParamType):
    """`64K`, `16M`: a power of two from one page to 1 GiB, as the kernel's ring buffers need it."""

    name = "size"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> int:
        """Raises click.BadParameter for anything else, naming the next size that can be had."""
        if isinstance(value, int):
            return value
        pattern = r"([0-9]{1,12})(?:([kmg])(?:i?b)?|b)?"
        match = re.fullmatch(pattern, value, re.ASCII | re.IGNORECASE)
        if not match:
            self.fail(f"{value!r} is not a size; write 65536, 64K or 16M.", param, ctx)
        size = int(match[1]) * _BYTES[(match[2] or "").lower()]
        if not mmap.PAGESIZE <= size <= MAX_RING_BYTES:
            span = f"{_short(mmap.PAGESIZE)} to {_short(MAX_RING_BYTES)}"
            self.fail(f"{value!r} is out of range; a ring has {span}.", param, ctx)
        if size & (size - 1):
            above = 1 << size.bit_length()
            near = [one for one in (above >> 1, above) if one <= MAX_RING_BYTES]
            hint = " or ".join(map(_short, near))
            self.fail(f"{value!r} is not a power of two; the nearest: {hint}.", param, ctx)
        return size


def _short(size: int) -> str:
    for letter, factor in (("G", 1 << 30), ("M", 1 << 20), ("K", 1 << 10)):
        if size % factor == 0:
            return f"{size // factor}{letter}"
    return str(size)


class Pids(click.ParamType):
    """`1234` or `1234,5678`."""

    name = "pid"

    def convert(
        self, value: Any, param: click.Parameter | None, ctx: click.Context | None
    ) -> tuple[int, ...]:
        """Raises click.BadParameter for what can't be process ids."""
        if isinstance(value, tuple):
            return value
        found = []
        for part in value.split(","):
            number = part.strip()
            if not re.fullmatch(r"0*[1-9][0-9]{0,8}", number, re.ASCII):
                what = f"{number!r} is not a process id; write a number, or several: 12,34."
                self.fail(what, param, ctx)
            found.append(int(number))
        return tuple(found)

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """The processes that run, each with its name."""
        done, comma, last = incomplete.rpartition(",")
        return [
            CompletionItem(f"{done}{comma}{pid}", help=comm)
            for pid, comm in _running()
            if pid.startswith(last)
        ]


class Comm(click.ParamType):
    """The name of a process or thread."""

    name = "command"

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> str:
        """Raises click.BadParameter for no name, or for a path."""
        text = str(value)
        if not text.strip():
            self.fail("'' can't be the name of a process; give a name, such as nginx.", param, ctx)
        if text.startswith(("/", "./", "../")):
            name = Path(text).name
            what = (
                f"{text!r} is a path, and processes are found by name; "
                f"give {name!r}, or launch it: -- {text}"
            )
            self.fail(what, param, ctx)
        return text

    def shell_complete(
        self, ctx: click.Context, param: click.Parameter, incomplete: str
    ) -> list[CompletionItem]:
        """The names that run now."""
        names = {comm for _, comm in _running()}
        return [CompletionItem(name) for name in sorted(names) if name.startswith(incomplete)]


def _running() -> list[tuple[str, str]]:
    """Pid and name of each process, without those whose name a shell could stumble over."""
    found = []
    for folder in _PROC.iterdir():
        if not folder.name.isdigit():
            continue
        try:
            comm = (folder / "comm").read_text("utf-8", "surrogateescape").removesuffix("\n")
        except OSError:
            continue  # it has ended
        if re.fullmatch(r"[\w./:@+-]+", comm, re.ASCII):
            found.append((folder.name, comm))
    return found
