"""Whom a recording is of: by name, number, cgroup, launched, waited for; and nobody else."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from recordings import (
    Recorded,
    Recorder,
    environment,
    puppet,
    record,
    record_argv,
    recording,
    run,
    statuses,
    until,
)
from workloads import built

pytestmark = pytest.mark.bpf


def copy(tmp_path: Path, name: str, workload: str = "ticks") -> Path:
    """A workload under a name of its own."""
    path = tmp_path / name
    shutil.copy(built(workload), path)
    return path


@contextlib.contextmanager
def ticking(path: Path, milliseconds: int = 10) -> Iterator[int]:
    """A process that writes all the time; its pid."""
    program = subprocess.Popen([path, str(milliseconds), "60", "--truth", "/dev/null"])
    try:
        yield program.pid
    finally:
        program.kill()
        program.wait()


def writers(recorded: Recorded) -> set[int]:
    """The processes that wrote."""
    return {
        row["tgid"]
        for row in recorded.rows("select distinct tgid from events where kind = 'vfs_write'")
    }


def after(recorder: Recorder, events: int) -> None:
    """Wait until as many events have been received."""
    until(lambda: statuses(recorder.stderr)[-1].get("received", 0) >= events)


def test_by_the_name_of_processes(tmp_path: Path) -> None:
    this, other = copy(tmp_path, "e2e-this"), copy(tmp_path, "e2e-other")
    with ticking(this) as first, ticking(this) as second, ticking(other):  # noqa: SIM117
        with recording(tmp_path / "r", "vfs:u,switch", "e2e-this") as recorder:
            after(recorder, 200)
            recorded = recorder.stop()
    assert writers(recorded) == {first, second}
    tgids = recorded.rows("select distinct tgid from events")
    assert {row["tgid"] for row in tgids} == {first, second}


def test_by_several_names(tmp_path: Path) -> None:
    this, other = copy(tmp_path, "e2e-this"), copy(tmp_path, "e2e-other")
    with ticking(this) as first, ticking(other) as second, ticking(built("ticks")):  # noqa: SIM117
        with recording(tmp_path / "r", "vfs", "e2e-this", "e2e-other") as recorder:
            after(recorder, 100)
            recorded = recorder.stop()
    assert writers(recorded) == {first, second}


def test_by_the_name_of_a_thread(tmp_path: Path) -> None:
    """The thread of that name, not the others of its process."""
    truth_file = tmp_path / "truth.json"
    recorder = Recorder(tmp_path / "r", "vfs", "worker-b")
    recorder.until_recording()
    subprocess.run([built("life"), built("life_next"), "--truth", truth_file], check=True)
    after(recorder, 20)
    recorded = recorder.stop()
    rows = recorded.rows(
        "select amount, command, thread, count(*) as calls from events group by all"
    )
    assert rows == [{"amount": 1105, "command": "renamed-self", "thread": "worker-b", "calls": 20}]


LONGER = """
import ctypes, os, threading
libc, sink = ctypes.CDLL(None), os.open("/dev/null", os.O_WRONLY)
def work():
    libc.prctl(15, b"a-longer-name")
    for _ in range(40):
        os.write(sink, b"twelve bytes")
