"""What can't be done is said in one line, with the exit code of its kind, and leaves nothing."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from recordings import COMMAND, DEADLINE_S, assert_well_told, environment, record, run, statuses

pytestmark = pytest.mark.bpf

WRONG = [
    (("--record", "-p", "profil:u:99", "x"), "'profil'"),
    (("--record", "-p", "vfs:ux", "x"), "'ux'"),
    (("--record", "-p", "profile:u:0", "x"), "0"),
    (("--record", "-p", "profile:u:999999", "x"), "999999"),
    (("--record", "-p", "switch:u:-5", "x"), "-5"),
    (("--record", "-p", "vfs:u:10", "x"), "vfs:u:10"),
    (("--record", "-p", "", "x"), "-p"),
    (("--record", "-p", "vfs,vfs", "x"), "twice"),
    (("--record",), "nothing to record"),
    (("--record", "--"), "no program after --"),
    (("--record", "--", "/no/such/program"), "/no/such/program"),
    (("--record", "--", "/etc/passwd"), "/etc/passwd"),
    (("--record", "--pid", "abc"), "abc"),
    (("--record", "--pid", "0"), "0"),
    (("--record", "--cgroup", "/no/such/cgroup"), "/no/such/cgroup"),
    (("--record", "--all", "name"), "--all"),
    (("--record", "--duration", "-3", "x"), "-3"),
    (("--record", "--ring-bytes", "65537", "x"), "65537"),
    (("--record", "--ring-bytes", "1K", "x"), "1K"),
    (("--record", "--max-frames", "0", "x"), "0"),
    (("--record", "--no-such-option", "x"), "--no-such-option"),
    (("--record", "--open", "x"), "--record"),
    (("--open", "/no/such/recording"), "/no/such/recording"),
    (("--open", "/etc"), "/etc"),
]


@pytest.mark.parametrize(("arguments", "named"), WRONG, ids=lambda value: " ".join(value))
def test_wrong_usage_is_one_line_and_two(arguments: tuple[str, ...], named: str) -> None:
    told = run(*arguments)
    assert told.exit_code == 2, told.stderr
    told.assert_well_told()
    lines = told.stderr.splitlines()
    assert len(lines) == 1, told.stderr
    assert lines[0].startswith("stacks-tui: ")
    assert named in lines[0]
    assert told.stdout == ""


def test_a_wrong_program_is_told_before_the_machine_is_touched(tmp_path: Path) -> None:
    told = run("--record", "-d", tmp_path / "r", "-p", "swich:uk", "x")
    assert told.exit_code == 2
    assert "'switch'" in told.stderr  # the nearest one
    assert not (tmp_path / "r").exists()


def test_a_folder_that_is_taken_or_can_not_be_written(tmp_path: Path) -> None:
    taken = tmp_path / "taken"
    taken.mkdir()
    (taken / "file").write_text("mine")
    for folder in (taken, tmp_path / "taken/file/below", Path("/proc/no/r")):
        told = run("--record", "-p", "vfs", "-d", folder, "--", "true")
        assert told.exit_code in (1, 2, 3), folder
        told.assert_well_told()
        lines = [line for line in told.stderr.splitlines() if not line.startswith("note:")]
        assert len(lines) == 1, told.stderr
        assert str(folder) in lines[0]
    assert (taken / "file").read_text() == "mine"
    assert [path.name for path in taken.iterdir()] == ["file"]


def test_a_folder_of_somebody_else_is_not_written_to(tmp_path: Path) -> None:
    folder = tmp_path / "theirs"
    folder.mkdir(mode=0o777)
    folder.chmod(0o777)
    os.chown(folder, 65534, 65534)
    told = run("--record", "-p", "vfs", "-d", folder, "--", "true")
    assert told.exit_code in (2, 3)
    assert list(folder.iterdir()) == []


def test_errors_are_json_where_json_is_asked_for() -> None:
    told = run("--record", "--json", "-p", "nonsense", "x")
    assert told.exit_code == 2
    (error,) = [line for line in statuses(told.stderr) if "error" in line]
    assert error["exit_code"] == 2
    assert "'nonsense'" in error["error"]
    assert len(told.stderr.splitlines()) == 1


def test_without_root_it_says_what_to_do(tmp_path: Path) -> None:
    home = Path("/var/tmp") / f"stacks-tui-test-{os.getpid()}"
    home.mkdir()
    os.chown(home, 65534, 65534)
    try:
        done = subprocess.run(
            [
                *("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"),
                *(*COMMAND, "--record", "-d", str(home / "r"), "-p", "vfs", "--", "true"),
            ],
            capture_output=True,
            text=True,
            timeout=DEADLINE_S,
            env=environment({"HOME": str(home), "PYTHONDONTWRITEBYTECODE": "1"}),
            cwd="/",
            check=False,
        )
        assert done.returncode == 3, done.stderr
        assert_well_told(done.stdout + done.stderr)
        (line,) = done.stderr.splitlines()
        assert line.startswith("stacks-tui: ")
        assert "sudo" in line or "root" in line
        assert not (home / "r").exists()
    finally:
        shutil.rmtree(home)


def test_without_bcc_it_says_what_to_install(tmp_path: Path) -> None:
    (tmp_path / "bcc").mkdir()
    (tmp_path / "bcc/__init__.py").write_text("raise ImportError('libbcc.so.0: no such file')\n")
    path = os.pathsep.join([str(tmp_path), *filter(None, sys.path)])
    told = run(
        *("--record", "-d", tmp_path / "r", "-p", "vfs", "--", "true"),
        environ={"PYTHONPATH": path},
    )
    # What it has compiled before it may load without BCC; else it must say so.
    if told.exit_code:
        assert told.exit_code == 3, told.stderr
        told.assert_well_told()
        lines = [line for line in told.stderr.splitlines() if not line.startswith("note:")]
        assert len(lines) == 1
        assert "bpfcc" in lines[0]


def test_the_status_is_json_a_line_on_stderr(tmp_path: Path) -> None:
    recorded = record(tmp_path / "r", "vfs:u", ["sh", "-c", "sleep 2.5"])
    lines = recorded.stderr.splitlines()
    assert [json.loads(line) for line in lines] == statuses(recorded.stderr)
    running = [status for status in statuses(recorded.stderr) if status["elapsed_s"] > 0]
    assert len(running) >= 2
    received = [status["received"] for status in running]
    assert received == sorted(received)
    assert set(running[-1]["kinds"]) >= {"vfs_read"}
