"""The collector in its own process: steered, stopped, killed; and its screen frozen or killed."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import pytest
from recordings import DEADLINE_S

from stacks_tui.capture.targets import Targets
from stacks_tui.kinds import parse_programs
from stacks_tui.live.answers import answer
from stacks_tui.live.recorded import RecordedTotals
from stacks_tui.live.snapshot import Collecting, Processes, Snapshot, Table, Timeline
from stacks_tui.live.view import ALL, Group, Panel, Tab, View
from stacks_tui.session.options import RecordOptions
from stacks_tui.session.playback import RecordingSource
from stacks_tui.session.protocol import (
    AddTarget,
    DropProgram,
    DropTarget,
    Ended,
    Frame,
    KindFailed,
    Note,
    Opened,
    SetProgram,
    SetView,
    Start,
    Stop,
    TargetsEnded,
)
from stacks_tui.session.source import Source
from stacks_tui.session.supervisor import LiveSource
from stacks_tui.store.manifest import State
from stacks_tui.store.reader import open_recording

pytestmark = pytest.mark.bpf

CHUNK = 7
_WORKER = f"""
import os, sys
null = os.open(os.devnull, os.O_WRONLY)
for line in sys.stdin:
    for _ in range(int(line)):
        os.write(null, b"x" * {CHUNK})
    print("done", flush=True)
"""
T = TypeVar("T")


class Worker:
    """A process that writes when told."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.pid = process.pid

    def write(self, count: int) -> None:
        assert self.process.stdin is not None and self.process.stdout is not None
        self.process.stdin.write(f"{count}\n")
        self.process.stdin.flush()
        assert self.process.stdout.readline() == "done\n"


