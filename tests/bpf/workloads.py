"""Builds the workloads: `built("vfs")` is the executable of `tests/workloads/vfs.c`."""

from __future__ import annotations

import atexit
import functools
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

SOURCES = Path(__file__).resolve().parent.parent / "workloads"

FLAGS: dict[str, tuple[str, ...]] = {
    "recurse_fp": ("recurse.c", "-O0", "-fno-omit-frame-pointer"),
    "recurse_table": ("recurse.c", "-fomit-frame-pointer"),
    "puppet": ("puppet.c", "-static"),
    "life_next": ("life.c", "-DNEXT"),
    "three_writes": ("three_writes.S", "-nostdlib", "-static"),
}
"""Workloads that are not just `NAME.c` with the usual flags: source, further flags."""

USUAL = ("-O2", "-Wall", "-Wextra", "-Werror", "-pthread", "-Wl,--build-id")


@functools.cache
def _folder() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="workloads-"))
    folder.chmod(0o755)
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return folder


@functools.cache
def built(name: str) -> Path:
    """The executable of this name; compiled the first time."""
    path = _folder() / name
    source, *flags = FLAGS.get(name, (f"{name}.c",))
    subprocess.run(["gcc", *USUAL, *flags, "-o", path, SOURCES / source], check=True)
    return path


def build_id(path: Path) -> bytes:
    """The build id of an executable, as binutils read it."""
    told = subprocess.run(["readelf", "-n", path], capture_output=True, text=True, check=True)
    (line,) = [line for line in told.stdout.splitlines() if "Build ID:" in line]
    return bytes.fromhex(line.split()[-1])


def block_backed() -> Path | None:
    """A folder on a file system that lies on a block device; None: there is none."""
    for folder in (Path("/var/tmp"), Path.home(), Path.cwd()):
        device = os.stat(folder).st_dev
        if Path(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}").exists():
            return folder
    return None
