"""What the live screen costs, how soon it opens and answers, beside `perf top` and `top`.

Run as root, on a quiet machine: `.venv/bin/python benchmarks/screen.py [PART…] [--seconds N]`. The
parts are `cost`, `stopped`, `keys` and `start`; none named: all. Each program gets a terminal of
its own; the load writes one byte at a time. Prints Markdown tables.
"""

from __future__ import annotations

import argparse
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
NARROW, WIDE = (80, 24), (140, 45)
ESCAPE = "\x1b"
KEYS: tuple[tuple[str, str, str, str], ...] = (
    ("?", "help", "You are here", ESCAPE),
    ("/", "filter", "!text", ESCAPE),
    ("f", "flame graph", "callees below", "s"),
    ("c", "calls", "calls", "s"),
    ("o", "processes", "processes", "s"),
    ("d", "distribution", "below", "s"),
    ("t", "timeline", "brush", "s"),
    ("l", "ledger of spans", "busy", "sx1"),
    ("g", "groups", "where it happens", ESCAPE),
    ("x", "tabs to choose", "what is measured", ESCAPE),
    ("\t", "next tab", "blocked", "\x1b[Z"),
    ("w", "longer window", "last 1 min", "W"),
    (":", "SQL prompt", "tab completes", ESCAPE),
    ("e", "export", "export what is shown", ESCAPE),
    ("M", "compare", "first half", ESCAPE),
    ("a", "picker", "what to record", ESCAPE),
    ("L", "log", "copy", ESCAPE),
    ("\x10", "palette", "earch", ESCAPE),
    ("\x14", "next theme", "theme", "\x14\x14\x14"),
    (" ", "pause", "paused", " "),
)
"""Key, what it does, what is to be seen then, and what goes back."""


class Terminal:
    """A program in a terminal of its own; all that it draws is read."""

    def __init__(self, command: Sequence[str], folder: Path, size: tuple[int, int] = WIDE) -> None:
        self.pid, self._fd = pty.fork()
        if not self.pid:
            width, height = size
            fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))
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


def fine_cpu_ms(pid: int) -> float:
    """The same of the threads that are there, to the ns; in ms."""
    tasks = Path(f"/proc/{pid}/task").iterdir()
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks) / 1e6


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
def screen(pid: int, folder: Path, size: tuple[int, int] = WIDE) -> Iterator[Terminal]:
    """The live screen on this process, once it shows events."""
    programs = "profile:u:99,rss:u:29,switch:uk,vfs:u"
    options = ["-p", programs, "-d", str(folder / "rec"), "--pid", str(pid)]
    terminal = Terminal([*START, *options], folder, size)
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


def costs(seconds: float, rate: int) -> None:
    """Shares of a core, and what is drawn, of this and of others."""
    print("| in a terminal of 140x45 | of a core | drawn |")
    print("|---|---|---|")
    with tempfile.TemporaryDirectory(dir="/var/tmp") as scratch:
        folder = Path(scratch)
        with load(rate, folder) as pid:
            began = time.monotonic()
            with screen(pid, folder) as terminal:
                (collector,) = terminal.children()
                ui, collecting = cost(terminal, [terminal.pid, collector], seconds)
                took = time.monotonic() - began
            events, lost = kept(folder)
            name = f"stacks-tui, its screen, at {events / took / 1000:.0f}k events/s, {lost} lost"
            row(name, ui)
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


def stopped(rate: int) -> None:
    """The screen stands still (SIGSTOP): what is lost?"""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as scratch:
        folder = Path(scratch)
        with load(rate, folder) as pid, screen(pid, folder) as terminal:
            os.kill(terminal.pid, signal.SIGSTOP)
            time.sleep(STOPPED_S)
            os.kill(terminal.pid, signal.SIGCONT)
            time.sleep(1)
        events, lost = kept(folder)
    print(f"\nWith the screen stopped for {STOPPED_S} s: {events:,} events, {lost} lost.")


@dataclass(frozen=True)
class Answer:
    """To one key."""

    wait_ms: float
    cpu_ms: float
    """Of the screen's process, up to what is to be seen."""


