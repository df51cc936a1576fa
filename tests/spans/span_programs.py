"""Builds what emits spans: `built("c_spans")` is a program, `installed()` is for PYTHONPATH."""

from __future__ import annotations

import atexit
import functools
import shutil
import subprocess
import sys
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


@functools.cache
def installed() -> Path:
    """A folder that holds the package as pip installs it; for PYTHONPATH, of any CPython."""
    # a copy: setuptools leaves what it builds beside its sources
    source = folder() / "tracing_stacks"
    shutil.copytree(PACKAGE, source, ignore=shutil.ignore_patterns("build", "target", "*.egg-info"))
    site = folder() / "site"
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    pip += ["--root-user-action=ignore", "--no-deps", "--no-build-isolation", "--no-index"]
    subprocess.run([*pip, "--target", str(site), str(source)], check=True)
    return site


def extension() -> Path:
    """The extension's file, which has the probes."""
    (path,) = (installed() / "tracing_stacks").glob("_spans.*.so")
    return path
