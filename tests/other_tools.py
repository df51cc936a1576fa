"""Tools of others that tests compare with: `addr2line`, `go tool pprof`; they skip without."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest


def addr2line(binary: Path, addresses: list[int]) -> dict[int, list[tuple[str, int]]]:
    """(file, line) of the calls at each address, innermost first; line 0: not known."""
    if shutil.which("addr2line") is None:
        pytest.skip("no addr2line on this machine")
    command = ["addr2line", "-a", "-i", "-e", str(binary), *map(hex, addresses)]
    out = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found: dict[int, list[tuple[str, int]]] = {}
    at = 0
    for line in out.splitlines():
        if line.startswith("0x"):
            at = int(line, 16)
            found[at] = []
        else:
            file, _, number = line.partition(" (")[0].rpartition(":")
            found[at].append((file, int(number) if number.isdigit() else 0))
    return found


def go_pprof(*arguments: str | Path) -> str:
    """What `go tool pprof` prints."""
    go = shutil.which("go")
    if go is None:
        pytest.skip("no go on this machine")
    command = [go, "tool", "pprof", *map(str, arguments)]
    home = str(Path(str(arguments[-1])).parent)
    environ = {"PATH": "/usr/bin:/bin", "HOME": home, "PPROF_TMPDIR": home}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environ)
    assert done.returncode == 0, done.stderr
    return done.stdout