def answers(terminal: Terminal, rounds: int) -> dict[str, list[Answer]]:
    """All keys in turn, so many times."""
    found: dict[str, list[Answer]] = {}
    for _ in range(rounds):
        for key, name, seen, back in KEYS:
            terminal.forget()
            before = fine_cpu_ms(terminal.pid)
            terminal.press(key)
            wait = terminal.until(seen, 15)
            after = fine_cpu_ms(terminal.pid)
            found.setdefault(name, []).append(Answer(wait * 1000, after - before))
            for one in [back] if back.startswith(ESCAPE) else back:
                time.sleep(0.3)
                terminal.press(one)
            time.sleep(0.5)
    return found


def keys(rate: int, size: tuple[int, int], rounds: int) -> None:
    """How long after each key there is what it shows."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as scratch:
        folder = Path(scratch)
        with load(rate, folder) as pid, screen(pid, folder, size) as terminal:
            time.sleep(3)
            found = answers(terminal, rounds)
    width, height = size
    print(f"\n| key, {width}x{height}, {rate:,}/s | first | later | longest | CPU |")
    print("|---|---|---|---|---|")
    for name, times in found.items():
        waits = [one.wait_ms for one in times]
        later = statistics.median(waits[1:] or waits)
        cpu = statistics.median(one.cpu_ms for one in times)
        shown = " | ".join(f"{one:.0f} ms" for one in (waits[0], later, max(waits), cpu))
        print(f"| {name} | {shown} |")
    every = sorted(one.wait_ms for times in found.values() for one in times)
    tail = every[int(0.95 * (len(every) - 1))]
    print(
        f"| all: median, 95 %, longest | {statistics.median(every):.0f} ms | {tail:.0f} ms |"
        f" {every[-1]:.0f} ms | |",
        flush=True,
    )


def starts(rate: int, rounds: int) -> None:
    """From the command to the first line, to the whole screen, to the first row of events."""
    print("\n| from the command to | least | median | longest |")
    print("|---|---|---|---|")
    found: dict[str, list[float]] = {}
    for _ in range(rounds):
        with tempfile.TemporaryDirectory(dir="/var/tmp") as scratch:
            folder = Path(scratch)
            with load(rate, folder) as pid:
                began = time.monotonic()
                command = [*START, "-d", str(folder / "rec"), "--pid", str(pid)]
                terminal = Terminal(command, folder)
                for what, seen in (
                    ("the first lines", "stacks-tui"),
                    ("the whole screen", "runnable"),
                    ("the first row", "log_line"),
                ):
                    terminal.until(seen)
                    found.setdefault(what, []).append(time.monotonic() - began)
                terminal.close()
    for what, took in found.items():
        print(
            f"| {what} | {min(took):.2f} s | {statistics.median(took):.2f} s | {max(took):.2f} s |"
        )


def _others(pid: int) -> Iterator[tuple[str, list[str]]]:
    if shutil.which("perf"):
        on = ["-p", str(pid)]
        yield "perf top, 99 Hz", ["perf", "top", "-e", "cpu-clock", "-F", "99", *on]
        exits = ["-e", "syscalls:sys_exit_write", "-c", "1"]
        yield "perf top, every write's exit", ["perf", "top", *exits, *on]
    if shutil.which("top"):
        yield "top", ["top", "-d", "0.5"]


def main() -> None:
    """The parts that are named."""
    parser = argparse.ArgumentParser(description=__doc__)
    parts = ("cost", "stopped", "keys", "start")
    parser.add_argument("part", nargs="*", default=parts, metavar="PART")
    parser.add_argument("--seconds", type=float, default=60.0, help="of each cost")
    parser.add_argument("--rate", type=int, default=100_000, help="events a second")
    parser.add_argument("--rounds", type=int, default=5, help="of keys and starts")
    parser.add_argument("--narrow", action="store_true", help="keys at 80x24, not 140x45")
    asked = parser.parse_args()
    for part in asked.part:
        if part == "cost":
            costs(asked.seconds, asked.rate)
        elif part == "stopped":
            stopped(asked.rate)
        elif part == "keys":
            keys(asked.rate, NARROW if asked.narrow else WIDE, asked.rounds)
        else:
            starts(asked.rate, asked.rounds)


if __name__ == "__main__":
    if os.geteuid() != 0:
        raise SystemExit("run as root: it records")
    main()
