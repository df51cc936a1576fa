"""The wheel carries the package, the BPF programs, the queries and the licences, no more."""

from __future__ import annotations

import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from stacks_tui import __version__

ROOT = Path(__file__).resolve().parents[2]
BUILD = "import sys; from hatchling.build import build_wheel; print(build_wheel(sys.argv[1]))"


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> zipfile.ZipFile:
    into = tmp_path_factory.mktemp("dist")
    command = [sys.executable, "-c", BUILD, str(into)]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True)
    (path,) = into.glob("*.whl")
    return zipfile.ZipFile(path)


def files(folder: str) -> set[str]:
    return {
        str(path.relative_to(ROOT / folder))
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }


@pytest.mark.parametrize(
    ("folder", "inside"), [("stacks_tui", ""), ("bpf", "_bpf/"), ("sql", "_sql/")]
)
def test_every_file_is_in_the_wheel(wheel: zipfile.ZipFile, folder: str, inside: str) -> None:
    names = set(wheel.namelist())
    lacking = {name for name in files(folder) if f"stacks_tui/{inside}{name}" not in names}
    assert not lacking


def test_nothing_else_is_in_the_wheel(wheel: zipfile.ZipFile) -> None:
    tops = {name.partition("/")[0] for name in wheel.namelist()}
    assert tops == {"stacks_tui", f"stacks_tui-{__version__}.dist-info"}


def test_the_wheel_starts_the_program_and_names_both_licences(wheel: zipfile.ZipFile) -> None:
    info = f"stacks_tui-{__version__}.dist-info"
    assert "stacks-tui = stacks_tui.cli.main:run" in wheel.read(f"{info}/entry_points.txt").decode()
    assert f"{info}/licenses/LICENSE" in wheel.namelist()
    assert f"{info}/licenses/bpf/LICENSE" in wheel.namelist()


def test_installed_from_the_wheel_it_finds_its_folders(
    wheel: zipfile.ZipFile, tmp_path: Path
) -> None:
    wheel.extractall(tmp_path)
    code = (
        "import sys; sys.path.insert(0, sys.argv[1]); from stacks_tui import resources as r;"
        "print(r.folder('bpf'), r.folder('sql'), (r.folder('bpf') / 'event.h').is_file())"
    )
    command = [sys.executable, "-P", "-c", code, str(tmp_path)]
    done = subprocess.run(command, cwd="/", capture_output=True, text=True, check=True)
    package = tmp_path / "stacks_tui"
    assert done.stdout.split() == [f"{package}/_bpf", f"{package}/_sql", "True"]
