"""What recording costs its target: a program that computes, and two that hand a byte to and fro.

Run as root; prints Markdown tables. One session goes on all the time; its program is attached and
detached between short rounds of the same work, so that whatever else the machine does meets all
alike. The targets are pinned to one core, the recorder to another. What counts is the CPU time that
the kernel charges to the targets, interrupts and BPF programs included; each round is compared with
the one beside it without a recording. The figure is the median of these ratios; behind ± half the
range that holds it in 95 of 100 cases (by order statistics).
"""

from __future__ import annotations

import argparse
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
from functools import partial
from pathlib import Path

from stacks_tui.capture.targets import Targets
from stacks_tui.kinds import parse_program, parse_programs
from stacks_tui.session.options import RecordOptions
from stacks_tui.session.recorder import Session

_WORKER = """
import sys, time
def burn(n):
    total = 0
    for i in range(n): total += i * i % 7
for line in sys.stdin:
    began = time.process_time_ns()
    burn(int(line))
    print(time.process_time_ns() - began, flush=True)
"""
_PIPES = """
#include <stdlib.h>
#include <unistd.h>
static void handle(int in, int out, long count) { char c = 0; while (count--) { read(in, &c, 1); write(out, &c, 1); } }
int main(int argc, char **argv) {
  int there[2], back[2]; char c = 0; long count = atol(argv[1]);
  if (pipe(there) || pipe(back)) return 1;
  if (!fork()) { handle(there[0], back[1], count); return 0; }
  write(there[1], &c, 1); handle(back[0], there[1], count); wait(0); return 0;
}
"""  # noqa: E501
ROUND_LOOPS = 1_500_000
ROUND_SWITCHES = 40_000
Measure = Callable[[], float]


@contextmanager
def session(programs: str, targets: Targets) -> Iterator[Session]:
    """A session whose first program is attached."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as scratch:
        options = RecordOptions(parse_programs(programs), targets, directory=Path(scratch, "r"))
        running = Session(options, lambda status: None)
        try:
            yield running
            running.finish()
        finally:
            running.close()


def switched(running: Session, program: str, measure: Measure) -> float:
    """A round while a program is attached."""
    running.attach(parse_program(program))
    try:
        return measure()
    finally:
        running.detach(program.split(":")[0])


def tell(name: str, pairs: list[tuple[float, float]]) -> None:
    """A row of the table."""
    ratios = sorted(with_ / without for without, with_ in pairs)
    count = len(ratios)
    reach = max(int((count - 1.96 * count**0.5) / 2), 0)
    spread = (ratios[count - 1 - reach] - ratios[reach]) / 2
    alone = statistics.median(without for without, _ in pairs)
    print(
        f"| {name} | {alone * 1e3:.1f} | {count} | {statistics.median(ratios) - 1:+.2%} "
        f"| ±{spread:.2%} |",
        flush=True,
    )


def computing(rounds: int) -> None:
    """A CPU-bound target, sampled."""
    command = ["taskset", "-c", "0", "/usr/bin/python3", "-c", _WORKER]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as worker:

        def measure() -> float:
            assert worker.stdin is not None and worker.stdout is not None
            print(ROUND_LOOPS, file=worker.stdin, flush=True)
            return int(worker.stdout.readline()) / 1e9

        measure()
        with session("profile:u:99", Targets(pids=(worker.pid,))) as running:
            running.detach("profile")
            for rate in (99, 999):
                recorded = partial(switched, running, f"profile:u:{rate}", measure)
                tell(f"python3, {rate} Hz", in_turn(rounds, measure, recorded))
        assert worker.stdin is not None
        worker.stdin.close()


def in_turn(rounds: int, alone: Measure, recorded: Measure) -> list[tuple[float, float]]:
    """Pairs of neighbouring rounds, either first in turn."""
    pairs = []
    for number in range(rounds):
        if number % 2:
            after = recorded()
            pairs.append((alone(), after))
        else:
            before = alone()
            pairs.append((before, recorded()))
    return pairs


@contextmanager
def perf_record() -> Iterator[None]:
    """`perf record -g` of all switches."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as scratch:
        perf = ["taskset", "-c", "1", "perf", "record", "-q", "-g", "-a", "-B", "-N", "-m", "4096"]
        perf += ["-e", "sched:sched_switch", "-o", f"{scratch}/perf.data", "--", "sleep", "1000"]
        quiet = subprocess.DEVNULL
        process = subprocess.Popen(perf, stdout=quiet, stderr=quiet)
        time.sleep(1)
        try:
            yield
        finally:
            process.send_signal(signal.SIGINT)
            process.wait()


def handing(rounds: int, folder: Path) -> None:
    """Two processes on one core that switch all the time."""
    pipes = folder / "pipes"
    compiler = ["gcc", "-O2", "-w", "-x", "c", "-o", str(pipes), "-"]
    subprocess.run(compiler, input=_PIPES, text=True, check=True)
    command = ["taskset", "-c", "0", str(pipes), str(ROUND_SWITCHES // 2)]

    def measure() -> float:
        process = subprocess.Popen(command)
        _, status, used = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        return used.ru_utime + used.ru_stime

    def under_perf() -> float:
        with perf_record():
            return measure()

    with session("switch:u", Targets(comms=("pipes",))) as running:
        running.detach("switch")
        for program in ("switch:u", "switch:uk"):
            recorded = partial(switched, running, program, measure)
            tell(f"pipes, `-p {program}`", in_turn(rounds, measure, recorded))
    if shutil.which("perf"):
        tell("pipes, `perf record -g`", in_turn(rounds // 2, measure, under_perf))
    began = time.perf_counter()
    measure()
    rate = ROUND_SWITCHES / (time.perf_counter() - began)
    print(f"\nThe pipes switch {rate:,.0f} times a second when alone.")


def main() -> None:
    """Both, or one."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=60)
    parser.add_argument("parts", nargs="*", choices=[[], "computing", "handing"])
    given = parser.parse_args()
    if os.geteuid() != 0:
        raise SystemExit("run as root: it records")
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))
    if (os.cpu_count() or 1) > 1:
        os.sched_setaffinity(0, range(1, os.cpu_count() or 1))
    print("| target | CPU time alone, ms | rounds | slowdown | |")
    print("|---|---|---|---|---|")
    parts = given.parts or ["computing", "handing"]
    with tempfile.TemporaryDirectory() as scratch:
        if "computing" in parts:
            computing(given.rounds)
        if "handing" in parts:
            handing(given.rounds // 3, Path(scratch))


if __name__ == "__main__":
    main()
