"""What ran before: the processes of this moment, and what only /proc tells of a new one.

Comes in: /proc. Goes out: values; a process that ends meanwhile is absent. Names of all processes
are read at once, everything dearer when it is asked for.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass

from stacks_tui.capture import procfs
from stacks_tui.elf import ElfError, ElfImage

_CONTAINER = re.compile(
    r"(?:docker|libpod|crio|cri-containerd|containerd|nerdctl|podman|buildkit)[-:/]"
    r"(?:[^/]*/)?([0-9a-f]{12,64})(?![0-9a-f])"
    r"|/(?:kubepods|ecs|docker|garden|actions_job)[^/]*/(?:.*[-/:])?([0-9a-f]{32,64})(?![0-9a-f])"
    r"|/lxc(?:\.payload)?[./]([^/]+)"
    r"|/machine\.slice/machine-([^/]+)\.scope"
)


@dataclass(frozen=True, slots=True)
class Running:
    """A process that runs."""

    tgid: int
    parent: int
    comm: str
    start_ticks: int
    """Since boot, in clock ticks: together with `tgid` it names a process for good."""
    kernel_thread: bool


@dataclass(frozen=True, slots=True)
class Details:
    """What /proc alone tells of a process. None: not known, or there is none."""

    cmdline: str | None = None
    exe: str | None = None
    cgroup: str | None = None
    container: str | None = None


def running() -> list[Running]:
    """All processes of this moment: one small file each."""
    return [
        Running(tgid, stat.parent, stat.comm, stat.start_ticks, stat.kernel_thread)
        for tgid, stat in procfs.every_stat()
    ]


def thread_names(tgid: int) -> dict[int, str]:
    """Names by thread; empty if the process is gone."""
    names = ((pid, procfs.comm(pid)) for pid in procfs.threads(tgid))
    return {pid: name for pid, name in names if name is not None}


def details(tgid: int) -> Details:
    """Arguments, executable, cgroup and container of a process."""
    cgroup = procfs.cgroup(tgid)
    container = container_of(cgroup) if cgroup else None
    return Details(procfs.cmdline(tgid) or None, procfs.exe(tgid), cgroup, container)


def container_of(cgroup: str) -> str | None:
    """The container's id (its name for LXC and systemd-nspawn) in a cgroup's path."""
    last = None
    for found in _CONTAINER.finditer(cgroup):
        last = next(filter(None, found.groups()), last)
    return last


def exe_buildid(tgid: int) -> bytes | None:
    """The build id of what a process executes, read from the file itself; None: it has none."""
    try:
        fd = os.open(f"{procfs.PROC}/{tgid}/exe", os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
    except OSError:
        return None
    try:
        return ElfImage.from_fd(fd).build_id
    except ElfError:
        return None
    finally:
        os.close(fd)
