"""Groups: which cells belong to one row, and what that row is called.

Comes in: the material of a view. Goes out: a code for each cell, and a description for each code.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from stacks_tui.enrich.events import STATES
from stacks_tui.kinds import Kind
from stacks_tui.live.cells import NONE, OTHER, OTHER_PID, Cells
from stacks_tui.live.names import Names
from stacks_tui.live.stacks import NO_PYTHON_STACK, NO_STACK, StackTable
from stacks_tui.live.totals import Material
from stacks_tui.live.view import Group, StackPart, View
from stacks_tui.python.shown import Shown

Codes = npt.NDArray[np.int64]
Rows = npt.NDArray[np.int32]

NO_CGROUP = "[no cgroup known]"
NO_SPAN = "[no span]"
NO_WAIT = "[not a wait]"
INTERRUPT = "[interrupt or timer]"
UNKNOWN = "?"


@dataclass(frozen=True, slots=True)
class About:
    """What a code stands for."""

    key: str
    label: str
    path: tuple[int, ...] = ()
    """Frames, leaf first."""
    tgid: int = 0
    pid: int = 0


@dataclass(frozen=True, slots=True)
class Groups:
    """A code for each cell."""

    codes: Codes
    """From 0, below `size`."""
    size: int
    about: Callable[[int], About]


@dataclass(frozen=True, slots=True)
class Paths:
    """Call paths of cells, each once: the kernel's part and the user's."""

    codes: Codes
    """By cell."""
    kernel: Rows
    """Paths of the stack table, or NONE, by code."""
    user: Rows

    def frames(self, stacks: StackTable) -> tuple[Rows, npt.NDArray[np.int64]]:
        """All frames, leaf first, one path after the other, and where each begins (n + 1)."""
        flat, ends = stacks.flat(np.stack([self.kernel, self.user], axis=1).reshape(-1))
        return flat, ends[::2]

    def path(self, code: int, stacks: StackTable) -> tuple[int, ...]:
        """The frames of one path, leaf first."""
        parts = (stacks.path(int(side[code])).tolist() for side in (self.kernel, self.user))
        return tuple(frame for part in parts for frame in part)


def paths_of(kernel: Rows, user: Rows) -> Paths:
    """Distinct pairs of paths; where there is neither, the path that stands for none."""
    kernel = np.where((kernel == NONE) & (user == NONE), np.int32(NO_STACK), kernel)
    pairs = (kernel.astype(np.int64) << 32) | (user.astype(np.int64) & 0xFFFFFFFF)
    unique, codes = np.unique(pairs, return_inverse=True)
    return Paths(
        codes.astype(np.int64),
        (unique >> 32).astype(np.int32),
        (unique & 0xFFFFFFFF).astype(np.uint32).view(np.int32),
    )


def paths_of_cells(cells: Cells, stacks: StackTable, view: View) -> Paths:
    """The call paths of cells: the kernel's frames, then the user's, as far as they are shown."""
    none = np.full(len(cells), NONE, np.int32)
    part = view.stack_part
    kernel = none if part is StackPart.USER else stacks.paths(cells.kstack)
    user = none if part is StackPart.KERNEL else stacks.paths(cells.ustack, view.shown)
    if view.shown is Shown.PYTHON:
        user = np.where((user == NONE) & (kernel != NONE), np.int32(NO_PYTHON_STACK), user)
        kernel = none
    return paths_of(kernel, user)


def gave_way(cells: Cells, group: Group) -> npt.NDArray[np.bool_]:
    """The cells of which bounded memory no longer tells to which row they belong."""
    gone: npt.NDArray[np.bool_]
    if group in (Group.PROCESS, Group.CGROUP):
        gone = (cells.pid == OTHER_PID) & (cells.tgid == 0)
    elif group in (Group.THREAD, Group.SPAN):
        gone = cells.pid == OTHER_PID
    elif group is Group.REASON:
        gone = cells.kstack == OTHER
    elif group is Group.WAKER:
        gone = (cells.waker == OTHER_PID) | (cells.wstack == OTHER)
    else:
        gone = (cells.ustack == OTHER) | (cells.kstack == OTHER)
    return gone


def grouped(material: Material, view: View) -> Groups:
    """The groups of cells of which none gave way (not for leaf and module)."""
    cells, group = material.cells, view.group
    if group is Group.STACK:
        return _by_stack(material, view)
    if group is Group.WAKER:
        return _by_waker(material, view)
    if group is Group.PROCESS:
        return _by_process(material)
    if group is Group.THREAD:
        return _by_thread(material)
    if group is Group.CGROUP:
        return _by_label(material, cells.tgid.astype(np.int64), cgroup_of, "c")
    if group is Group.SPAN:
        return _by_label(material, cells.span.astype(np.int64), _span, "s")
    return _by_reason(material)


def _by_stack(material: Material, view: View) -> Groups:
    stacks = material.stacks
    paths = paths_of_cells(material.cells, stacks, view)

    def about(code: int) -> About:
        frames = paths.path(code, stacks)
        return About(stacks.key(frames), stacks.names[frames[0]], frames)

    return Groups(paths.codes, len(paths.kernel), about)


def _by_waker(material: Material, view: View) -> Groups:
    cells, stacks = material.cells, material.stacks
    paths = paths_of(np.full(len(cells), NONE, np.int32), stacks.paths(cells.wstack, view.shown))
    unique, codes = np.unique((paths.codes << 32) | cells.waker, return_inverse=True)
    sides = _side_of(material, codes, len(unique))

    def about(code: int) -> About:
        waker = int(unique[code] & 0xFFFFFFFF)
        names = material.names[sides[code]]
        frames = paths.path(int(unique[code] >> 32), stacks)
        label = (names.threads.get(waker) or UNKNOWN) if waker else INTERRUPT
        shown = () if frames == (NO_STACK,) else frames
        return About(
            f"w{waker}:{stacks.key(frames)}", label, shown, names.tgids.get(waker, 0), waker
        )

    return Groups(codes, len(unique), about)


def _by_process(material: Material) -> Groups:
    if material.sides > 1:
        return _by_label(material, material.cells.tgid.astype(np.int64), _command, "P")
    unique, codes = np.unique(material.cells.tgid, return_inverse=True)

    def about(code: int) -> About:
        tgid = int(unique[code])
        return About(f"p{tgid}", _command(tgid, material.names[0]), tgid=tgid)

    return Groups(codes, len(unique), about)


def _by_thread(material: Material) -> Groups:
    if material.sides > 1:
        return _by_label(material, material.cells.pid.astype(np.int64), _thread, "T")
    cells = material.cells
    both = (cells.tgid.astype(np.int64) << 32) | cells.pid
    unique, codes = np.unique(both, return_inverse=True)

    def about(code: int) -> About:
        tgid, pid = int(unique[code] >> 32), int(unique[code] & 0xFFFFFFFF)
        return About(f"t{tgid}:{pid}", _thread(pid, material.names[0]), tgid=tgid, pid=pid)

    return Groups(codes, len(unique), about)


def reasons_of_cells(cells: Cells, stacks: StackTable) -> tuple[list[str], npt.NDArray[np.intp]]:
    """Why threads waited: reasons (not each once), and by cell the place of its reason."""
    waits = (cells.kind == Kind.WAIT) | (cells.kind == Kind.SWITCH)
    paths = stacks.paths(cells.kstack)
    both = (paths.astype(np.int64) << 8) | (cells.state.astype(np.int64) & 0xFF)
    unique, back = np.unique(np.where(waits, both, np.int64(1) << 48), return_inverse=True)
    states = [_state(code & 0xFF) for code in unique.tolist()]
    known = np.where(unique == 1 << 48, NONE, unique >> 8).astype(np.int32)
    labels = [
        NO_WAIT if code == 1 << 48 else told
        for code, told in zip(unique.tolist(), stacks.reasons(known, states), strict=True)
    ]
    return labels, back


def _by_reason(material: Material) -> Groups:
    labels, back = reasons_of_cells(material.cells, material.stacks)
    return _merged(labels, back, "r")


def _by_label(
    material: Material, numbers: Codes, label: Callable[[int, Names], str], prefix: str
) -> Groups:
    unique, back = np.unique(
        (material.side.astype(np.int64) << 40) | (numbers & 0xFFFFFFFF), return_inverse=True
    )
    labels = [
        label(int(np.uint32(one & 0xFFFFFFFF).view(np.int32)), material.names[one >> 40])
        for one in unique.tolist()
    ]
    return _merged(labels, back, prefix)


def _merged(labels: list[str], back: npt.NDArray[np.intp], prefix: str) -> Groups:
    """One group per distinct label."""
    place: dict[str, int] = {}
    codes = np.array([place.setdefault(label, len(place)) for label in labels], np.int64)
    distinct = list(place)

    def about(code: int) -> About:
        return About(prefix + distinct[code], distinct[code])

    return Groups(codes[back] if len(codes) else back.astype(np.int64), len(distinct), about)


def _side_of(material: Material, codes: npt.NDArray[np.intp], size: int) -> list[int]:
    sides = np.zeros(size, np.int8)
    sides[codes] = material.side
    found: list[int] = sides.tolist()
    return found


def _command(tgid: int, names: Names) -> str:
    return names.command(tgid) or UNKNOWN


def _thread(pid: int, names: Names) -> str:
    return names.threads.get(pid) or UNKNOWN


def cgroup_of(tgid: int, names: Names) -> str:
    """What the cgroup of a process is called."""
    row = names.processes.get(tgid)
    return (row.cgroup if row is not None else None) or NO_CGROUP


def _span(span: int, names: Names) -> str:
    return names.spans[span] if 0 <= span < len(names.spans) else NO_SPAN


def _state(code: int) -> str:
    return STATES[code] if code < len(STATES) else ""
