"""The program as a process of its own: its streams, its completion, what it imports."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
RUN = "import sys; sys.path.insert(0, sys.argv.pop(1)); from stacks_tui.cli.main import run; run()"


def command(*args: str) -> list[str]:
    return [sys.executable, "-P", "-c", RUN, str(ROOT), *args]


def run(*args: str, env: dict[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, **(env or {})}
    return subprocess.run(command(*args), capture_output=True, text=True, env=environment)


def test_exit_code_and_one_line() -> None:
    done = run("--record")
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("stacks-tui: nothing to record")


def test_a_reader_that_went_away_is_no_crash() -> None:
    read_fd, write_fd = os.pipe()
    os.close(read_fd)
    done = subprocess.run(
        command("--help"), stdout=write_fd, stderr=subprocess.PIPE, text=True, check=False
    )
    os.close(write_fd)
    assert done.returncode == 1
    assert done.stderr == ""


@pytest.mark.parametrize("closed", ["2>&-", ">&-", ">&- 2>&-"])
def test_closed_streams_are_no_crash(closed: str) -> None:
    shell = ["sh", "-c", f'exec "$@" {closed}', "sh", *command("--record")]
    assert subprocess.run(shell, capture_output=True, check=False).returncode == 2


def test_another_encoding_gets_escapes() -> None:
    done = subprocess.run(
        command("--record", "--pid", "1×"),
        capture_output=True,
        env={**os.environ, "PYTHONIOENCODING": "ascii:strict"},
        check=False,
    )
    assert done.returncode == 2
    assert b"'1\\xd7' is not a process id" in done.stderr


def complete(*words: str) -> list[str]:
    done = run(
        env={
            "_STACKS_TUI_COMPLETE": "bash_complete",
            "COMP_WORDS": " ".join(("stacks-tui", *words)),
            "COMP_CWORD": str(len(words)),
        }
    )
    assert done.stderr == ""
    return [line.partition(",")[2] for line in done.stdout.splitlines()]


def test_tab_completes_options_programs_and_processes() -> None:
    assert "--record" in complete("--rec")
    assert complete("--record", "-p", "pro") == ["profile"]
    assert complete("--record", "-p", "profile:u:99,vf") == ["profile:u:99,vfs"]
    assert str(os.getpid()) in complete("--record", "--pid", str(os.getpid()))


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts(shell: str) -> None:
    done = run("--completion", shell)
    assert done.returncode == 0
    assert "_STACKS_TUI_COMPLETE" in done.stdout
