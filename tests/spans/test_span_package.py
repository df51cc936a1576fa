"""The package as it is installed: with its extension, and where no compiler is."""

from __future__ import annotations

import subprocess
from pathlib import Path

from span_programs import environ, extension, installed, pythons

SAYS = "import tracing_stacks as t; t.init(locks=True); print(t.available, t.__version__)"


def say(python: Path, site: Path) -> list[str]:
    told = subprocess.run(
        [python, "-W", "error", "-c", SAYS],
        env=environ(site),
        capture_output=True,
        text=True,
        check=True,
    )
    return told.stdout.split()


def test_one_file_serves_every_interpreter() -> None:
    assert extension().name == "_spans.abi3.so"
    (info,) = installed().glob("tracing_stacks-*.dist-info")
    version = info.name.removeprefix("tracing_stacks-").removesuffix(".dist-info")
    for python in pythons():
        assert say(python, installed()) == ["True", version]
    assert "cp311-abi3-linux" in (info / "WHEEL").read_text()
    names = (info / "entry_points.txt").read_text()
    assert "[opentelemetry_context]\ntracing_stacks = tracing_stacks.opentelemetry:Context" in names
    assert (installed() / "tracing_stacks" / "py.typed").exists()
    assert "MIT License" in next(info.rglob("LICENSE")).read_text()


def test_without_a_compiler_it_is_installed_and_does_nothing() -> None:
    site = installed(compiler="false")
    assert not [*site.glob("tracing_stacks/_spans*.so")]
    for python in pythons():
        assert say(python, site)[0] == "False"


def test_a_free_threaded_interpreter_does_not_load_it() -> None:
    code = f"import sys; sys.abiflags = 't'; {SAYS}"
    command = [str(pythons()[0]), "-c", code]
    told = subprocess.run(command, env=environ(), capture_output=True, text=True, check=True)
    assert told.stdout.split()[0] == "False"
