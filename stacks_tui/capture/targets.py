"""What is recorded: names, processes, a cgroup, a launched program, or everything.

Comes in: what the command line asked for. Goes out: checked numbers and keys for the maps by which
the BPF programs match (a set of tgids, a set of comms, one cgroup with its level).
"""

from __future__ import annotations

import difflib
import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from stacks_tui.capture import procfs
from stacks_tui.errors import MachineError, UsageError

COMM_BYTES = 16
"""TASK_COMM_LEN: the kernel keeps 15 bytes and a NUL."""

_INITIAL_CGROUP_NAMESPACE = 0xEFFFFFFB
"""PROC_CGROUP_INIT_INO: the inode of the first cgroup namespace."""


@dataclass(frozen=True, slots=True)
class Targets:
    """What to record. Several fields add up: a thread that matches any of them is recorded."""

    comms: tuple[str, ...] = ()
    """Names of processes or threads, matched as the kernel cuts them."""
    pids: tuple[int, ...] = ()
    """Processes (tgids)."""
    cgroup: Path | None = None
    """A cgroup of version 2; what is below it is meant too."""
    everything: bool = False
    argv: tuple[str, ...] = ()
    """A program to launch, with its arguments."""
    follow: bool = False
    """Children of a target are targets too."""


class TargetMaps(Protocol):
    """The kernel's side of the targets."""

    def add_tgid(self, tgid: int) -> None:
        """Record this process; twice is as once."""

    def remove_tgid(self, tgid: int) -> None:
        """No longer record this process by its number; absent is no error."""

    def add_comm(self, key: bytes) -> None:
        """Record what bears this name: `COMM_BYTES` bytes, NUL padded."""

    def set_cgroup(self, cgroup_id: int, level: int) -> None:
        """Record what has this cgroup as its ancestor at `level` (root: 0)."""


@dataclass(frozen=True, slots=True)
class Cgroup:
    """A cgroup as the kernel's helpers know it."""

    path: Path
    id: int
    level: int
    """Depth below the root of the tree, which has 0."""


def comm_key(name: str) -> bytes:
    """The name as the kernel keeps it: cut to 15 bytes, padded with NUL to 16."""
    raw = name.encode("utf-8", "surrogateescape")
    return raw[: COMM_BYTES - 1].ljust(COMM_BYTES, b"\0")


def check(targets: Targets) -> tuple[str, ...]:
    """Check the targets against the running system; what the user should know, a line each.

    Raises:
        UsageError: no target, a process or cgroup that doesn't exist, an empty name.
        MachineError: cgroup version 2 isn't available.
    """
    if not (targets.comms or targets.pids or targets.cgroup or targets.everything or targets.argv):
        raise UsageError(
            "nothing to record; give a command's name, --pid, --cgroup, --all or -- PROGRAM."
        )
    for pid in targets.pids:
        check_pid(pid)
    if targets.cgroup is not None:
        find_cgroup(targets.cgroup)
    for name in targets.comms:
        if not name or "\0" in name:
            raise UsageError(f"{name!r} can't be the name of a process; give a command's name.")
    return tuple(_cut_notes(targets.comms)) + tuple(_absent_notes(targets.comms))


def check_pid(pid: int) -> None:
    """Raises UsageError unless `pid` is a process that runs."""
    tgid = procfs.tgid_of(pid) if pid > 0 else None
    if tgid is None:
        raise UsageError(f"no process {pid}; see `ps -e` for those that run.")
    if tgid != pid:
        raise UsageError(f"{pid} is a thread of process {tgid}; use --pid {tgid}.")


def apply(targets: Targets, maps: TargetMaps) -> frozenset[int]:
    """Put the targets into the kernel's maps; returns the tgids added.

    With `follow`, the descendants that already run are added as well; a process forked meanwhile
    is found by a further round, and one forked later by the kernel's own hook, so attach that hook
    first. A launched program's tgid is added by who launches it.
    """
    for name in targets.comms:
        maps.add_comm(comm_key(name))
    if targets.cgroup is not None:
        cgroup = find_cgroup(targets.cgroup)
        maps.set_cgroup(cgroup.id, cgroup.level)
    added: set[int] = set()
    _add(maps, added, targets.pids)
    if targets.follow:
        _add(maps, added, descendants(targets.pids))
        named = {comm_key(name) for name in targets.comms}
        while named or targets.pids:
            # Who bears the name becomes a target by number too: a child between its fork and its
            # exec still bears it, and no longer afterwards.
            bearers = bearing(named)
            roots = set(targets.pids) | bearers | added
            if not _add(maps, added, bearers | descendants(roots)):
                break
    return frozenset(added)


def descendants(roots: Iterable[int]) -> set[int]:
    """The processes that descend from `roots` now, without the roots themselves."""
    children: dict[int, list[int]] = {}
    for tgid, stat in procfs.every_stat():
        children.setdefault(stat.parent, []).append(tgid)
    start = set(roots)
    found: set[int] = set()
    todo = list(start)
    while todo:
        new = [child for child in children.get(todo.pop(), ()) if child not in found]
        found.update(new)
        todo += new
    return found - start


