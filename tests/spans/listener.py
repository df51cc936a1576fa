"""A reader that is not ours: bpftrace, attached to all probes of a file while programs run."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

PROBES = ("enter", "exit", "exit_stack", "close", "awaits")
ENTERED = 1 << 63
LIMITS = {"BPFTRACE_STRLEN": "200", "BPFTRACE_PERF_RB_PAGES": "2048"}

_LINE = re.compile(
    r"@(?P<what>\w+) (?P<at>\d+) (?P<tgid>\d+) (?P<tid>\d+) (?P<span_id>\d+) "
    r"(?P<parent_id>\d+) (?P<id>\d+) (?P<amount>\d+) (?P<length>\d+) <(?P<text>.*?)>@",
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

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self.process = process
        self.fired: list[Fired] = []


def missing() -> str | None:
    """Why there is no such reader here, or None."""
    return None if shutil.which("bpftrace") else "bpftrace is not installed"


@contextlib.contextmanager
def listening(file: Path, probes: tuple[str, ...] = PROBES) -> Iterator[Listener]:
    """Attach to these probes of the file, in every process; detach at the end."""
    command = ["bpftrace", "-q", "-B", "line", "-e", _script(file, probes)]
    environ = {"PATH": "/usr/bin:/usr/sbin:/bin:/sbin", **LIMITS}
    # a file, not a pipe: it must never wait for us
    with tempfile.TemporaryFile("w+", errors="replace") as said:
        process = subprocess.Popen(command, stdout=said, stderr=subprocess.STDOUT, env=environ)
        heard = Listener(process)
        try:
            _wait_until_ready(process, said)
            yield heard
            assert process.poll() is None or process.returncode == -signal.SIGKILL, "it ended early"
        finally:
            process.send_signal(signal.SIGINT)
            process.wait(timeout=60)
        said.seek(0)
        text = said.read()
    assert "Lost" not in text, "bpftrace could not keep up"
    # each CPU has a buffer of its own, so what it prints is not in order
    in_order = sorted(_LINE.finditer(text), key=lambda match: int(match["at"]))
    heard.fired += map(_fired, in_order)


def _wait_until_ready(process: subprocess.Popen[bytes], said: IO[str]) -> None:
    until = time.monotonic() + 60
    while b"\nready\n" not in b"\n" + os.pread(said.fileno(), 4096, 0):
        assert process.poll() is None, os.pread(said.fileno(), 4096, 0)
        assert time.monotonic() < until, "bpftrace does not attach"
        time.sleep(0.02)


def _script(file: Path, probes: tuple[str, ...]) -> str:
    arguments = {
        "enter": "arg0, arg1, arg2, arg3, arg5, str(arg4)",
        "awaits": "arg0, 0, 0, 0, arg2, str(arg1)",
    }
    # the interval comes once all probes are attached
    ready = '{ if (@ready == 0) { @ready = 1; printf("ready\\n"); } }'
    lines = [f"interval:ms:50 {ready}", "END { clear(@ready); }"]
    for name in probes:
        values = arguments.get(name, 'arg0, 0, 0, 0, 0, ""')
        form = f"@{name} %lu %d %d %lu %lu %lu %lu %lu <%s>@\\n"
        action = f'printf("{form}", nsecs, pid, tid, {values});'
        lines.append(f"usdt:{file}:stacks_tracing:{name} {{ {action} }}")
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
