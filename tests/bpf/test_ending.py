"""However a recording ends, what was recorded is there: signals, kills, a full disk."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import stat
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from recordings import (
    DEADLINE_S,
    Recorded,
    Recorder,
    puppet,
    record,
    recording,
    run,
    statuses,
    until,
)
from workloads import built

from stacks_tui.store.manifest import State
from stacks_tui.store.reader import open_recording

pytestmark = pytest.mark.bpf


def ticks(seconds: int) -> list[str]:
    return [str(built("ticks")), "10", str(seconds), "--truth", "/dev/null"]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_it_and_everything_is_written(tmp_path: Path, number: signal.Signals) -> None:
    with (
        puppet(built("puppet")) as one,
        recording(tmp_path / "r", "vfs:uk,switch:u", "--pid", str(one.pid)) as recorder,
    ):
        one.order("both 5000")
        recorded = recorder.stop(number)
        assert one.states() == {"S"}  # it goes on
    assert recorded.manifest.state is State.FINISHED
    assert recorded.value("select count(*) from events where kind = 'vfs_read'") == 5000
    assert recorded.value("select count(*) from events where kind = 'vfs_write'") == 5001
    assert recorded.summary["kinds"]["vfs_write"]["events"] == 5001
    assert recorded.summary["kinds"]["vfs_write"]["top"]
    left = [path.name for path in recorded.directory.iterdir()]
    assert all(name.endswith(".parquet") or name == "manifest.json" for name in left)


def test_the_duration_ends_it_and_the_program_goes_on(tmp_path: Path) -> None:
    with puppet(built("puppet")) as one:
        recorder = Recorder(tmp_path / "r", "vfs", *("--pid", str(one.pid)), *("--duration", "2s"))
        recorder.until_recording()
        one.order("write 1000")
        recorded = recorder.finish()
        one.order("write 10")
    assert recorded.manifest.state is State.FINISHED
    assert recorded.value("select count(*) from events where amount = 1") in (0, 1000)


@pytest.mark.parametrize("stacks", ["", ":uk"])
def test_a_kill_costs_at_most_the_last_second(tmp_path: Path, stacks: str) -> None:
    program = subprocess.Popen(ticks(30))
    try:
        with recording(tmp_path / "r", f"vfs{stacks}", "--pid", str(program.pid)) as recorder:
            time.sleep(3)
            recorder.process.kill()
            killed = time.time_ns()
            recorder.finish(expect=-signal.SIGKILL)
    finally:
        program.kill()
        program.wait()
    with open_recording(tmp_path / "r") as opened:
        assert opened.manifest is not None
        assert opened.manifest.state is State.RECOVERED
        rows = opened.table(
            "select amount, timestamp, ustack from events where kind = 'vfs_write' order by amount"
        ).to_pylist()
        lost = killed - rows[-1]["timestamp"]
        assert lost <= 1_000_000_000
        counters = [row["amount"] for row in rows]
        assert counters == list(range(counters[0], counters[0] + len(counters)))
        assert len(counters) > 150
        if stacks:
            named = opened.table(
                "select count(*) as n from samples where kind = 'vfs_write' "
                "and list_contains(list_transform(ustack, lambda f: f.name), 'main')"
            ).to_pylist()[0]["n"]
            assert named >= len(rows) - 100  # stacks may come a second later, too
        assert opened.manifest.status.kinds["vfs_write"].received >= len(rows)
    # And once more: it stays as it is.
    with open_recording(tmp_path / "r") as again:
        assert len(again.table("select * from events where kind = 'vfs_write'")) == len(rows)
    told = run("--open", tmp_path / "r", "--json")
    assert told.exit_code == 0
    assert told.summary["kinds"]["vfs_write"]["events"] == len(rows)


@contextlib.contextmanager
def small_disk(folder: Path, megabytes: int) -> Iterator[Path]:
    folder.mkdir()
    size = f"size={megabytes}m"
    subprocess.run(["mount", "-t", "tmpfs", "-o", size, "tmpfs", folder], check=True)
    try:
        yield folder
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


def test_a_full_disk_is_said_in_one_line_and_what_is_whole_opens(tmp_path: Path) -> None:
    with small_disk(tmp_path / "disk", 4) as disk, puppet(built("puppet")) as one:
        options = ("--compression", "none", "--rows", "2000", "--rows-per-file", "10000")
        recorder = Recorder(disk / "r", "vfs:uk", "--pid", str(one.pid), *options)
        recorder.until_recording()
        for _ in range(200):
            if recorder.process.poll() is not None:
                break
            one.order("both 20000")
        code = recorder.process.wait(DEADLINE_S)
        assert code == 1
        recorded = recorder.finish(expect=1)
        (error,) = [line for line in statuses(recorded.stderr) if "error" in line]
        assert "space" in error["error"] or "full" in error["error"]
        assert "\n" not in error["error"]
        with open_recording(disk / "r") as opened:
            assert opened.manifest is not None
            assert opened.manifest.state is State.FAILED
            rows = opened.table("select count(*) as n from events").to_pylist()[0]["n"]
            assert rows >= 10_000
            assert opened.manifest.reason
        whole = [path for path in (disk / "r").iterdir() if path.suffix == ".parquet"]
        assert whole


def test_files_are_the_invoking_users_alone(tmp_path: Path) -> None:
    home = Path("/var/tmp") / f"stacks-tui-test-{os.getpid()}"
    home.mkdir(mode=0o700)
    os.chown(home, 65534, 65534)
    caller = {"SUDO_UID": "65534", "SUDO_GID": "65534", "SUDO_USER": "nobody"}
    try:
        recorded = record(
            home / "r",
            "vfs:u",
            ["sh", "-c", f"id -u >{home}/id; cat {home}/id"],
            environ=caller,
        )
        assert (home / "id").read_text() == "65534\n"  # and what is launched runs as that user
        entries = [recorded.directory, *recorded.directory.iterdir()]
        assert len(entries) >= 4
        for path in entries:
            status = path.stat()
            assert (status.st_uid, status.st_gid) == (65534, 65534), path
            mode = 0o700 if path.is_dir() else 0o600
            assert stat.S_IMODE(status.st_mode) == mode, path
    finally:
        subprocess.run(["rm", "-rf", home], check=True)


def test_two_interrupts_end_it_at_once_and_it_is_recovered(tmp_path: Path) -> None:
    with puppet(built("puppet")) as one:
        recorder = Recorder(tmp_path / "r", "vfs", "--pid", str(one.pid))
        recorder.until_recording()
        one.order("write 2000")
        until(lambda: statuses(recorder.stderr)[-1]["received"] >= 2001)
        recorder.process.send_signal(signal.SIGINT)
        with contextlib.suppress(ProcessLookupError):
            recorder.process.send_signal(signal.SIGINT)
        code = recorder.process.wait(DEADLINE_S)
        assert code in (0, 1)  # it may have been done before the second
        recorded = recorder.finish(expect=code)
    recorded.assert_well_told()
    with open_recording(tmp_path / "r") as opened:
        assert len(opened.table("select * from events where kind = 'vfs_write'")) == 2001


def test_the_summary_is_the_last_line_and_json(tmp_path: Path) -> None:
    recorded: Recorded = record(tmp_path / "r", "vfs:u", ["sh", "-c", "echo hello"])
    lines = recorded.stdout.splitlines()
    assert lines[0] == "hello"
    assert json.loads(lines[1])["directory"] == str(tmp_path / "r")
    assert len(lines) == 2
