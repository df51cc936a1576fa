"""The table of a view: groups with their sums, sorted, cut, with what was left out told.

Comes in: material. Goes out: a `Table`, and for each row sent which cells made it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from stacks_tui.live.cells import Cells
from stacks_tui.live.groups import About, Groups, Paths, gave_way, grouped, paths_of_cells
from stacks_tui.live.measures import unit_of
from stacks_tui.live.snapshot import Row, Table
from stacks_tui.live.totals import Ints, Material
from stacks_tui.live.view import Group, View

_TIES = 256
"""Rows beyond the last one that are looked at, so that which of equals is sent is no accident."""
SORTS = ("own", "total", "count", "duration_ns", "amount", "label", "change", "share")


@dataclass(frozen=True, slots=True)
class Tabled:
    """A table, and what its rows are made of."""

    table: Table
    members: dict[str, Callable[[], npt.NDArray[np.intp]]] = field(default_factory=dict)
    """By key of a row sent: places of its cells in the material."""


@dataclass(frozen=True, slots=True)
class _Members:
    """Finds a row's cells, when somebody asks."""

    places: npt.NDArray[np.intp]
    """Of the cells that are grouped, in the material."""
    of: Callable[[int], npt.NDArray[np.intp]]
    code: int

    def __call__(self) -> npt.NDArray[np.intp]:
        return self.places[self.of(self.code)]


@dataclass(frozen=True, slots=True)
class _Columns:
    """(side, code) sums."""

    own: Ints
    total: Ints
    count: Ints
    duration: Ints
    amount: Ints


def make_table(material: Material, view: View) -> Tabled:
    """The table of this view."""
    gone = gave_way(material.cells, view.group)
    whole = material.total()
    places = np.flatnonzero(~gone)
    kept = material.take(places) if gone.any() else material
    other = material.take(gone).total() if gone.any() else np.zeros_like(whole)
    if view.group in (Group.LEAF, Group.MODULE):
        columns, about, members = _by_frame(kept, view)
    else:
        groups = grouped(kept, view)
        columns, about, members = _columns(kept, groups), groups.about, _members(groups)
    base = _base(material, columns)
    order = _order(columns, base, about, view)
    chosen = order[: view.top]
    rows: list[Row] = []
    made: dict[str, Callable[[], npt.NDArray[np.intp]]] = {}
    for code in chosen:
        known = about(code)
        rows.append(_row(known, code, columns, base, material, view))
        made[known.key] = _Members(places, members, code)
    sent = columns.own[:, np.array(chosen, np.intp)].sum(axis=1)
    rest = whole - other - sent
    sides = material.sides - 1
    table = Table(
        unit=unit_of(view),
        rows=tuple(rows),
        total=int(whole[0]),
        rest=int(rest[0]),
        rest_rows=int(np.count_nonzero(columns.count.sum(axis=0))) - len(rows),
        other=int(other[0]),
        b_total=int(whole[1]) if sides else 0,
        b_rest=int(rest[1]) if sides else 0,
        b_other=int(other[1]) if sides else 0,
    )
    return Tabled(table, made)


def _columns(material: Material, groups: Groups) -> _Columns:
    cells = material.cells
    own, count, duration, amount = (
        material.sums(groups.codes, groups.size, values)
        for values in (material.value, cells.count, cells.duration, cells.amount)
    )
    return _Columns(own, own, count, duration, amount)


def _members(groups: Groups) -> Callable[[int], npt.NDArray[np.intp]]:
    return lambda code: np.flatnonzero(groups.codes == code)


def _by_frame(
    material: Material, view: View
) -> tuple[_Columns, Callable[[int], About], Callable[[int], npt.NDArray[np.intp]]]:
    """Functions or modules: own where they are the leaf, total wherever they are in a stack."""
    stacks, cells = material.stacks, material.cells
    paths = paths_of_cells(cells, stacks, view)
    flat, ends = paths.frames(stacks)
    numbers = flat if view.group is Group.LEAF else stacks.module_of[flat]
    used, codes = np.unique(numbers, return_inverse=True)
    path_of = np.repeat(np.arange(len(paths.kernel)), np.diff(ends))
    once = np.unique((path_of.astype(np.int64) << 32) | codes)  # recursion counts once
    once_path, once_code = once >> 32, once & 0xFFFFFFFF
    leaf = codes[ends[:-1]]
    sums = []
    for values in (material.value, cells.count, cells.duration, cells.amount):
        by_path = material.sums(paths.codes, len(paths.kernel), values)
        own = np.zeros((material.sides, len(used)), np.int64)
        total = np.zeros_like(own)
        for side in range(material.sides):
            np.add.at(own[side], leaf, by_path[side])
            np.add.at(total[side], once_code, by_path[side][once_path])
        sums.append((own, total))
    columns = _Columns(sums[0][0], sums[0][1], sums[1][1], sums[2][1], sums[3][1])

    def about(code: int) -> About:
        number = int(used[code])
        if view.group is Group.LEAF:
            return About(stacks.key([number]), stacks.names[number], (number,))
        name = stacks.module_names[number]
        return About("m" + name, name or "[no module]")

    def members(code: int) -> npt.NDArray[np.intp]:
        return np.flatnonzero(np.isin(paths.codes, once_path[once_code == code]))

    return columns, about, members


