"""What the live screen costs and how soon it answers, beside `perf top` and `top` on the same load.

Run as root, on a quiet machine: `.venv/bin/python benchmarks/screen.py [SECONDS [RATE]]`. Each
program gets a terminal of 140x45; the load writes one byte at a time. Prints Markdown tables.
"""

from __future__ import annotations

import fcntl
import os
import pty
import re
import shutil
import signal
import statistics
import struct
import subprocess
import sys
import tempfile
import termios
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
START = [sys.executable, "-P", "-c", "from stacks_tui.cli.main import run; run()"]
TICK = os.sysconf("SC_CLK_TCK")
STOPPED_S = 10
ANSWERS: tuple[tuple[str, str, str], ...] = (
    ("?", "help opens", "You are here"),
    ("g", "groups open", "where it happens"),
    ("/", "filter opens", "!text"),
    ("f", "flame graph", "callees below"),
    ("c", "calls", "calls"),
)
"""Key, what it does, what is to be seen then."""


class Terminal:
    """A program in a terminal of its own; all that it draws is read."""

    def __init__(self, command: Sequence[str], folder: Path) -> None:
        self.pid, self._fd = pty.fork()
        if not self.pid:
            fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", 45, 140, 0, 0))
            os.chdir(folder)
            os.environ |= {"TERM": "xterm-256color", "COLORTERM": "truecolor"}
            os.execvp(command[0], list(command))
        self.drawn = 0
        """Bytes."""
        self._text = b""
        self._news = threading.Condition()
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        with suppress(OSError):
            while data := os.read(self._fd, 1 << 16):
                with self._news:
                    self.drawn += len(data)
                    self._text = (self._text + data)[-200_000:]
                    self._news.notify_all()

    def press(self, key: str) -> None:
        """As a person does."""
        os.write(self._fd, key.encode())

    def until(self, seen: str, timeout_s: float = 60.0) -> float:
        """Seconds until this is drawn, from now on."""
        began = time.monotonic()
        pattern = re.compile(re.escape(seen).encode())
        with self._news:
            while not pattern.search(self._text):
                left = began + timeout_s - time.monotonic()
                if left <= 0 or not self._news.wait(left):
                    raise SystemExit(f"no {seen!r} within {timeout_s:.0f} s")
        return time.monotonic() - began

    def forget(self) -> None:
        """What is drawn from now on is news."""
        with self._news:
            self._text = b""

    def children(self) -> list[int]:
        """Processes that it started."""
        found = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        return [int(pid) for pid in found]

    def close(self, key: str = "q") -> None:
        """End it as a person would; by force if it does not."""
        with suppress(OSError):
            self.press(key)
        for _ in range(300):
            if os.waitpid(self.pid, os.WNOHANG) != (0, 0):
                break
            time.sleep(0.1)
        else:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        os.close(self._fd)


@dataclass(frozen=True)
class Cost:
    """Over one run."""

    share: float
    """Of a core."""
    bytes_per_second: float
    """Drawn."""


