"""What walking stacks costs: in the kernel, on the target, on disk, and before the first walk.

Run as root, on a quiet machine; prints Markdown tables. Every ratio is of runs within this one run:
ours beside frame pointers alone (`--no-unwind`), beside `perf record` with the same events, or
beside the target alone.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from stacks_tui.capture.bpf import PROGRAM_PERF_EVENT
from stacks_tui.diskcache import DiskCache
from stacks_tui.elf import ElfImage
from stacks_tui.unwind.cached import load_table
from stacks_tui.unwind.ehframe import parse

START = [sys.executable, "-P", "-c", "from stacks_tui.cli.main import run; run()"]
STATS = Path("/proc/sys/kernel/bpf_stats_enabled")
PINNED = ["taskset", "-c", "0"]
_SPIN = "def f(n):\n    return f(n - 1) if n else sum(range({work}))\nwhile True: f({depth})"
_WORK = "n = 0\nfor i in range({count}): n += i * i % 7\n"
_PIPES = """
#include <stdlib.h>
#include <unistd.h>
static void handle(int in, int out, long count) { char c = 0; while (count--) { read(in, &c, 1); write(out, &c, 1); } }
int main(int argc, char **argv) {
  int there[2], back[2]; char c = 0; long count = atol(argv[1]);
  if (pipe(there) || pipe(back)) return 1;
  if (!fork()) { handle(there[0], back[1], count); return 0; }
  write(there[1], &c, 1); handle(back[0], there[1], count); return 0;
}
"""  # noqa: E501
LOADS: dict[str, list[str]] = {
    "python3": ["/usr/bin/python3", "-c", _SPIN.format(work=2000, depth=20)],
    "perl": [
        "perl",
        "-e",
        'sub f { my $n = shift; $n ? f($n - 1) : join(",", 1..50) } f(20) while 1',
    ],
    "openssl": ["openssl", "speed", "-seconds", "60", "rsa2048"],
    "bash": ["bash", "-c", "f() { [ $1 -gt 0 ] && f $(($1 - 1)); }; while :; do f 20; done"],
}


@dataclass(frozen=True)
class Walked:
    """One recording of a load."""

    events: int
    ns_per_event: float
    """Of the programs' run time in the kernel."""
    bytes_per_event: float
    complete: float


@contextmanager
def running(command: list[str]) -> Iterator[subprocess.Popen[bytes]]:
    """A load that goes on until the end of the block, on core 0."""
    quiet = subprocess.DEVNULL
    load = subprocess.Popen([*PINNED, *command], stdout=quiet, stderr=quiet, start_new_session=True)
    time.sleep(0.5)
    try:
        yield load
    finally:
        os.killpg(load.pid, signal.SIGKILL)
        load.wait()


def run_time_ns(pid: int, program_type: int) -> int:
    """Run time of a process's BPF programs of a type, as the kernel counts it."""
    total: dict[str, int] = {}
    for entry in Path(f"/proc/{pid}/fdinfo").iterdir():
        try:
            lines = entry.read_text().splitlines()
        except OSError:
            continue
        facts = {
            key.strip(): value.strip() for key, _, value in (one.partition(":") for one in lines)
        }
        if facts.get("prog_type") == str(program_type):
            total[facts["prog_id"]] = int(facts["run_time_ns"])
    return sum(total.values())


@contextmanager
def recorder(folder: Path, programs: str, *options: str) -> Iterator[subprocess.Popen[str]]:
    """A recorder that records when the block begins."""
    pipe = subprocess.PIPE
    command = [*START, "--record", "--json", "-d", str(folder), "-p", programs, *options]
    process = subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True)
    assert process.stderr is not None
    for line in process.stderr:
        if json.loads(line).get("phase") == "recording":
            break
    else:
        raise SystemExit(f"the recorder did not start: {process.wait()}")
    yield process
    process.wait()


