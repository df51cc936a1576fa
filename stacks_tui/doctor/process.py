"""What can be had from one running process: its executable mappings, and how each is unwound."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from stacks_tui import text
from stacks_tui.capture import procfs
from stacks_tui.capture.targets import check_pid
from stacks_tui.session.follower import open_module
from stacks_tui.spaces import make_space
from stacks_tui.unwind import describe as unwind
from stacks_tui.unwind.modules import State

_WORDS = {
    State.ROWS: "unwind table",
    State.FRAME_POINTERS: "frame pointers",
    State.UNREADABLE: "can't be read",
    State.UNSUPPORTED: "not supported",
}


@dataclass(frozen=True, slots=True)
class ProcessReport:
    """A process as it is now."""

    pid: int
    comm: str
    exe: str | None
    mappings: tuple[unwind.MappingReport, ...]
    """Executable ones only, by address."""


def describe(pid: int) -> ProcessReport:
    """Look at a process; the unwind tables of its files are parsed anew.

    Raises:
        UsageError: no such process, or it is a thread.
    """
    check_pid(pid)
    space = make_space(pid, 0, list(procfs.mappings(pid)))
    reports = tuple(unwind.describe(space, open_module))
    return ProcessReport(pid, procfs.comm(pid) or "", procfs.exe(pid), reports)


def process_text(report: ProcessReport) -> str:
    """A line for each mapping, and one that says what to expect."""
    exe = f", {text.printable(report.exe)}" if report.exe else ""
    lines = [f"process {report.pid} ({text.printable(report.comm)}{exe})"]
    for one in report.mappings:
        size = text.size(one.mapping.end - one.mapping.start)
        path = text.printable(one.mapping.path or "[anonymous]")
        lines.append(f"  {one.mapping.start:#014x}  {size:>9}  {path}  {_says(one)}")
    if not report.mappings:
        lines.append("  no code of its own can be seen: a kernel thread, or one that has ended")
    return "\n".join(lines) + "\n"


def _says(one: unwind.MappingReport) -> str:
    words = _WORDS.get(one.state, one.state.value)
    if one.state is not State.ROWS:
        why = one.source.removeprefix("none").removeprefix(": ")
        return f"{words}: {text.printable(why)}" if why else words
    covered = text.percent(one.ruled_bytes / one.code_bytes) if one.code_bytes else "0.0 %"
    return f"{words}: {one.source}, {text.count(one.rows)} rows, {covered} of its code"


def process_object(report: ProcessReport) -> dict[str, Any]:
    """The same as JSON holds it."""
    return {
        "pid": report.pid,
        "comm": text.valid(report.comm),
        "exe": report.exe and text.valid(report.exe),
        "mappings": [
            {
                "start": one.mapping.start,
                "end": one.mapping.end,
                "path": text.valid(one.mapping.path),
                "buildid": one.mapping.buildid.hex() if one.mapping.buildid else None,
                "unwinding": one.state.value,
                "source": text.valid(one.source),
                "rows": one.rows,
                "code_bytes": one.code_bytes,
                "ruled_bytes": one.ruled_bytes,
            }
            for one in report.mappings
        ],
    }