def _base(material: Material, columns: _Columns) -> npt.NDArray[np.float64]:
    """What shares are of, by side: the total; where things shrink too, what grew."""
    total = material.total().astype(np.float64)
    if bool((columns.own < 0).any()):
        total = np.maximum(columns.own, 0).sum(axis=1).astype(np.float64)
    return np.maximum(total, 1.0)


def _order(
    columns: _Columns, base: npt.NDArray[np.float64], about: Callable[[int], About], view: View
) -> list[int]:
    """The codes to be sent, in order; equals by their names."""
    shares = columns.own / base[:, None]
    change = shares[1] - shares[0] if len(shares) > 1 else shares[0]
    by_total = view.sort == "total"
    value = {
        "total": columns.total[0],
        "count": columns.count[0],
        "duration_ns": columns.duration[0],
        "amount": columns.amount[0],
        "change": change,
    }.get(view.sort, columns.own[0])
    weight = (columns.total if by_total else columns.own) / base[:, None]
    there = columns.count.sum(axis=0) > 0
    if view.minimum_share > 0:
        there &= np.abs(weight).max(axis=0) >= view.minimum_share
    codes = np.flatnonzero(there)
    if view.sort == "label":
        named = sorted(codes.tolist(), key=lambda code: _name(about(code)), reverse=view.reverse)
        return named[: view.top]
    sign = 1.0 if view.reverse else -1.0
    count = columns.count[0]
    order = codes[np.lexsort((-count[codes], sign * value[codes]))]
    if len(order) > view.top:
        last = order[view.top - 1]
        tied = (value[order] == value[last]) & (count[order] == count[last])
        end = int(np.flatnonzero(tied)[-1]) + 1
        order = order[: min(end, view.top + _TIES)]
    keyed = [
        (sign * float(value[code]), -int(count[code]), _name(about(code)), code)
        for code in order.tolist()
    ]
    return [entry[-1] for entry in sorted(keyed)][: view.top]


def _name(about: About) -> tuple[str, str, int, int]:
    return about.label, about.key, about.tgid, about.pid


def _row(
    about: About,
    code: int,
    columns: _Columns,
    base: npt.NDArray[np.float64],
    material: Material,
    view: View,
) -> Row:
    stacks = material.stacks
    own, total = columns.own[:, code], columns.total[:, code]
    ranked = total if view.sort == "total" else own
    two = material.sides > 1
    return Row(
        key=about.key,
        label=about.label,
        names=tuple(stacks.names[frame] for frame in about.path[: view.names]),
        module=stacks.modules[about.path[0]] if about.path else "",
        own=int(own[0]),
        total=int(total[0]),
        count=int(columns.count[0, code]),
        duration_ns=int(columns.duration[0, code]),
        amount=int(columns.amount[0, code]),
        share=float(ranked[0] / base[0]),
        b_own=int(own[1]) if two else 0,
        b_total=int(total[1]) if two else 0,
        b_count=int(columns.count[1, code]) if two else 0,
        change=float(own[1] / base[1] - own[0] / base[0]) if two else 0.0,
        tgid=about.tgid,
        pid=about.pid,
    )


def heaviest_path(material: Material, view: View) -> tuple[int, int, int]:
    """Of the cells: rows of the kernel's and the user's stack of the heaviest path (or NONE), and
    how many paths there are."""
    cells: Cells = material.cells
    if not len(cells):
        return -1, -1, 0
    paths: Paths = paths_of_cells(cells, material.stacks, view)
    size = len(paths.kernel)
    weights = np.abs(material.sums(paths.codes, size, material.value)).sum(axis=0)
    counts = material.sums(paths.codes, size, cells.count).sum(axis=0)
    best = int(np.lexsort((counts, weights))[-1])
    inside = np.flatnonzero(paths.codes == best)
    cell = int(inside[np.argmax(np.abs(material.value[inside]))])
    return int(cells.kstack[cell]), int(cells.ustack[cell]), size
