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
def built(name: str, *flags: str) -> Path:
    """The executable of `workloads/NAME.c`, with further flags; compiled the first time."""
    path = folder() / "".join((name, *flags))
    subprocess.run(["gcc", *USUAL, *flags, "-o", path, SOURCES / f"{name}.c"], check=True)
    return path


@functools.cache
def installed(flags: str = "", compiler: str = "gcc") -> Path:
    """A folder that holds the package as pip installs it; for PYTHONPATH, of any CPython.

    `flags` are further ones of the compiler; what is built with each lies apart.
    """
    into = Path(tempfile.mkdtemp(dir=folder(), prefix="site-"))
    # a copy: setuptools leaves what it builds beside its sources
    source = into / "source"
    shutil.copytree(PACKAGE, source, ignore=shutil.ignore_patterns("build", "target", "*.egg-info"))
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    pip += ["--root-user-action=ignore", "--no-deps", "--no-build-isolation", "--no-index"]
    command = [*pip, "--target", str(into / "site"), str(source)]
    subprocess.run(command, check=True, env={**os.environ, "CC": compiler, "CFLAGS": flags})
    into.chmod(0o755)
    return into / "site"


def extension() -> Path:
    """The extension's file, which has the probes."""
    (path,) = (installed() / "tracing_stacks").glob("_spans.*.so")
    return path


@functools.cache
def pythons() -> tuple[Path, ...]:
    """This interpreter, and one of each other version from 3.11 on that is installed.

    The variable SPAN_PYTHONS names further ones, as PATH does folders.
    """
    found = {sys.version_info[:2]: Path(sys.executable)}
    named = [Path(one) for one in os.environ.get("SPAN_PYTHONS", "").split(os.pathsep) if one]
    for path in [*named, *sorted(Path.home().glob(".pyenv/versions/3.*/bin/python3"))]:
        asked = [str(path), "-c", "import sys; print(*sys.version_info[:2])"]
        told = subprocess.run(asked, capture_output=True, check=True, text=True).stdout.split()
        version = (int(told[0]), int(told[1]))
        if version >= (3, 11):
            found.setdefault(version, path)
    return tuple(found[version] for version in sorted(found))


def has(python: Path, module: str) -> bool:
    """Whether this interpreter can import the module."""
    return subprocess.run([python, "-c", f"import {module}"], capture_output=True).returncode == 0


def environ(site: Path | None = None) -> dict[str, str]:
    """For a Python program that imports the package, and what this one imports."""
    paths = [str(site or installed()), *filter(None, [os.environ.get("PYTHONPATH")])]
    return {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "PYTHONDONTWRITEBYTECODE": "1"}


@functools.cache
def no_sdt() -> str | None:
    """Why `sdt_spans` can't be built here; None if it can."""
    asked = ["gcc", "-E", "-include", "sys/sdt.h", "-x", "c", os.devnull, "-o", os.devnull]
    if subprocess.run(asked, capture_output=True).returncode == 0:
        return None
    return "sys/sdt.h is not installed: systemtap-sdt-dev"


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
