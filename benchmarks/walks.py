"""What walking stacks costs: in the kernel, on disk, and before the first walk.

Run as root, on a quiet machine; prints Markdown tables. Every ratio is of runs within this one run:
ours beside frame pointers alone (`--no-unwind`), or beside `perf record` with the same events. What
it costs the target: `slowdown.py`.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import signal
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
_DISTINCT = """
for i in range({depth}): exec(f"def f{{i}}(): return f{{i + 1}}()")
exec("def f{depth}(): return sum(range(2000))")
while True: f0()
"""
_POINTERS = """
static volatile long sum;
__attribute__((noinline)) long deep(int n) {
  if (n) { long below = deep(n - 1); sum += below; return below + n; }
  for (int i = 0; i < 2000; i++) sum += i;
  return sum;
}
int main(void) { for (;;) deep(60); }
"""
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


def in_the_kernel(seconds: float, folder: Path) -> None:
    """Our walk beside the kernel's own by frame pointers; bytes beside perf's."""
    print(
        "| load, 999 Hz | complete | µs a sample | frame pointers | ratio | bytes | perf | ratio |"
    )
    print("|---|---|---|---|---|---|---|---|")
    pointers = folder / "pointers"
    flags = ["-O1", "-fno-omit-frame-pointer", "-fno-optimize-sibling-calls"]
    subprocess.run(
        ["gcc", *flags, "-x", "c", "-o", pointers, "-"], input=_POINTERS, text=True, check=True
    )
    loads = {**LOADS, "C with frame pointers, 60 deep": [str(pointers)]}
    for name, command in loads.items():
        if shutil.which(command[0]) is None:
            continue
        rounds = [(walk(command, seconds), walk(command, seconds, "--no-unwind")) for _ in range(2)]
        ours, kernels = (
            min(walked, key=lambda one: one.ns_per_event) for walked in zip(*rounds, strict=True)
        )
        dwarf = perf_bytes(command, 1.0)
        print(
            f"| {name} | {ours.complete:.2%} | {ours.ns_per_event / 1e3:.2f} "
            f"| {kernels.ns_per_event / 1e3:.2f} | {ours.ns_per_event / kernels.ns_per_event:.2f} "
            f"| {ours.bytes_per_event:.0f} | {dwarf:,.0f} | 1/{dwarf / ours.bytes_per_event:.0f} |",
            flush=True,
        )


def per_python_frame(seconds: float) -> None:
    """What a frame of Python adds: a call from Python to Python adds no native frame (3.11 on)."""
    for what, text in (("of one function", _SPIN), ("of different functions", _DISTINCT)):
        costs = {}
        for depth in (10, 110):
            program = ["/usr/bin/python3", "-c", text.format(work=2000, depth=depth)]
            costs[depth] = min(walk(program, seconds).ns_per_event for _ in range(3))
        print(f"\nA Python frame {what}: {(costs[110] - costs[10]) / 100:.0f} ns (110 beside 10).")


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
    parser.add_argument("--seconds", type=float, default=1.5)
    parser.add_argument("parts", nargs="*", choices=[[], "kernel", "python", "tables"])
    given = parser.parse_args()
    if os.geteuid() != 0:
        raise SystemExit("run as root: it records")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))
    parts = given.parts or ["kernel", "python", "tables"]
    before = STATS.read_text()
    with tempfile.TemporaryDirectory() as scratch:
        STATS.write_text("1")
        try:
            if "kernel" in parts:
                in_the_kernel(given.seconds, Path(scratch))
            if "python" in parts:
                per_python_frame(given.seconds)
        finally:
            STATS.write_text(before)
        if "tables" in parts:
            tables(Path(scratch))


if __name__ == "__main__":
    main()