def find_cgroup(path: Path) -> Cgroup:
    """The id and level of a cgroup v2, given below any of its mounts or relative to one.

    Raises:
        UsageError: no such cgroup, or one of version 1.
        MachineError: no cgroup2 file system is mounted, or its root is hidden by a namespace.
    """
    mounts = _cgroup_mounts()
    second = [mount for mount in mounts if mount.version == 2]
    if not second:
        raise MachineError(
            "no cgroup2 file system is mounted; mount one: mount -t cgroup2 none /sys/fs/cgroup."
        )
    places = ", ".join(dict.fromkeys(str(mount.point) for mount in second))
    tries = [path] if path.is_absolute() else [mount.point / path for mount in second]
    real = next((found for place in tries if (found := _folder(place)) is not None), None)
    if real is None:
        raise UsageError(f"no cgroup {str(path)!r}; cgroups of version 2 are below {places}.")
    holding = [mount for mount in mounts if real.is_relative_to(mount.point)]
    mount = max(holding, key=lambda one: len(one.point.parts), default=None)
    if mount is None or mount.version != 2:
        what = "is not a cgroup" if mount is None else "is a cgroup of version 1"
        raise UsageError(f"{str(path)!r} {what}; only those of version 2 work: below {places}.")
    return Cgroup(
        real, real.stat().st_ino, _root_level(mount) + len(real.relative_to(mount.point).parts)
    )


def members(cgroup: Cgroup) -> set[int]:
    """The processes in a cgroup and below it, now."""
    found: set[int] = set()
    for folder, _, _ in os.walk(cgroup.path):
        raw = procfs.read_bytes(f"{folder}/cgroup.procs")
        found.update(map(int, (raw or b"").split()))
    return found


@dataclass(frozen=True, slots=True)
class _Mount:
    version: int
    point: Path
    root: Path
    """What of the tree is mounted there, as this cgroup namespace names it."""


def _cgroup_mounts() -> list[_Mount]:
    mounts = []
    for line in (procfs.PROC / "self/mountinfo").read_bytes().splitlines():
        before, _, after = line.partition(b" - ")
        kind = after.split(b" ", 1)[0]
        if kind in (b"cgroup", b"cgroup2"):
            root, point = (Path(_unescape(field)) for field in before.split(b" ")[3:5])
            mounts.append(_Mount(2 if kind == b"cgroup2" else 1, point, root))
    return mounts


def _unescape(field: bytes) -> str:
    for code, byte in ((b"\\040", b" "), (b"\\011", b"\t"), (b"\\012", b"\n"), (b"\\134", b"\\")):
        field = field.replace(code, byte)
    return procfs.decode(field)


def _folder(path: Path) -> Path | None:
    try:
        real = path.resolve(strict=True)
    except (OSError, RuntimeError):
        return None
    return real if real.is_dir() else None


def _root_level(mount: _Mount) -> int:
    if mount.point.stat().st_ino == 1:  # the root of the whole tree
        return 0
    namespace = (procfs.PROC / "self/ns/cgroup").stat().st_ino
    if namespace != _INITIAL_CGROUP_NAMESPACE:
        raise MachineError(
            "the root of the cgroup tree is hidden from this container; "
            "run on the host, or in a container with its cgroup namespace (--cgroupns=host)."
        )
    return len(mount.root.parts) - 1


def _add(maps: TargetMaps, added: set[int], tgids: Iterable[int]) -> bool:
    new = set(tgids) - added
    for tgid in sorted(new):
        maps.add_tgid(tgid)
    added |= new
    return bool(new)


def bearing(keys: set[bytes]) -> set[int]:
    """The processes of which a thread bears one of these names (`comm_key`) now."""
    if not keys:
        return set()
    found = set()
    for tgid in procfs.tgids():
        names = (procfs.comm(pid) for pid in procfs.threads(tgid))
        if any(name is not None and comm_key(name) in keys for name in names):
            found.add(tgid)
    return found


def _cut_notes(names: Iterable[str]) -> Iterable[str]:
    for name in names:
        kept = comm_key(name).rstrip(b"\0")
        if len(kept) < len(name.encode("utf-8", "surrogateescape")):
            shown = kept.decode("utf-8", "surrogateescape")
            yield f"{name!r} is matched as {shown!r}: the kernel keeps 15 bytes of a name."


def _absent_notes(names: Iterable[str]) -> Iterable[str]:
    wanted = {name: procfs.decode(comm_key(name).rstrip(b"\0")) for name in names}
    running = {stat.comm for _, stat in procfs.every_stat()}
    if not set(wanted.values()) <= running:
        for tgid in procfs.tgids():
            running.update(filter(None, map(procfs.comm, procfs.threads(tgid))))
    for name, cut in wanted.items():
        if cut in running:
            continue
        near = difflib.get_close_matches(cut, running, 3, 0.6)
        near += [one for one in sorted(running) if cut in one and one not in near][: 3 - len(near)]
        hint = f" (running: {', '.join(map(repr, near))})" if near else ""
        yield f"nothing named {name!r} runs yet; it is waited for{hint}."
