"""What can be had from one running process: its executable mappings, each with its build id."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from stacks_tui import text
from stacks_tui.capture import procfs
from stacks_tui.capture.targets import check_pid
from stacks_tui.spaces import Mapping


@dataclass(frozen=True, slots=True)
class ProcessReport:
    """A process as it is now."""

    pid: int
    comm: str
    exe: str | None
    mappings: tuple[Mapping, ...]
    """Executable ones only."""


def describe(pid: int) -> ProcessReport:
    """Look at a process.

    Raises:
        UsageError: no such process, or it is a thread.
    """
    check_pid(pid)
    return ProcessReport(pid, procfs.comm(pid) or "", procfs.exe(pid), procfs.mappings(pid))


def process_text(report: ProcessReport) -> str:
    """A line for each mapping."""
    exe = f", {text.printable(report.exe)}" if report.exe else ""
    lines = [f"process {report.pid} ({text.printable(report.comm)}{exe})"]
    for one in report.mappings:
        buildid = one.buildid.hex() if one.buildid else "no build id"
        size = text.size(one.end - one.start)
        lines.append(f"  {one.start:#014x}  {size:>9}  {text.printable(one.path)}  {buildid}")
    if not report.mappings:
        lines.append("  no code of its own: a kernel thread, or it has just ended")
    return "\n".join(lines) + "\n"


def process_object(report: ProcessReport) -> dict[str, Any]:
    """The same as JSON holds it."""
    return {
        "pid": report.pid,
        "comm": text.valid(report.comm),
        "exe": report.exe and text.valid(report.exe),
        "mappings": [
            {
                "start": one.start,
                "end": one.end,
                "path": text.valid(one.path),
                "buildid": one.buildid.hex() if one.buildid else None,
            }
            for one in report.mappings
        ],
    }