def cpu_s(pid: int) -> float:
    """User and system time of all threads of a process."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / TICK


def cost(terminal: Terminal, pids: Sequence[int], seconds: float) -> list[Cost]:
    """What these processes take for so long; bytes are those of the terminal."""
    before, drawn, began = [cpu_s(pid) for pid in pids], terminal.drawn, time.monotonic()
    time.sleep(seconds)
    took = time.monotonic() - began
    flow = (terminal.drawn - drawn) / took
    return [Cost((cpu_s(pid) - was) / took, flow) for pid, was in zip(pids, before, strict=True)]


@contextmanager
def load(rate: int, folder: Path) -> Iterator[int]:
    """The load, its pid."""
    program = folder / "screen-load"
    subprocess.run(["gcc", "-O1", "-g", "-o", program, HERE / "screen.c"], check=True)
    process = subprocess.Popen([program, str(rate)])
    try:
        yield process.pid
    finally:
        process.kill()
        process.wait()


@contextmanager
def screen(pid: int, folder: Path) -> Iterator[Terminal]:
    """The live screen on this process, once it shows events."""
    programs = "profile:u:99,rss:u:29,switch:uk,vfs:u"
    options = ["-p", programs, "-d", str(folder / "rec"), "--pid", str(pid)]
    terminal = Terminal([*START, *options], folder)
    terminal.until("live")
    time.sleep(5)
    try:
        yield terminal
    finally:
        terminal.close()


def kept(folder: Path) -> tuple[int, int]:
    """Of the recording: events received, and lost."""
    from stacks_tui.store.reader import open_recording

    with open_recording(folder / "rec") as recording:
        assert recording.manifest is not None
        kinds = recording.manifest.status.kinds.values()
        return sum(kind.received for kind in kinds), sum(kind.lost for kind in kinds)


def row(name: str, found: Cost) -> None:
    """One line of the table of costs."""
    print(f"| {name} | {found.share:.1%} | {found.bytes_per_second / 1024:.1f} kB/s |", flush=True)


def answers(terminal: Terminal, seconds: float) -> list[float]:
    """Seconds from a key to what it shows, all keys in turn, for so long."""
    found = []
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        for key, _, seen in ANSWERS:
            terminal.forget()
            terminal.press(key)
            found.append(terminal.until(seen))
            time.sleep(0.3)
            terminal.press("s" if key in "fc" else "\x1b")
            time.sleep(0.5)
    return found


def main(seconds: float, rate: int) -> None:
    """All of it."""
    waits: list[float] = []
    print("| in a terminal of 140x45 | of a core | drawn |")
    print("|---|---|---|")
    with tempfile.TemporaryDirectory(dir="/var/tmp") as scratch:
        folder = Path(scratch)
        with load(rate, folder) as pid:
            began = time.monotonic()
            with screen(pid, folder) as terminal:
                (collector,) = terminal.children()
                ui, collecting = cost(terminal, [terminal.pid, collector], seconds)
                waits = answers(terminal, seconds / 3)
                os.kill(terminal.pid, signal.SIGSTOP)
                time.sleep(STOPPED_S)
                os.kill(terminal.pid, signal.SIGCONT)
                time.sleep(1)
                took = time.monotonic() - began
            events, lost = kept(folder)
            row(f"stacks-tui, its screen, at {events / took / 1000:.0f}k events/s", ui)
            row("its collector, the same run", collecting)
            for name, command in _others(pid):
                terminal = Terminal(command, folder)
                time.sleep(5)
                (found,) = cost(terminal, [terminal.pid], seconds)
                terminal.close()
                row(name, found)
    with tempfile.TemporaryDirectory(dir="/var/tmp") as scratch:
        folder = Path(scratch)
        with load(0, folder) as pid, screen(pid, folder) as terminal:
            (collector,) = terminal.children()
            for name, found in zip(
                ("its screen, nothing happens", "its collector, nothing happens"),
                cost(terminal, [terminal.pid, collector], seconds),
                strict=True,
            ):
                row(name, found)
    waits.sort()
    print("\n| from a key to what it shows | keys | median | 95 % | longest |")
    print("|---|---|---|---|---|")
    tail = waits[int(0.95 * (len(waits) - 1))]
    shown = [f"{one * 1000:.0f} ms" for one in (statistics.median(waits), tail, waits[-1])]
    print(f"| at that rate | {len(waits)} | {' | '.join(shown)} |")
    print(f"\nWith the screen stopped (SIGSTOP) for {STOPPED_S} s: {events:,} events, {lost} lost.")


def _others(pid: int) -> Iterator[tuple[str, list[str]]]:
    if shutil.which("perf"):
        on = ["-p", str(pid)]
        yield "perf top, 99 Hz", ["perf", "top", "-e", "cpu-clock", "-F", "99", *on]
        exits = ["-e", "syscalls:sys_exit_write", "-c", "1"]
        yield "perf top, every write's exit", ["perf", "top", *exits, *on]
    if shutil.which("top"):
        yield "top", ["top", "-d", "0.5"]


if __name__ == "__main__":
    if os.geteuid() != 0:
        raise SystemExit("run as root: it records")
    main(
        float(sys.argv[1]) if len(sys.argv) > 1 else 60.0,
        int(sys.argv[2]) if len(sys.argv) > 2 else 100_000,
    )
