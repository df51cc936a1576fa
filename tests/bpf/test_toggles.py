"""Kinds go on and off while a session runs: a gap is not recorded, and it is told."""

from __future__ import annotations

import gc
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from stacks_tui.capture.targets import Targets
from stacks_tui.kinds import parse_program, parse_programs
from stacks_tui.session.options import RecordOptions
from stacks_tui.session.recorder import Session
from stacks_tui.session.status import Status
from stacks_tui.store.reader import open_recording

pytestmark = pytest.mark.bpf

CHUNK = 7
_WORKER = f"""
import os, sys
null = os.open(os.devnull, os.O_WRONLY)
for line in sys.stdin:
    what, count = line.split()
    for _ in range(int(count)):
        if what == "write":
            os.write(null, b"x" * {CHUNK})
        else:
            sum(range(20000))
    print("done", flush=True)
"""


class Worker:
    """A process that writes, or burns a CPU, when told."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.pid = process.pid
        self._process = process

    def do(self, what: str, count: int) -> None:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(f"{what} {count}\n")
        self._process.stdin.flush()
        assert self._process.stdout.readline() == "done\n"


@contextmanager
def worker() -> Iterator[Worker]:
    with subprocess.Popen(
        [sys.executable, "-c", _WORKER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        found = Worker(process)
        found.do("write", 1)
        yield found


@contextmanager
def session(pid: int, programs: str, directory: Path) -> Iterator[Session]:
    options = RecordOptions(parse_programs(programs), Targets(pids=(pid,)), directory=directory)
    running = Session(options, _ignore)
    try:
        yield running
    finally:
        running.close()


def _ignore(status: Status) -> None:
    assert status.phase


def test_what_happens_in_a_gap_is_not_recorded_and_the_gap_is_told(tmp_path: Path) -> None:
    directory = tmp_path / "recording"
    with worker() as target, session(target.pid, "vfs:u", directory) as running:
        target.do("write", 100)
        running.detach("vfs")
        before = time.time_ns()
        target.do("write", 1000)
        after = time.time_ns()
        running.attach(parse_program("vfs"))
        target.do("write", 50)
        running.detach("vfs")
        running.attach(parse_program("vfs:k"))
        target.do("write", 25)
        outcome = running.finish()
    assert outcome.failure is None
    with open_recording(directory) as recording:
        rows = recording.table(
            "select ustack is not null as user, kstack is not null as kernel, count(*)::int as n "
            "from events where kind = 'vfs_write' and amount = $chunk group by all order by n desc",
            chunk=CHUNK,
        ).to_pylist()
        assert recording.manifest is not None
        gaps = recording.manifest.status.kinds["vfs_write"].gaps
        in_gap = recording.table(
            "select count(*)::int as n from events where timestamp between $a and $b",
            a=before,
            b=after,
        ).to_pylist()
    assert rows == [
        {"user": True, "kernel": False, "n": 100},
        {"user": False, "kernel": False, "n": 50},
        {"user": False, "kernel": True, "n": 25},
    ]
    assert in_gap == [{"n": 0}]
    assert len(gaps) == 2
    assert gaps[0][0] <= before and after <= gaps[0][1]


def test_a_rate_changes_while_it_runs(tmp_path: Path) -> None:
    directory = tmp_path / "recording"
    with worker() as target, session(target.pid, "profile:u:49", directory) as running:
        target.do("burn", 500)
        running.attach(parse_program("profile:u:997"))
        target.do("burn", 500)
        assert running.finish().failure is None
    with open_recording(directory) as recording:
        rows = recording.table(
            "select duration::bigint as period, count(*)::int as n, sum(duration)::bigint as cpu "
            "from events where kind = 'profile' group by all order by period"
        ).to_pylist()
    fast, slow = rows
    assert (fast["period"], slow["period"]) == (round(1e9 / 997), round(1e9 / 49))
    assert fast["n"] > 5 * slow["n"] > 0


def test_letters_change_without_a_gap(tmp_path: Path) -> None:
    directory = tmp_path / "recording"
    with worker() as target, session(target.pid, "vfs", directory) as running:
        target.do("write", 10)
        running.attach(parse_program("vfs:uk"))
        target.do("write", 20)
        running.finish()
    with open_recording(directory) as recording:
        (row,) = recording.table(
            "select count(*)::int as n, count(ustack)::int as with_stack from events "
            "where kind = 'vfs_write' and amount = $chunk",
            chunk=CHUNK,
        ).to_pylist()
        assert recording.manifest is not None
        assert recording.manifest.status.kinds["vfs_write"].gaps == ()
    assert row == {"n": 30, "with_stack": 20}


def test_the_kernel_side_gives_everything_back(tmp_path: Path) -> None:
    open_files = []
    with worker() as target:
        for number in range(3):
            with session(target.pid, "profile,vfs,switch", tmp_path / str(number)) as running:
                running.finish()
            del running
            gc.collect()
            open_files.append(len(list(Path("/proc/self/fd").iterdir())))
    assert open_files[0] == open_files[1] == open_files[2]