libc.prctl(15, b"e2e-p")
thread = threading.Thread(target=work)
thread.start(), thread.join()
"""


def test_threads_with_longer_names_than_their_process(tmp_path: Path) -> None:
    recorder = Recorder(tmp_path / "r", "vfs", "e2e-p")
    recorder.until_recording()
    subprocess.run([sys.executable, "-c", LONGER], check=True)
    after(recorder, 40)
    recorded = recorder.stop()
    rows = recorded.rows(
        "select command, thread, count(*) as calls from events where amount = 12 group by all"
    )
    assert rows == [{"command": "e2e-p", "thread": "a-longer-name", "calls": 40}]


def test_a_name_is_matched_as_the_kernel_cuts_it(tmp_path: Path) -> None:
    name = "e2e-a-name-of-more-than-fifteen"
    path = copy(tmp_path, name)
    with ticking(path) as pid, recording(tmp_path / "r", "vfs", name) as recorder:
        after(recorder, 50)
        recorded = recorder.stop()
    assert writers(recorded) == {pid}
    assert recorded.value("select distinct command from events") == name[:15]
    assert any(repr(name[:15]) in note for note in recorded.notes)


def test_by_number_without_and_with_children(tmp_path: Path) -> None:
    script = f"while :; do {built('ticks')} 10 0.2 --truth /dev/null; done"
    shell = subprocess.Popen(["sh", "-c", script], start_new_session=True)
    try:
        with recording(tmp_path / "alone", "vfs,switch", "--pid", str(shell.pid)) as recorder:
            after(recorder, 5)
            alone = recorder.stop()
        arguments = ("--pid", str(shell.pid), "--follow")
        with recording(tmp_path / "all", "vfs,switch", *arguments) as recorder:
            after(recorder, 200)
            following = recorder.stop()
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(shell.pid, signal.SIGKILL)
        shell.wait()
    assert alone.rows("select distinct tgid from events") == [{"tgid": shell.pid}]
    commands = following.rows(
        "select command, count(distinct tgid) as tgids from events group by command"
    )
    found = {row["command"]: row["tgids"] for row in commands}
    assert found["sh"] >= 1
    assert found["ticks"] >= 3
    assert set(found) == {"sh", "ticks"}


@pytest.fixture
def cgroup() -> Iterator[Path]:
    """A new cgroup of version 2."""
    mounts = Path("/proc/self/mountinfo").read_text().splitlines()
    roots = [line.split()[4] for line in mounts if " - cgroup2 " in line]
    if not roots:
        pytest.skip("no cgroup2 file system is mounted")
    path = Path(roots[0]) / "stacks-tui-test"
    path.mkdir()
    (path / "below").mkdir()
    try:
        yield path
    finally:
        until(lambda: not (path / "below/cgroup.procs").read_text())
        (path / "below").rmdir()
        until(lambda: not (path / "cgroup.procs").read_text())
        path.rmdir()


def test_by_cgroup_and_what_is_below_it(tmp_path: Path, cgroup: Path) -> None:
    ticks = built("ticks")
    with ticking(ticks) as inside, ticking(ticks) as below, ticking(ticks) as outside:
        (cgroup / "cgroup.procs").write_text(str(inside))
        (cgroup / "below/cgroup.procs").write_text(str(below))
        with recording(tmp_path / "r", "vfs:u", "--cgroup", str(cgroup)) as recorder:
            after(recorder, 100)
            # One that comes later, and one that leaves.
            (cgroup / "cgroup.procs").write_text(str(outside))
            (cgroup.parent / "cgroup.procs").write_text(str(below))
            after(recorder, statuses(recorder.stderr)[-1]["received"] + 300)
            recorded = recorder.stop()
    assert writers(recorded) == {inside, below, outside}
    (last,) = recorded.rows(
        "select max(timestamp) filter (tgid = $below) as below, max(timestamp) as all_of_them "
        "from events",
        below=below,
    )
    assert last["all_of_them"] - last["below"] > 100_000_000
    places = recorded.rows("select distinct cgroup from processes where tgid = $tgid", tgid=inside)
    assert [row["cgroup"] for row in places] == ["/stacks-tui-test"]


def test_everything_but_the_recorder_itself(tmp_path: Path) -> None:
    with puppet(built("puppet")) as one, ticking(built("ticks")) as other:  # noqa: SIM117
        with recording(tmp_path / "r", "vfs:u,profile:u:99", "--all") as recorder:
            one.order("write 1000")
            recorder_pid = recorder.process.pid
            recorded = recorder.stop()
    found = writers(recorded)
    assert {one.pid, other} <= found
    assert recorder_pid not in found
    written = recorded.value(
        "select count(*) from events where kind = 'vfs_write' and tgid = $tgid and amount = 1",
        tgid=one.pid,
    )
    assert written == 1000
    assert recorded.value("select count(*) from events where tgid = 0") == 0


def test_a_target_is_waited_for_and_picked_up_again(tmp_path: Path) -> None:
    path = copy(tmp_path, "e2e-waited-for")
    recorder = Recorder(tmp_path / "r", "vfs:u,switch:u", "e2e-waited-for")
    recorder.until_recording()
    tgids = []
    for round_ in (1, 2, 3):
        truth = tmp_path / f"{round_}.json"
        program = subprocess.Popen([path, "5", "0.5", "--truth", truth])
        program.wait()
        tgids.append(program.pid)
    recorded = recorder.stop()
    assert writers(recorded) == set(tgids)
    rows = recorded.rows(
        "select tgid, min(amount) as first, count(*) as calls from events "
        "where kind = 'vfs_write' group by tgid"
    )
    for row in rows:
        assert row["first"] == 1  # from its first write on
        assert row["calls"] >= 50
    named = recorded.rows(
        "select tgid, count(*) as named from samples where kind = 'vfs_write' and "
        "list_contains(list_transform(ustack, lambda f: f.name), 'main') group by tgid"
    )
    assert {row["tgid"]: row["named"] for row in named} == {
        row["tgid"]: row["calls"] for row in rows
    }
    assert any("waited for" in note for note in recorded.notes)
    processes = recorded.rows("select tgid from processes where comm = 'e2e-waited-for'")
    assert {row["tgid"] for row in processes} == set(tgids)


def test_a_launched_programs_first_instruction_is_not_missed(tmp_path: Path) -> None:
    recorded = record(tmp_path / "r", "vfs:u", [built("three_writes")], expect=5)
    assert recorded.summary["exit_status"] == 5
    rows = recorded.rows("select kind, amount from events order by timestamp")
    assert rows == [{"kind": "vfs_write", "amount": size} for size in (1, 2, 3)]
    assert recorded.counts("vfs_write").received == 3
    assert recorded.counts("vfs_write").lost == 0
    stacks = recorded.rows("select distinct ustack from samples")
    assert [[frame["name"] for frame in row["ustack"]] for row in stacks] == [["_start"]]


@pytest.mark.parametrize(
    ("script", "status"),
    [("exit 0", 0), ("exit 37", 37), ("kill -TERM $$", 128 + signal.SIGTERM), ("exit 1", 1)],
)
def test_the_exit_status_is_passed_on(tmp_path: Path, script: str, status: int) -> None:
    recorded = record(tmp_path / "r", "vfs", ["sh", "-c", script], expect=status)
    assert recorded.summary["exit_status"] == status
    assert recorded.summary["failure"] is None


def test_a_launched_programs_children_are_followed(tmp_path: Path) -> None:
    ticks = built("ticks")
    script = f"({ticks} 10 0.3 --truth /dev/null & {ticks} 10 0.3 --truth /dev/null; wait)"
    recorded = record(tmp_path / "r", "vfs", ["sh", "-c", script])
    children = recorded.value("select count(distinct tgid) from events where command = 'ticks'")
    assert children == 2


def test_an_interrupt_is_for_both(tmp_path: Path) -> None:
    """^C goes to the whole foreground group: the program may say its last words."""
    script = f"trap '{built('ticks')} 1 0.05 --truth /dev/null; exit 3' INT; while :; do :; done"
    recorder = subprocess.Popen(
        record_argv(tmp_path / "r", "vfs", "--", "sh", "-c", script),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env=environment(),
    )
    assert recorder.stderr is not None
    for line in recorder.stderr:
        if statuses(line) and statuses(line)[0].get("elapsed_s", 0) > 0:
            break
    os.killpg(recorder.pid, signal.SIGINT)
    stdout, stderr = recorder.communicate(timeout=60)
    recorded = Recorded(tmp_path / "r", recorder.returncode, stdout, stderr)
    recorded.assert_well_told()
    assert recorder.returncode == 3
    assert recorded.value("select count(*) from events where command = 'ticks'") > 10


def test_nothing_of_others(tmp_path: Path) -> None:
    """A launched program that does nothing leaves nothing of anybody else."""
    with ticking(built("ticks"), 1):
        recorded = record(
            tmp_path / "r", "vfs:uk,switch:uk,rss,net,block,profile:uk:999", ["sleep", "1"]
        )
    assert {row["command"] for row in recorded.rows("select distinct command from events")} <= {
        "sleep",
        "python",
        "python3",
        "stacks-tui",
    }
    tgids = recorded.rows("select distinct tgid from events")
    assert len(tgids) == 1


def test_a_process_that_is_not_there(tmp_path: Path) -> None:
    told = run("--record", "-d", tmp_path / "r", "--pid", "4194303")
    assert told.exit_code == 2
    assert "4194303" in told.stderr
    assert not (tmp_path / "r").exists()
