"""A reader that is not ours: bpftrace, attached to all probes of a file while programs run."""

from __future__ import annotations

import contextlib
import re
import shutil
import signal
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

PROBES = ("enter", "exit", "exit_stack", "close", "awaits")
ENTERED = 1 << 63

_LINE = re.compile(
    r"@(?P<what>\w+) (?P<tgid>\d+) (?P<tid>\d+) (?P<span_id>\d+) (?P<parent_id>\d+) (?P<id>\d+) "
    r"(?P<amount>\d+) (?P<length>\d+) <(?P<text>.*?)>@",
    re.DOTALL,
)


@dataclass(frozen=True)
class Fired:
    """One hit of a probe; what the probe does not have is 0 or ''."""

    what: str
    tgid: int
    tid: int
    span_id: int
    parent_id: int
    id: int
    amount: int
    length: int
    """Of an enter the name's, bit 63 not counted; of awaits the text's."""
    text: str
    """The name, or the awaits, as far as the reader reads (200 bytes)."""
    again: bool
    """Bit 63 of an enter's length."""


class Listener:
    """What was heard: `fired` after the listener has ended."""

    def __init__(self) -> None:
        self.fired: list[Fired] = []


def missing() -> str | None:
    """Why there is no such reader here, or None."""
    return None if shutil.which("bpftrace") else "bpftrace is not installed"


@contextlib.contextmanager
def listening(file: Path, probes: tuple[str, ...] = PROBES) -> Iterator[Listener]:
    """Attach to these probes of the file, in every process; detach at the end."""
    heard = Listener()
    command = ["bpftrace", "-q", "-B", "line", "-e", _script(file, probes)]
    environ = {"PATH": "/usr/bin:/usr/sbin:/bin:/sbin", "BPFTRACE_STRLEN": "200"}
    process = subprocess.Popen(
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environ,
        text=True,
        errors="replace",
    )
    assert process.stdout is not None
    try:
        first = process.stdout.readline()
        assert first == "ready\n", (first, process.communicate()[1])
        yield heard
    finally:
        process.send_signal(signal.SIGINT)
        said, _ = process.communicate(timeout=60)
    heard.fired += [_fired(match) for match in _LINE.finditer(said)]


def _script(file: Path, probes: tuple[str, ...]) -> str:
    arguments = {
        "enter": "arg0, arg1, arg2, arg3, arg5, str(arg4)",
        "awaits": "arg0, 0, 0, 0, arg2, str(arg1)",
    }
    # the interval comes once all probes are attached
    lines = [
        'interval:ms:50 { if (@ready == 0) { @ready = 1; printf("ready\\n"); } }',
        "END { clear(@ready); }",
    ]
    for name in probes:
        values = arguments.get(name, 'arg0, 0, 0, 0, 0, ""')
        lines.append(
            f"usdt:{file}:stacks_tracing:{name} "
            f'{{ printf("@{name} %d %d %lu %lu %lu %lu %lu <%s>@\\n", pid, tid, {values}); }}'
        )
    return "\n".join(lines)


def _fired(match: re.Match[str]) -> Fired:
    length = int(match["length"])
    number = {
        key: int(match[key]) for key in ("tgid", "tid", "span_id", "parent_id", "id", "amount")
    }
    return Fired(
        what=match["what"],
        length=length & ~ENTERED,
        text=match["text"],
        again=length >= ENTERED,
        **number,
    )
