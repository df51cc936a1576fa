"""What spans cost: to the program that marks them, and to every event that bears one.

Run as root, on a quiet machine; prints Markdown tables. The kernel's own count of each program's
time (kernel.bpf_stats_enabled, which adds some 45 ns a run) tells what a label costs; the program
itself what a span does.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np

from stacks_tui.capture import bpf
from stacks_tui.capture.probes import Probes
from stacks_tui.capture.programs import Programs
from stacks_tui.capture.usdt import read_probes
from stacks_tui.elf import ElfImage
from stacks_tui.kinds import parse_program
from stacks_tui.resources import folder
from stacks_tui.session.follower import open_mapped

ROOT = Path(__file__).resolve().parents[1]
ROUNDS = 5
SPANS, WRITES = 200_000, 1_000_000
STATS = Path("/proc/sys/kernel/bpf_stats_enabled")


def build(into: Path) -> Path:
    """The program in listening.c."""
    path = into / "spans"
    source = Path(__file__).with_suffix(".c")
    include = f"-I{ROOT / 'tracing_stacks/include'}"
    subprocess.run(["gcc", "-O2", include, "-o", path, source], check=True)
    return path


def run(program: Path, mode: str, count: int) -> float:
    """Nanoseconds for each."""
    done = subprocess.run(
        ["taskset", "-c", "0", program, mode, str(count)],
        check=True,
        capture_output=True,
        text=True,
    )
    return float(done.stdout)


@contextmanager
def counted() -> Iterator[None]:
    """The kernel counts the time of programs."""
    before = STATS.read_text()
    STATS.write_text("1")
    try:
        yield
    finally:
        STATS.write_text(before)


class Kernel:
    """The kernel side alone: what it emits, nobody takes, so the ring is full before long."""

    def __init__(self, *entries: str) -> None:
        self.programs = Programs(folder("bpf"), None, ring_bytes=1 << 26)
        self.programs.set_modes(everything=True, follow=False)
        self.probes = Probes(self.programs, open_mapped, print)
        for entry in entries:
            spec = parse_program(entry)
            self.programs.attach(spec)
            if spec.program == "usdt":
                self.probes.start(spec, [])

    def close(self) -> None:
        """Detach."""
        self.probes.stop()
        self.probes.settle()
        self.programs.close()
        self.probes.close()

    def times(self) -> dict[str, tuple[int, int]]:
        """By program: (ns, runs) so far."""
        found = {}
        for name, fd in self.programs.descriptors().items():
            counts = bpf.program_statistics(fd)
            found[name] = counts.get("run_time_ns", 0), counts.get("run_cnt", 0)
        return found


def per_run(kernel: Kernel, program: Path, mode: str, count: int, names: list[str]) -> list[float]:
    """ns of a run of each of these BPF programs, while the program does `count` of `mode`."""
    before = kernel.times()
    run(program, mode, count)
    after = kernel.times()
    return [
        (after[name][0] - before[name][0]) / max(1, after[name][1] - before[name][1])
        for name in names
    ]


@contextmanager
def empty_programs(program: Path) -> Iterator[None]:
    """A program that does nothing at each probe of a span: the kernel's own part of the cost."""
    nothing = load_nothing()
    with program.open("rb") as file:
        probes = read_probes(ElfImage.from_fd(file.fileno())).probes
        descriptors = [
            fd
            for probe in probes
            for fd in bpf.attach_uprobe(nothing, file.fileno(), probe.offset, probe.semaphore, 0)
        ]
    try:
        yield
    finally:
        for fd in [*descriptors, nothing]:
            os.close(fd)


def load_nothing() -> int:
    """r0 = 0; exit."""
    code = np.frombuffer(bytes.fromhex("b700000000000000 9500000000000000"), np.uint64)
    return bpf.load_program("nothing", bpf.PROGRAM_KPROBE, code)


def spans(program: Path) -> None:
    """What a span costs, with and without a listener."""
    alone = statistics.median(run(program, "spans", 50 * SPANS) for _ in range(ROUNDS))
    with empty_programs(program):
        trapped = statistics.median(run(program, "spans", SPANS) for _ in range(ROUNDS))
    kernel = Kernel(f"usdt:{program}")
    heard = statistics.median(run(program, "spans", SPANS) for _ in range(ROUNDS))
    names = [f"span_{name}_probe" for name in ("enter", "exit", "close")]
    rounds = [per_run(kernel, program, "spans", SPANS, names) for _ in range(ROUNDS)]
    kernel.close()
    print("| a span of C: open, enter, exit, close | ns |\n|---|---|")
    print(f"| nobody listens | {alone:.1f} |")
    print(f"| three probes with an empty BPF program: the kernel's traps | {trapped:,.0f} |")
    print(f"| listened to | {heard:,.0f} |")
    for name, values in zip(names, zip(*rounds, strict=True), strict=True):
        print(f"| … of it in the BPF program {name} | {statistics.median(values):,.0f} |")


def label(program: Path) -> None:
    """What it costs an event to look for its span."""
    results = {}
    for what, entries in (("off", ["vfs"]), ("on", ["vfs", f"usdt:{program}"])):
        kernel = Kernel(*entries)
        for mode in ("outside", "inside"):
            rounds = [
                per_run(kernel, program, mode, WRITES, ["on_sys_exit"])[0] for _ in range(ROUNDS)
            ]
            results[what, mode] = statistics.median(rounds)
        kernel.close()
    print("\n| `on_sys_exit` of a write | ns | more |\n|---|---|---|")
    off = results["off", "outside"]
    print(f"| no provider attached | {off:.0f} | |")
    for mode, what in (("outside", "in no span"), ("inside", "in a span")):
        value = results["on", mode]
        print(f"| provider attached, {what} | {value:.0f} | {value - results['off', mode]:+.0f} |")


def main() -> None:
    """Both tables."""
    with tempfile.TemporaryDirectory() as into, counted():
        program = build(Path(into))
        spans(program)
        label(program)


if __name__ == "__main__":
    main()
