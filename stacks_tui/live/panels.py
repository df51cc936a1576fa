"""The panels that are no table of stacks: processes and threads, the histogram.

Comes in: material. Goes out: `Processes`, `Histogram`.
"""

from __future__ import annotations

from dataclasses import fields

import numpy as np
import numpy.typing as npt

from stacks_tui.kinds import Kind
from stacks_tui.live.cells import OTHER, OTHER_PID
from stacks_tui.live.measures import TIMED_SIZE, bins, size_of, unit_of
from stacks_tui.live.names import Names
from stacks_tui.live.snapshot import Histogram, Processes, ProcessRow
from stacks_tui.live.totals import Ints, Material
from stacks_tui.live.view import Measure, View

_NUMBERS = frozenset(
    one.name for one in fields(ProcessRow) if one.type in ("int", "bool") and one.name != "alive"
)

_BYTES: dict[str, tuple[Kind, ...]] = {
    "read": (Kind.VFS_READ,),
    "write": (Kind.VFS_WRITE,),
    "block_read": (Kind.BLK_READ,),
    "block_write": (Kind.BLK_WRITE,),
    "received": (Kind.TCP_RECV, Kind.UDP_RECV),
    "sent": (Kind.TCP_SEND, Kind.UDP_SEND),
    "growth": (Kind.RSS,),
}


def make_processes(material: Material, view: View) -> Processes:
    """A row per process, or per thread, but for those that gave way to bounded memory."""
    cells = material.cells
    known = cells.pid != OTHER_PID
    if not view.by_thread:
        known |= cells.tgid != 0
    if not known.all():
        material = material.take(known)
        cells = material.cells
    number = cells.tgid.astype(np.int64) << 32
    if view.by_thread:
        number |= cells.pid
    unique, codes = np.unique(number, return_inverse=True)
    sums = _sums(material, codes, len(unique))
    threads = _threads(material, unique)
    names = material.names[0]
    rows = [
        _row(
            int(one), {name: int(values[at]) for name, values in sums.items()}, threads, names, view
        )
        for at, one in enumerate(unique.tolist())
    ]
    rows.sort(key=lambda row: (row.tgid, row.pid))
    key = view.sort if view.sort in _NUMBERS else "cpu_ns"
    if view.sort in ("name", "label"):
        rows.sort(key=lambda row: row.name, reverse=view.reverse)
    else:
        rows.sort(key=lambda row: int(getattr(row, key)), reverse=not view.reverse)
    return Processes(tuple(rows[: view.top]), material.seconds[0], max(0, len(rows) - view.top))


def _sums(material: Material, codes: npt.NDArray[np.intp], size: int) -> dict[str, Ints]:
    cells = material.cells
    wait = cells.kind == Kind.WAIT
    cpu = Kind.SWITCH if (cells.kind == Kind.SWITCH).any() else Kind.PROFILE
    zero = np.int64(0)

    def summed(values: Ints) -> Ints:
        total: Ints = material.sums(codes, size, values)[0]
        return total

    found = {
        "events": summed(cells.count),
        "cpu_ns": summed(np.where(cells.kind == cpu, cells.duration, zero)),
        "blocked_ns": summed(np.where(wait, np.maximum(cells.duration - cells.amount, 0), zero)),
        "runnable_ns": summed(np.where(wait, cells.amount, zero)),
    }
    for name, kinds in _BYTES.items():
        found[name] = summed(np.where(np.isin(cells.kind, kinds), cells.amount, zero))
    return found


def _threads(material: Material, numbers: npt.NDArray[np.int64]) -> dict[int, int]:
    """Threads with events, by tgid."""
    cells = material.cells
    both = np.unique((cells.tgid.astype(np.int64) << 32) | cells.pid)
    both = both[(both & 0xFFFFFFFF) != OTHER_PID]
    tgids, counts = np.unique(both >> 32, return_counts=True)
    return dict(zip(tgids.tolist(), counts.tolist(), strict=True))


def _row(
    number: int, sums: dict[str, int], threads: dict[int, int], names: Names, view: View
) -> ProcessRow:
    tgid, pid = number >> 32, number & 0xFFFFFFFF
    about = names.processes.get(tgid)
    named = names.threads.get(pid, "") if view.by_thread else names.command(tgid)
    return ProcessRow(
        tgid=tgid,
        pid=pid,
        name=named,
        command_line=(about.cmdline or "") if about else "",
        cgroup=(about.cgroup or "") if about else "",
        container=(about.container or "") if about else "",
        parent=(about.parent or 0) if about else 0,
        threads=1 if view.by_thread else threads.get(tgid, 0),
        alive=about is None or about.end is None,
        rss=0 if view.by_thread else names.resident.get(tgid, 0),
        **sums,
    )


def make_histogram(material: Material, view: View) -> Histogram:
    """Events by powers of two of their time or bytes."""
    by = size_of(view)
    timed = by == TIMED_SIZE
    unit = "ns" if timed else unit_of(_main(view))
    if not by:
        return Histogram(unit, ())
    found = bins(material.cells, view)
    counts = material.cells.count
    known = found >= 0
    sums = np.zeros(65, np.int64)
    np.add.at(sums, found[known].astype(np.intp), counts[known])
    end = int(np.flatnonzero(sums)[-1]) + 1 if sums.any() else 0
    return Histogram(unit, tuple(sums[:end].tolist()), int(counts[found == OTHER].sum()), by)


def _main(view: View) -> View:
    return View(tab=view.tab, measure=Measure.MAIN)
