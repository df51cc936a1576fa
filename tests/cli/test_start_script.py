"""The script at the root, with an environment that it takes for ready: what it starts, and how."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
SAYS = '#!/bin/sh\nfor one; do printf "<%s>" "$one"; done\npwd\numask\n'


def cksum(*paths: Path) -> str:
    done = subprocess.run(
        ["cksum"], input=b"".join(path.read_bytes() for path in paths), capture_output=True
    )
    return done.stdout.decode().strip()


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A checkout whose program only says what it was given, prepared as the stamp has it."""
    here = tmp_path / "a checkout"
    (here / ".venv/bin").mkdir(parents=True)
    for name in ("stacks-tui", "pyproject.toml"):
        shutil.copy(ROOT / name, here / name)
    (here / "stacks-export").symlink_to("stacks-tui")
    for name in ("stacks-tui", "stacks-export", "pytest"):
        (here / ".venv/bin" / name).write_text(SAYS)
        (here / ".venv/bin" / name).chmod(0o755)
    sums = cksum(here / "pyproject.toml", here / "stacks-tui")
    python = Path("/usr/bin/python3").resolve()
    for name in (".ready", ".ready-test"):
        (here / ".venv" / name).write_text(f"{here} {python} {sums}\n")
    return here


def start(path: Path, *args: str, **more: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [str(path), *args],
        capture_output=True,
        text=True,
        cwd="/",
        env={"PATH": os.environ["PATH"], **more},
        check=False,
    )


def test_it_starts_the_program_with_the_arguments_as_they_are(checkout: Path) -> None:
    done = start(checkout / "stacks-tui", "--record", "a b", "*", "$HOME", "", "--", "\\n")
    umask = os.umask(0)
    os.umask(umask)
    assert done.stdout == f"<--record><a b><*><$HOME><><--><\\n>/\n{umask:04o}\n"
    assert done.stderr == ""


def test_it_is_found_through_a_link(checkout: Path, tmp_path: Path) -> None:
    link = tmp_path / "stacks-tui"
    link.symlink_to(checkout / "stacks-tui")
    assert start(link, "x").stdout.startswith("<x>/\n")


def test_the_other_program_is_started_by_its_own_name(checkout: Path, tmp_path: Path) -> None:
    says = SAYS.replace("for one", "printf export; for one")
    (checkout / ".venv/bin/stacks-export").write_text(says)
    assert start(checkout / "stacks-export", "pprof").stdout.startswith("export<pprof>/\n")
    (tmp_path / "stacks-export").symlink_to(checkout / "stacks-export")
    assert start(tmp_path / "stacks-export", "x").stdout.startswith("export<x>/\n")
    assert start(checkout / "stacks-tui", "x").stdout.startswith("<x>/\n")


def test_the_checkout_has_both_programs() -> None:
    assert (ROOT / "stacks-export").resolve() == ROOT / "stacks-tui"


def test_arguments_of_the_self_test_go_to_pytest(checkout: Path) -> None:
    done = start(checkout / "stacks-tui", "--self-test", "-k", "a b")
    assert f"<-k><a b>{checkout}" in done.stdout


def test_a_failing_self_test_says_so(checkout: Path) -> None:
    (checkout / ".venv/bin/pytest").write_text("#!/bin/sh\nexit 1\n")
    done = start(checkout / "stacks-tui", "--self-test", "-k", "x")
    assert done.returncode == 1
    assert "failed: pytest -k x" in done.stderr


def test_tab_never_installs(checkout: Path) -> None:
    (checkout / "pyproject.toml").write_text("changed")
    done = start(checkout / "stacks-tui", _STACKS_TUI_COMPLETE="bash_complete")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


@pytest.mark.parametrize("name", ["pyproject.toml", "stacks-tui"])
def test_what_changed_makes_the_stamp_stale(checkout: Path, name: str) -> None:
    with (checkout / name).open("a") as file:
        file.write("# changed\n")
    done = start(checkout / "stacks-tui", _STACKS_TUI_COMPLETE="bash_complete")
    assert done.stdout == ""