def walk(command: list[str], seconds: float, *options: str) -> Walked:
    """Sample a load at 999 Hz; the kernel's time for it, and what it gave."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as scratch, running(command) as load:
        folder = Path(scratch, "r")
        target = ["--pid", str(load.pid), "--follow"]
        with recorder(folder, "profile:u:999", *target, *options) as process:
            time.sleep(seconds)
            os.killpg(load.pid, signal.SIGSTOP)
            time.sleep(0.2)
            used = run_time_ns(process.pid, PROGRAM_PERF_EVENT)
            process.send_signal(signal.SIGINT)
            out, _ = process.communicate()
        found = json.loads(out)["kinds"]["profile"]
        size = sum(path.stat().st_size for path in folder.iterdir())
        events = max(found["events"], 1)
        return Walked(events, used / events, size / events, 1 - found["incomplete"])


def perf_bytes(command: list[str], seconds: float) -> float:
    """Bytes per sample of `perf record --call-graph dwarf`."""
    if shutil.which("perf") is None:
        return float("nan")
    with tempfile.TemporaryDirectory(dir="/var/tmp") as scratch, running(command) as load:
        data = Path(scratch, "perf.data")
        perf = ["perf", "record", "-q", "-B", "-N", "-F", "999", "-e", "cpu-clock"]
        perf += ["--call-graph", "dwarf", "-p", str(load.pid), "-o", str(data)]
        done = subprocess.run(
            [*perf, "--", "sleep", f"{seconds:g}"], capture_output=True, check=False
        )
        if done.returncode:
            return float("nan")
        told = subprocess.run(
            ["perf", "report", "-i", str(data), "--stats"],
            capture_output=True,
            text=True,
            check=False,
        )
        counts = [
            int(line.split()[2]) for line in told.stdout.splitlines() if " SAMPLE events:" in line
        ]
        return data.stat().st_size / max(counts[0] if counts else 1, 1)


def in_the_kernel(seconds: float) -> None:
    """Our walk beside the kernel's own by frame pointers; bytes beside perf's."""
    print(
        "| load, 999 Hz | complete | µs a sample | frame pointers | ratio | bytes | perf | ratio |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for name, command in LOADS.items():
        if shutil.which(command[0]) is None:
            continue
        rounds = [(walk(command, seconds), walk(command, seconds, "--no-unwind")) for _ in range(2)]
        ours, pointers = min((pair for pair in rounds), key=lambda pair: pair[0].ns_per_event)
        dwarf = perf_bytes(command, 1.0)
        ratio = ours.ns_per_event / pointers.ns_per_event
        print(
            f"| {name} | {ours.complete:.2%} | {ours.ns_per_event / 1e3:.2f} "
            f"| {pointers.ns_per_event / 1e3:.2f} | {ratio:.2f} "
            f"| {ours.bytes_per_event:.0f} | {dwarf:,.0f} | 1/{dwarf / ours.bytes_per_event:.0f} |",
            flush=True,
        )


def per_python_frame(seconds: float) -> None:
    """What a frame of Python adds: a call from Python to Python adds no native frame (3.11 on)."""
    costs = {}
    for depth in (10, 110):
        program = ["/usr/bin/python3", "-c", _SPIN.format(work=2000, depth=depth)]
        costs[depth] = min(walk(program, seconds).ns_per_event for _ in range(2))
    print(f"\nA Python frame: {(costs[110] - costs[10]) / 100:.0f} ns (110 beside 10 of them).")


def seconds_of(command: list[str]) -> float:
    """How long a command takes."""
    began = time.perf_counter()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return time.perf_counter() - began


def recorded_seconds(command: list[str], programs: str, comm: str) -> float:
    """The same while a recorder has it as its target."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as scratch:
        with recorder(Path(scratch, "r"), programs, comm) as process:
            took = seconds_of(command)
            process.send_signal(signal.SIGINT)
            process.communicate()
        return took