@contextmanager
def worker() -> Iterator[Worker]:
    with subprocess.Popen(
        [sys.executable, "-c", _WORKER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        found = Worker(process)
        found.write(1)
        yield found


def start(
    directory: Path, programs: str, pids: tuple[int, ...] = (), argv: tuple[str, ...] = ()
) -> Start:
    targets = Targets(pids=pids, argv=argv)
    options = RecordOptions(parse_programs(programs), targets, directory=directory)
    return Start(options, View(tab=Tab.VFS, window=ALL), refresh_hz=4)


@contextmanager
def collecting(told: Start) -> Iterator[LiveSource]:
    source = LiveSource(told)
    try:
        yield source
    finally:
        source.close()


def until(source: Source, kind: type[T], wanted: Callable[[T], bool] = lambda _: True) -> T:
    """The first frame of this kind that is as wanted."""
    end = time.monotonic() + DEADLINE_S
    seen: list[Frame] = []
    while time.monotonic() < end:
        frame = source.poll(1.0)
        if frame is not None:
            seen.append(frame)
        if isinstance(frame, kind) and wanted(frame):
            return frame
        if isinstance(frame, Ended):
            break
    raise AssertionError(f"no such {kind.__name__}; there came {seen[-5:]}")


def received(snapshot: Snapshot, program: str) -> int:
    return next(one.received for one in snapshot.programs if one.program == program)


def written(count: int) -> Callable[[Snapshot], bool]:
    """A snapshot whose rows have so many writes of ours."""

    def enough(snapshot: Snapshot) -> bool:
        rows = snapshot.rows
        return isinstance(rows, Table) and rows.total >= count * CHUNK

    return enough


def chunks(directory: Path) -> int:
    with open_recording(directory) as recording:
        (row,) = recording.table(
            "select count(*)::int as n from events where kind = 'vfs_write' and amount = $chunk",
            chunk=CHUNK,
        ).to_pylist()
    return int(row["n"])


def test_it_tells_how_it_begins_what_it_sees_and_how_it_ends(tmp_path: Path) -> None:
    directory = tmp_path / "recording"
    with worker() as target, collecting(start(directory, "vfs:u", (target.pid,))) as source:
        opened = until(source, Opened)
        assert (opened.directory, opened.live, opened.output) == (str(directory), True, "")
        target.write(500)
        snapshot = until(source, Snapshot, written(500))
        assert snapshot.live and snapshot.view.tab is Tab.VFS
        assert isinstance(snapshot.rows, Table)
        assert sum(row.own for row in snapshot.rows.rows) == snapshot.rows.total
        named = until(
            source,
            Snapshot,
            lambda one: isinstance(one.rows, Table) and "write" in str(one.rows.rows[0].names),
        )
        assert named.trust.lost == 0 and named.trust.memory > 0
        source.post(Stop())
        ended = until(source, Ended)
        assert ended.outcome is not None and not ended.failure and not ended.crashed
        assert (ended.exit_code, ended.directory) == (0, str(directory))
        assert source.poll() is None
    assert chunks(directory) == 500


def test_the_last_live_rows_and_the_reopened_ones_are_equal(tmp_path: Path) -> None:
    directory = tmp_path / "recording"
    programs = "vfs:u,switch:uk,rss:u"
    with worker() as target, collecting(start(directory, programs, (target.pid,))) as source:
        until(source, Opened)
        target.write(300)
        source.post(SetView(View(tab=Tab.VFS, group=Group.LEAF, window=ALL)))
        until(source, Snapshot, written(300))
        source.post(DropProgram("switch"))
        source.post(DropProgram("rss"))
        source.post(DropProgram("vfs"))
        off = until(
            source, Snapshot, lambda one: all(p.state is not Collecting.ON for p in one.programs)
        )
        total = sum(one.received for one in off.programs)
        source.post(SetView(View(panel=Panel.PROCESSES, window=ALL)))
        until(
            source,
            Snapshot,
            lambda one: (
                isinstance(one.rows, Processes)
                and sum(row.events for row in one.rows.rows) == one.received >= total
            ),
        )
        views = [
            View(tab=tab, group=group, window=ALL)
            for tab in (Tab.VFS, Tab.SLICES, Tab.BLOCKED, Tab.RSS)
            for group in (Group.STACK, Group.LEAF, Group.THREAD)
        ]
        live = {}
        for view in views:
            source.post(SetView(view))
            live[view] = until(
                source,
                Snapshot,
                lambda one, view=view: one.view == view and "not named" not in str(one.rows),  # type: ignore[misc]
            )
        source.post(Stop())
        until(source, Ended)
    with open_recording(directory) as recording:
        reopened = RecordedTotals(recording)
        for view in views:
            assert answer(reopened, view, reopened.timeline).rows == live[view].rows
        assert recording.table("select count(*)::int as n from events").to_pylist()[0]["n"] >= total


def test_a_filtered_timeline_is_of_what_is_written(tmp_path: Path) -> None:
    directory = tmp_path / "recording"
    both = worker(), worker()
    with both[0] as first, both[1] as second:
        view = View(panel=Panel.TIMELINE, tgid=second.pid)
        with collecting(start(directory, "vfs:u", (first.pid, second.pid))) as source:
            until(source, Opened)
            first.write(300)
            second.write(40)
            source.post(SetView(view))

            def writes(one: Snapshot) -> int:
                strips = one.rows.strips if isinstance(one.rows, Timeline) else ()
                return sum(sum(strip.counts) for strip in strips if strip.kind == "vfs_write")

            live = until(source, Snapshot, lambda one: writes(one) >= 40)
            source.post(Stop())
            until(source, Ended)
    assert isinstance(live.rows, Timeline)
    assert live.view == view and 0 < live.rows.until < live.time
    with open_recording(directory) as recording:
        (row,) = recording.table(
            "select count(*)::int as n from events where kind = 'vfs_write' and tgid = $tgid"
            " and timestamp < $until::ubigint",
            tgid=second.pid,
            until=live.rows.until,
        ).to_pylist()
    assert writes(live) == row["n"] < 300


def test_programs_go_on_and_off_and_the_gap_is_told(tmp_path: Path) -> None:
    directory = tmp_path / "recording"
    with worker() as target, collecting(start(directory, "vfs:u", (target.pid,))) as source:
        until(source, Opened)
        target.write(100)
        until(source, Snapshot, lambda one: received(one, "vfs") >= 100)
        source.post(DropProgram("vfs"))
        off = until(source, Snapshot, lambda one: state(one, "vfs") is Collecting.OFF)
        target.write(1000)
        source.post(SetView(View(panel=Panel.TIMELINE)))
        source.post(SetProgram("vfs:k"))
        until(source, Snapshot, lambda one: state(one, "vfs") is Collecting.ON)
        target.write(50)
        until(source, Snapshot, lambda one: received(one, "vfs") >= 150)
        source.post(SetProgram("nonsense"))
        assert "nonsense" in until(source, Note).text
        source.post(Stop())
        until(source, Ended)
    assert received(off, "vfs") < 1000
    assert chunks(directory) == 150
    with open_recording(directory) as recording:
        assert recording.manifest is not None
        assert len(recording.manifest.status.kinds["vfs_write"].gaps) == 1


def test_a_wait_that_is_open_when_its_program_goes_off_ends_there(tmp_path: Path) -> None:
    directory = tmp_path / "recording"
    with worker() as target, collecting(start(directory, "switch:uk", (target.pid,))) as source:
        until(source, Opened)
        target.write(10)
        until(source, Snapshot, lambda one: received(one, "switch") > 0)
        source.post(DropProgram("switch"))
        until(source, Snapshot, lambda one: state(one, "switch") is Collecting.OFF)
        target.write(10)  # it runs, and waits anew, unseen
        source.post(Stop())
        until(source, Ended)
    with open_recording(directory) as recording:
        assert recording.manifest is not None
        ((begin, _),) = recording.manifest.status.kinds["wait"].gaps
        rows = recording.table("select timestamp from events where open").to_pylist()
    assert rows == [{"timestamp": begin}]


def state(snapshot: Snapshot, program: str) -> Collecting:
    return next(one.state for one in snapshot.programs if one.program == program)


def test_targets_are_added_and_dropped(tmp_path: Path) -> None:
    directory = tmp_path / "recording"
    with (
        worker() as first,
        worker() as second,
        collecting(start(directory, "vfs:u", (first.pid,))) as source,
    ):
        until(source, Opened)
        second.write(400)
        source.post(AddTarget(pid=2**22 - 1))
        assert str(2**22 - 1) in until(source, Note).text
        source.post(AddTarget(pid=second.pid))
        source.post(SetView(View(panel=Panel.PROCESSES, window=ALL)))
        until(source, Snapshot, lambda one: one.view.panel is Panel.PROCESSES)
        second.write(200)
        rows = until(
            source,
            Snapshot,
            lambda one: (
                isinstance(one.rows, Processes)
                and any(
                    row.tgid == second.pid and row.write >= 200 * CHUNK and row.command_line
                    for row in one.rows.rows
                )
            ),
        )
        assert isinstance(rows.rows, Processes)
        row = next(row for row in rows.rows.rows if row.tgid == second.pid)
        assert row.name and "os.devnull" in row.command_line
        source.post(DropTarget(second.pid))
        source.post(SetView(View(tab=Tab.VFS)))
        until(source, Snapshot, lambda one: one.view.tab is Tab.VFS)
        second.write(800)
        first.write(30)
        source.post(Stop())
        until(source, Ended)
    assert chunks(directory) == 230


def test_a_killed_collector_is_told_and_its_recording_opens(tmp_path: Path) -> None:
    directory = tmp_path / "recording"
    with worker() as target, collecting(start(directory, "vfs:u", (target.pid,))) as source:
        until(source, Opened)
        target.write(200)
        until(source, Snapshot, written(200))
        time.sleep(1.5)  # the journal is flushed once a second
        os.kill(source.pid, signal.SIGKILL)
        ended = until(source, Ended)
        assert ended.crashed and "SIGKILL" in ended.failure
        assert (ended.directory, ended.outcome) == (str(directory), None)
        source.post(Stop())
        assert source.poll(0.1) is None
    replayed = RecordingSource(directory, View(tab=Tab.VFS, window=ALL))
    try:
        rows = until(replayed, Snapshot, written(200)).rows
        assert isinstance(rows, Table) and rows.rows
    finally:
        replayed.close()
    with open_recording(directory) as recording:
        assert recording.manifest is not None
        assert recording.manifest.state is State.RECOVERED


_SCREEN = """
import json, sys
from pathlib import Path
from stacks_tui.capture.targets import Targets
from stacks_tui.kinds import parse_programs
from stacks_tui.live.view import ALL, Tab, View
from stacks_tui.session.options import RecordOptions
from stacks_tui.session.protocol import Opened, Snapshot, Start
from stacks_tui.session.supervisor import LiveSource

options = RecordOptions(
    parse_programs("vfs:u"), Targets(pids=(int(sys.argv[2]),)), directory=Path(sys.argv[1])
)
source = LiveSource(Start(options, View(tab=Tab.VFS, window=ALL), 4))
for frame in source.frames():
    if isinstance(frame, Opened):
        print(json.dumps({"collector": source.pid}), flush=True)
    elif isinstance(frame, Snapshot):
        print(json.dumps({"received": frame.received, "lost": frame.trust.lost}), flush=True)
"""


class Screen:
    """A process that looks at a collector, as the screen does."""

    def __init__(self, directory: Path, pid: int) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-c", _SCREEN, str(directory), str(pid)],
            stdout=subprocess.PIPE,
            text=True,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
        )
        self.collector = int(self.line()["collector"])

    def line(self) -> dict[str, Any]:
        assert self.process.stdout is not None
        found: dict[str, Any] = json.loads(self.process.stdout.readline())
        return found


def has_ended(pid: int) -> bool:
    try:
        return b") Z " in Path(f"/proc/{pid}/stat").read_bytes()
    except FileNotFoundError:
        return True


def wait_for(condition: Callable[[], bool]) -> None:
    end = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_a_frozen_screen_costs_no_event(tmp_path: Path) -> None:
    directory = tmp_path / "recording"
    with worker() as target:
        screen = Screen(directory, target.pid)
        os.kill(screen.process.pid, signal.SIGSTOP)
        for _ in range(20):
            target.write(20_000)  # far more than the rings hold
            time.sleep(0.25)  # and more snapshots than the pipe
        os.kill(screen.process.pid, signal.SIGCONT)
        while screen.line()["received"] < 400_000:
            pass
        assert screen.line()["lost"] == 0
        screen.process.kill()
        screen.process.communicate()
        wait_for(lambda: has_ended(screen.collector))
    assert chunks(directory) == 400_000
    with open_recording(directory) as recording:
        assert recording.manifest is not None
        assert recording.manifest.state is State.FINISHED
        assert recording.manifest.status.kinds["vfs_write"].lost == 0


def test_a_collector_whose_screen_is_killed_ends_its_recording(tmp_path: Path) -> None:
    directory = tmp_path / "recording"
    with worker() as target:
        screen = Screen(directory, target.pid)
        target.write(300)
        screen.process.kill()
        screen.process.communicate()
        wait_for(lambda: has_ended(screen.collector))
        target.write(300)
    assert chunks(directory) == 300
    with open_recording(directory) as recording:
        assert recording.manifest is not None
        assert recording.manifest.state is State.FINISHED


def test_a_launched_program_keeps_to_its_files_and_ends_the_recording(tmp_path: Path) -> None:
    directory = tmp_path / "recording"
    argv = (
        "sh",
        "-c",
        "echo to out; echo to err >&2; read line; echo $?; ps -o tty= -p $$; exit 3",
    )
    with collecting(start(directory, "vfs:u", argv=argv)) as source:
        opened = until(source, Opened)
        assert opened.tgid > 0 and opened.output == str(directory)
        assert until(source, TargetsEnded).exit_status == 3
        ended = until(source, Ended)
        assert ended.outcome is not None and ended.outcome.exit_status == 3
    assert (directory / "program.out").read_text().split() == ["to", "out", "1", "?"]
    assert (directory / "program.err").read_text() == "to err\n"


def test_stopping_interrupts_a_launched_program(tmp_path: Path) -> None:
    directory = tmp_path / "recording"
    argv = ("sh", "-c", "trap 'echo told; exit 5' INT; while :; do sleep 0.1; done")
    with collecting(start(directory, "vfs:u", argv=argv)) as source:
        until(source, Snapshot, lambda one: received(one, "vfs") > 0)
        source.post(Stop())
        ended = until(source, Ended)
    assert ended.outcome is not None and ended.outcome.exit_status == 5
    assert (directory / "program.out").read_text() == "told\n"


def test_what_cannot_begin_is_told(tmp_path: Path) -> None:
    with collecting(start(tmp_path / "r", "vfs:u", (2**22 - 1,))) as source:
        ended = until(source, Ended)
        assert (ended.exit_code, ended.crashed) == (2, False)
        assert str(2**22 - 1) in ended.failure
    with collecting(start(tmp_path / "r", "vfs:u", argv=("/no/such/program",))) as source:
        assert until(source, Ended).exit_code == 2


def test_a_program_that_this_kernel_refuses_leaves_the_others(tmp_path: Path) -> None:
    with worker() as target, collecting(start(tmp_path / "r", "vfs:u", (target.pid,))) as source:
        first = until(source, Snapshot)
        failed = [one for one in first.programs if one.state is Collecting.FAILED]
        for one in failed:
            source.post(SetProgram(one.spec))
            assert until(source, KindFailed).reason
        target.write(10)
        until(source, Snapshot, written(10))
        assert all(one.reason for one in failed)
