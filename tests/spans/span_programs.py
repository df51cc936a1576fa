"""Builds the programs that emit spans: `built("c_spans")` is the executable of its source here."""

from __future__ import annotations

import atexit
import functools
import shutil
import subprocess
import tempfile
from pathlib import Path

SOURCES = Path(__file__).resolve().parent / "workloads"
PACKAGE = Path(__file__).resolve().parents[2] / "tracing_stacks"
INCLUDE = PACKAGE / "include"

USUAL = ("-O2", "-Wall", "-Wextra", "-Werror", "-pthread", "-Wl,--build-id", f"-I{INCLUDE}")


@functools.cache
def folder() -> Path:
    """A folder for what is built, that goes when the tests end."""
    path = Path(tempfile.mkdtemp(prefix="spans-"))
    path.chmod(0o755)
    atexit.register(shutil.rmtree, path, ignore_errors=True)
    return path


@functools.cache
def built(name: str) -> Path:
    """The executable of `workloads/NAME.c`; compiled the first time."""
    path = folder() / name
    subprocess.run(["gcc", *USUAL, "-o", path, SOURCES / f"{name}.c"], check=True)
    return path