def perf_seconds(command: list[str]) -> float:
    """The same under `perf record -g` of its switches, on all CPUs."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as scratch:
        perf = ["perf", "record", "-q", "-g", "-a", "-B", "-N", "-m", "4096"]
        perf += ["-e", "sched:sched_switch", "-o", f"{scratch}/perf.data", "--", "sleep", "1000"]
        process = subprocess.Popen(perf, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        time.sleep(1)
        took = seconds_of(command)
        process.send_signal(signal.SIGINT)
        process.wait()
        return took


def on_the_target(rounds: int, folder: Path) -> None:
    """How much longer a target takes, the runs with and without in turn."""
    work = [*PINNED, "/usr/bin/python3", "-c", _WORK.format(count=8_000_000)]
    source, pipes = folder / "pipes.c", folder / "pipes"
    source.write_text(_PIPES)
    subprocess.run(["gcc", "-O2", "-w", "-o", pipes, source], check=True)
    switches = 200_000
    hand = [*PINNED, str(pipes), str(switches // 2)]
    cases: list[tuple[str, list[str], Callable[[], float]]] = [
        ("python3, 99 Hz", work, lambda: recorded_seconds(work, "profile:u:99", "python3")),
        ("python3, 999 Hz", work, lambda: recorded_seconds(work, "profile:u:999", "python3")),
        ("pipes, `-p switch:u`", hand, lambda: recorded_seconds(hand, "switch:u", "pipes")),
        ("pipes, `-p switch:uk`", hand, lambda: recorded_seconds(hand, "switch:uk", "pipes")),
    ]
    if shutil.which("perf"):
        cases.append(("pipes, `perf record -g`", hand, lambda: perf_seconds(hand)))
    print("\n| target | alone, s | recorded, s | slowdown |")
    print("|---|---|---|---|")
    for name, command, record in cases:
        pairs = [(seconds_of(command), record()) for _ in range(rounds)]
        alone, recorded = (statistics.median(times) for times in zip(*pairs, strict=True))
        ratio = statistics.median(after / before for before, after in pairs)
        print(f"| {name} | {alone:.3f} | {recorded:.3f} | {(ratio - 1):.2%} |", flush=True)
    rate = switches / seconds_of(hand)
    print(f"\nThe pipes switch {rate:,.0f} times a second when alone.")


def tables(folder: Path) -> None:
    """Making a large binary's table, and reading it back."""
    path = shutil.which("node")
    if path is None:
        print("\nNo node here: no large binary.")
        return
    file = Path(path).resolve()
    file.read_bytes()
    cache = DiskCache("unwind", ".rows", 1, 1 << 30, folder)
    with file.open("rb") as opened:
        image = ElfImage.from_fd(opened.fileno())
        new = [timed(lambda: parse(image)) for _ in range(3)]
        load_table(image, cache)
        kept = [timed(lambda: load_table(image, cache)) for _ in range(5)]
        rows = len(parse(image).rows)
    megabytes = file.stat().st_size / 1e6
    print(
        f"\nA table of {rows:,} rows, of node ({megabytes:.0f} MB): new {min(new) * 1e3:.0f} ms, "
        f"from the cache {min(kept) * 1e3:.1f} ms."
    )


def timed(do: Callable[[], object]) -> float:
    """Seconds of a call."""
    began = time.perf_counter()
    do()
    return time.perf_counter() - began


def main() -> None:
    """All of it, or parts."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=4.0)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("parts", nargs="*", choices=[[], "kernel", "python", "target", "tables"])
    given = parser.parse_args()
    if os.geteuid() != 0:
        raise SystemExit("run as root: it records")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))
    parts = given.parts or ["kernel", "python", "target", "tables"]
    before = STATS.read_text()
    with tempfile.TemporaryDirectory() as scratch:
        STATS.write_text("1")
        try:
            if "kernel" in parts:
                in_the_kernel(given.seconds)
            if "python" in parts:
                per_python_frame(given.seconds)
        finally:
            STATS.write_text(before)
        if "target" in parts:
            on_the_target(given.rounds, Path(scratch))
        if "tables" in parts:
            tables(Path(scratch))


if __name__ == "__main__":
    main()
