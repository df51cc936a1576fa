"""Adds and drops targets while a recording runs.

Comes in: a process, a name or a cgroup. Goes out: the kernel's filter and what is known of who is
who, both changed: the filter last, so that no event comes of a process that nobody knows.
"""

from __future__ import annotations

from pathlib import Path

from stacks_tui.capture.programs import Programs
from stacks_tui.capture.targets import (
    Targets,
    bearing,
    check_pid,
    comm_key,
    descendants,
    find_cgroup,
    members,
)
from stacks_tui.errors import UsageError
from stacks_tui.session.follower import Follower


class Retarget:
    """The targets of a running session."""

    def __init__(self, targets: Targets, programs: Programs, follower: Follower) -> None:
        self._programs = programs
        self._follower = follower
        self._follow = targets.follow or bool(targets.argv)
        self._cgroup = targets.cgroup

    def add_pid(self, pid: int) -> None:
        """Record a process; with `--follow` its descendants too.

        Raises:
            UsageError: no such process.
        """
        check_pid(pid)
        self._add({pid})

    def add_comm(self, name: str) -> None:
        """Record what bears this name, now or later.

        Raises:
            UsageError: it can't be a name.
        """
        if not name or "\0" in name:
            raise UsageError(f"{name!r} can't be the name of a process; give a command's name.")
        key = comm_key(name)
        self._follower.add_comm(key)
        self._programs.add_comm(key)
        self._add(bearing({key}))

    def add_cgroup(self, path: str) -> None:
        """Record a cgroup and what is below it.

        Raises:
            UsageError: no such cgroup, or another one is recorded already.
            MachineError: there are no cgroups of version 2.
        """
        cgroup = find_cgroup(Path(path))
        if self._cgroup is not None and find_cgroup(self._cgroup) != cgroup:
            raise UsageError(
                f"the cgroup {str(self._cgroup)!r} is recorded already, and only one can be; "
                "add the processes of the other one."
            )
        self._cgroup = cgroup.path
        self._follower.inherit()
        self._programs.set_cgroup(cgroup.id, cgroup.level)
        self._add(members(cgroup))

    def drop(self, pid: int) -> None:
        """Record this process no longer, unless its name or cgroup is a target."""
        self._programs.remove_tgid(pid)
        self._follower.drop_target(pid)

    def _add(self, tgids: set[int]) -> None:
        added: set[int] = set()
        while wanted := (tgids | (descendants(tgids) if self._follow else set())) - added:
            for tgid in sorted(wanted):
                self._follower.add_target(tgid)
                self._programs.add_tgid(tgid)
            added |= wanted
