"""Rooms import only downwards, and what is heavy is loaded only where it is needed."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
HEAVY = ("bcc", "duckdb", "numpy", "pyarrow", "elftools", "textual")
LIST = (
    "import importlib, sys; sys.path.insert(0, sys.argv[1]); importlib.import_module(sys.argv[2]);"
    "print(*sorted({name.partition('.')[0] for name in sys.modules}))"
)


def loaded_by(module: str) -> set[str]:
    command = [sys.executable, "-P", "-c", LIST, str(ROOT), module]
    return set(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split())


def test_the_order_of_imports_holds() -> None:
    code = "from importlinter.cli import lint_imports; raise SystemExit(lint_imports())"
    command = [sys.executable, "-c", code]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "0 broken" in done.stdout


def test_starting_the_command_line_loads_nothing_heavy() -> None:
    assert loaded_by("stacks_tui.cli.main").isdisjoint(HEAVY)


@pytest.mark.parametrize(
    ("module", "never"),
    [
        ("stacks_tui.session.recorder", "bcc"),  # the compiler runs in a process of its own
        ("stacks_tui.store.writer", "duckdb"),
        ("stacks_tui.store.reader", "bcc"),
        ("stacks_tui.session.summary", "bcc"),
        ("stacks_tui.session.collector", "bcc"),
        ("stacks_tui.session.playback", "bcc"),
        ("stacks_tui.symbols.resolver", "bcc"),
        ("stacks_tui.unwind.tables", "bcc"),
    ],
)
def test_what_a_room_never_loads(module: str, never: str) -> None:
    assert never not in loaded_by(module)


@pytest.mark.parametrize("module", ["stacks_tui.tui.run", "stacks_tui.session.supervisor"])
def test_first_lines_are_drawn_before_the_screen_is_loaded(module: str) -> None:
    assert loaded_by(module).isdisjoint(HEAVY)


def test_the_screen_is_drawn_before_arrays_are_loaded() -> None:
    assert loaded_by("stacks_tui.tui.app").isdisjoint({"numpy", "pyarrow", "duckdb", "bcc"})
