"""What spans mean to the program itself: `…_checks.py`, under each CPython that is here."""

from __future__ import annotations

import functools
import json
import re
import subprocess
import tempfile
from pathlib import Path

import pytest
from span_programs import SOURCES, environ, folder, installed, pythons

CHECKS = ("py_checks", "greenlet_checks")
CASES = [
    (checks, name)
    for checks in CHECKS
    for name in re.findall(
        r"^def check_(\w+)", (SOURCES / f"{checks}.py").read_text(), re.MULTILINE
    )
]


@functools.cache
def results(python: Path, checks: str, *flags: str) -> dict[str, str]:
    """What each check came to; all of them run in one process."""
    with tempfile.NamedTemporaryFile(dir=folder(), suffix=".json") as file:
        program = str(SOURCES / f"{checks}.py")
        command = [str(python), "-W", "error::RuntimeWarning", program, *flags, file.name]
        subprocess.run(command, check=True, env=environ(), timeout=300)
        found: dict[str, str] = json.loads(Path(file.name).read_text())
        return found


@pytest.mark.parametrize(("checks", "name"), CASES, ids=[name for _, name in CASES])
@pytest.mark.parametrize("flags", [(), ("--listened",)], ids=["unheard", "listened"])
@pytest.mark.parametrize("python", pythons(), ids=lambda path: path.resolve().name)
def test_check(python: Path, flags: tuple[str, ...], checks: str, name: str) -> None:
    result = results(python, checks, *flags)[f"check_{name}"]
    if result.startswith("skipped: "):
        pytest.skip(result.removeprefix("skipped: "))
    assert result == "ok", result


@pytest.mark.parametrize("checks", CHECKS)
def test_the_extension_is_clean_under_sanitizers(tmp_path: Path, checks: str) -> None:
    libraries = []
    for name in ("libasan.so", "libubsan.so"):
        command = ["gcc", f"-print-file-name={name}"]
        told = subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip()
        if not Path(told).is_file():
            pytest.skip(f"gcc has no {name} here")
        libraries.append(told)
    site = installed("-O1 -g -fsanitize=address,undefined -fno-sanitize-recover=undefined")
    variables = {
        "LD_PRELOAD": " ".join(libraries),
        "PYTHONMALLOC": "malloc",
        # leaks are not looked for: the interpreter's own at its end are many
        "ASAN_OPTIONS": "detect_leaks=0:abort_on_error=1",
        "UBSAN_OPTIONS": "print_stacktrace=1",
    }
    command = [str(pythons()[0]), str(SOURCES / f"{checks}.py")]
    command += ["--listened", str(tmp_path / "results")]
    done = subprocess.run(
        command, env=environ(site) | variables, capture_output=True, text=True, timeout=600
    )
    assert (done.returncode, done.stderr) == (0, "")
    failed = {
        name: result
        for name, result in json.loads((tmp_path / "results").read_text()).items()
        if result != "ok" and not result.startswith("skipped: ")
    }
    assert not failed
