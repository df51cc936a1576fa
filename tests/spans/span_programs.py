"""Builds what emits spans: `built("c_spans")` is a program, `installed()` is for PYTHONPATH."""

from __future__ import annotations

import atexit
import functools
import os
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


DEBIAN_CRATES = Path("/usr/share/cargo/registry")
CRATES = ("tracing", "tracing-subscriber", "tokio")


def no_rust() -> str | None:
    """Why the Rust layer can't be built here, offline; None if it can."""
    if cargo() is None:
        return "cargo is not installed"
    lacking = [name for name in CRATES if not [*DEBIAN_CRATES.glob(f"{name}-[0-9]*")]]
    packages = " ".join(f"librust-{name}-dev" for name in lacking)
    return f"not installed: {packages}" if lacking else None


def cargo() -> str | None:
    """The distribution's, which its crates are made for; else whichever there is."""
    return shutil.which("cargo", path="/usr/bin") or shutil.which("cargo")


@functools.cache
def rust_spans() -> Path:
    """The Rust layer's example; what cargo makes stays in the checkout, for it takes its time."""
    program = cargo()
    assert program is not None
    sources = [
        "source.crates-io.replace-with='debian'",
        f"source.debian.directory='{DEBIAN_CRATES}'",
    ]
    build = ["build", "--quiet", "--offline", "--release", "--example", "spans"]
    command = [program, *(f"--config={source}" for source in sources), *build]
    home = folder() / "cargo"
    path = os.pathsep.join([str(Path(program).parent), os.environ["PATH"]])
    subprocess.run(
        command,
        cwd=PACKAGE / "rust",
        check=True,
        env={**os.environ, "CARGO_HOME": str(home), "PATH": path},
    )
    return PACKAGE / "rust" / "target" / "release" / "examples" / "spans"
