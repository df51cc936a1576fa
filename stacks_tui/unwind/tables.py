"""The unwind tables of running processes, in the kernel's arrays.

Comes in: address spaces, forks, execs and exits, in the order in which they happened. Goes out:
for each process one entry (where its mappings lie), its mappings sorted by address, and the rows
that they name. New files are parsed by a thread of its own. Until their rows are there, and where
they can't be had, a walk that comes upon them ends, incomplete. Code of JITs and of files without
rules is walked by frame pointer.

What a BPF program may be reading never changes: a process's new mappings are written elsewhere,
then its entry is replaced; the old range is free after a grace period, its rows not before it.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy.typing as npt

from stacks_tui.diskcache import DiskCache
from stacks_tui.spaces import AddressSpace
from stacks_tui.unwind.catalog import Catalog, Opener
from stacks_tui.unwind.identity import file_key, meaning_changed
from stacks_tui.unwind.modules import HOPELESS, RowStore, State, row_bias
from stacks_tui.unwind.ranges import Entry, Range, RangeStore
from stacks_tui.unwind.rows import MAPPINGS_PER_CHUNK, Rows

GRACE_NS = 1_000_000_000
"""How long a replaced range stays as it is: above the longest run of a BPF program, and above the
time that the record of a fork may take to arrive."""
FLUSH_NS = 10_000_000
"""The thread publishes what it loaded no more often than this, unless nothing is left to load."""
_EMPTY: Entry = (0, 0, 0, 0, 0, 0)
"""A mapping that holds no address: a process always has one mapping, so that a search finds one."""


class SpaceMap(Protocol):
    """The kernel's hash of processes: where the mappings of each lie."""

    def publish(self, tgid: int, chunk: int, first: int, count: int, epoch: int) -> None:
        """Set the entry of a process, in one atomic update."""
        ...

    def replace(self, tgid: int, chunk: int, first: int, count: int, epoch: int) -> None:
        """As publish, but only where there is an entry (BPF_EXIST).

        So what no record caused can't bring back an entry that the kernel's exec handler removed.
        """
        ...

    def remove(self, tgid: int) -> None:
        """Remove the entry of a process, if there is one."""
        ...


@dataclass(frozen=True, slots=True)
class Statistics:
    """How full the arrays are, and what found no room."""

    processes: int
    modules: int
    """With rows in the kernel's array."""
    rows_used: int
    rows_total: int
    mappings_used: int
    mappings_total: int
    evicted: int
    """Times that a module's rows gave way to another's."""
    rejected: int
    """Times that a module found no room for its rows."""
    overflowed: int
    """Mappings left out now, because their process has more than 1024."""
    unpublished: int
    """Times that a process's mappings found no room."""
    parse_seconds: float
    """Spent opening and parsing files, or reading their tables from the cache."""
    pending: int
    """Modules that wait to be loaded."""


@dataclass(slots=True, eq=False)
class _Process:
    space: AddressSpace
    epoch: int = 0
    range: Range | None = None
    """What its entry names."""
    others: list[Range] = field(default_factory=list)
    """What its entry may name instead: the kernel copied its parent's, nobody knows which."""
    settle_ns: int = 0
    """When its entry is written anew, so that the others are out of question."""
    past: list[Range] = field(default_factory=list)
    """What its entry named before; a child whose record is on its way may have that."""
    overflow: int = 0


class Tables:
    """Owns the rows and mappings in the kernel, and knows who uses them.

    `rows` (dtype ROW) and `mappings` (dtype MAPPING) are views of all chunks of the BPF arrays, one
    after the other. Methods may be called from any thread; nothing is loaded but by the thread that
    `start` makes, or by `work`.
    """

    def __init__(
        self,
        rows: Rows,
        mappings: npt.NDArray[Any],
        spaces: SpaceMap,
        opener: Opener,
        cache: DiskCache | None = None,
        clock: Callable[[], int] = time.monotonic_ns,
    ) -> None:
        self._store = RowStore(rows)
        self._ranges = RangeStore(mappings, GRACE_NS)
        self._spaces = spaces
        self._clock = clock
        self._lock = threading.RLock()
        self._wake = threading.Condition(self._lock)
        self._catalog = Catalog(self._store, opener, cache, clock, self._lock)
        self._processes: dict[int, _Process] = {}
        self._settling: deque[tuple[int, int]] = deque()
        self._unpublished = 0
        self._thread: threading.Thread | None = None
        self._closing = False

    # What happens to processes

    def update(self, space: AddressSpace, now_ns: int) -> None:
        """Publish a process's mappings as they are at `now_ns` (CLOCK_MONOTONIC)."""
        with self._lock:
            self._tidy()
            tgid = space.tgid
            process = self._processes.get(tgid)
            if process is not None and process.space.generation != space.generation:
                self._drop(tgid)
                process = None
            if process is None:
                process = self._processes[tgid] = _Process(space)
            elif process.space.mappings == space.mappings and process.range is not None:
                return
            elif meaning_changed(process.space.mappings, space.mappings):
                process.epoch += 1
            process.space = space
            self._catalog.bind(tgid, space.mappings)
            self._publish(process, now_ns, caused=True)
            if self._catalog.has_jobs:
                self._wake.notify_all()

    def fork(self, parent: int, child: int) -> None:
        """A new process has its parent's mappings; the kernel has copied the parent's entry."""
        with self._lock:
            self._tidy()
            self._drop(child)
            old = self._processes.get(parent)
            if old is None:
                return
            new = _Process(replace(old.space, tgid=child), old.epoch, old.range)
            self._processes[child] = new
            self._catalog.bind(child, new.space.mappings)
            if new.range is None:
                self._catalog.changed[child] = None
                self._wake.notify_all()
                return
            self._ranges.refer(new.range)
            # If the parent's entry changed just now, the copy may be of the one before.
            old.past = [each for each in old.past if not each.is_free]
            new.others = list(dict.fromkeys([*old.past, *old.others]))
            for each in new.others:
                self._ranges.refer(each)
            if new.others:
                new.settle_ns = self._clock() + GRACE_NS
                self._settling.append((new.settle_ns, child))
            if parent in self._catalog.changed:
                self._catalog.changed[child] = None
            if child in self._catalog.changed or self._catalog.has_jobs:
                self._wake.notify_all()

    def exec(self, tgid: int) -> None:
        """The process runs another program: its mappings are gone."""
        with self._lock:
            self._spaces.remove(tgid)
            self._drop(tgid)
            self._tidy()

    def exit(self, tgid: int) -> None:
        """The process ended."""
        self.exec(tgid)

    def statistics(self) -> Statistics:
        """The figures of this moment."""
        with self._lock:
            rows, mappings = self._store.pool, self._ranges.pool
            return Statistics(
                processes=len(self._processes),
                modules=self._catalog.loaded,
                rows_used=rows.used,
                rows_total=rows.total,
                mappings_used=mappings.used,
                mappings_total=mappings.total,
                evicted=self._store.evicted,
                rejected=self._store.rejected,
                overflowed=sum(process.overflow for process in self._processes.values()),
                unpublished=self._unpublished,
                parse_seconds=self._catalog.load_ns / 1e9,
                pending=self._catalog.pending,
            )

    def _drop(self, tgid: int) -> None:
        """Forget a process; its ranges are free after the grace period."""
        process = self._processes.pop(tgid, None)
        if process is None:
            return
        self._catalog.unbind(tgid)
        now_ns = self._clock()
        for held in (process.range, *process.others):
            if held is not None:
                self._ranges.release(held, now_ns)

    # What the kernel sees

    def _entries(self, process: _Process) -> list[Entry]:
        entries: list[Entry] = []
        store = self._store
        tgid = process.space.tgid
        files = self._catalog.files(tgid)
        for mapping in process.space.mappings:
            key = file_key(mapping, tgid)
            if key is None or files[key].state is State.FRAME_POINTERS:
                where = (store.plain.first, store.plain.count, store.plain.chunk)
                entries.append((mapping.start, mapping.end, 0, *where))
                continue
            module = files[key]
            unknown = store.bad if module.state in HOPELESS else store.stop
            bias = row_bias(module.loads, mapping) if module.state is State.ROWS else None
            if bias is None:
                where = (unknown.first, unknown.count, unknown.chunk)
                entries.append((mapping.start, mapping.end, mapping.start, *where))
                continue
            base = bias - (1 << 64) if bias > mapping.end else bias
            ends = [*(base + pc for pc, _ in module.pieces[1:]), mapping.end]
            start = mapping.start
            for (_, extent), end in zip(module.pieces, ends, strict=True):
                end = min(end, mapping.end)
                if start < end:
                    where = (extent.first, extent.count, extent.chunk)
                    entries.append((start, end, bias, *where))
                    start = end
        return _joined(entries)

    def _publish(self, process: _Process, now_ns: int, caused: bool) -> None:
        """Write a process's mappings, replace its entry. `caused`: by a record of this process."""
        tgid = process.space.tgid
        self._catalog.changed.pop(tgid, None)
        entries = self._entries(process)
        process.overflow = max(len(entries) - MAPPINGS_PER_CHUNK, 0)
        files = self._catalog.files(tgid)
        used = tuple({m for m in files.values() if m.state is State.ROWS})
        for module in used:
            module.used_ns = now_ns
        new = self._ranges.hold(entries[:MAPPINGS_PER_CHUNK] or [_EMPTY], used)
        if new is None:
            # The old one, right or without what was loaded since, unless mappings changed.
            self._unpublished += 1
            self._catalog.changed[tgid] = None
            if caused:
                self._spaces.remove(tgid)
                self._turn(process, None)
            return
        extent = new.extent
        send = self._spaces.publish if caused or process.range is None else self._spaces.replace
        send(tgid, extent.chunk, extent.first, extent.count, process.epoch)
        self._turn(process, new)

    def _turn(self, process: _Process, new: Range | None) -> None:
        """The process's entry names `new` from now on, and nothing else."""
        old, process.range = process.range, new
        now_ns = self._clock()
        past = [*process.past, *process.others]
        for held in (old, *process.others):
            if held is not None:
                self._ranges.release(held, now_ns)
        process.others = []
        if old is not None and old is not new:
            past.append(old)
        process.past = [each for each in dict.fromkeys(past) if not each.is_free]

    def _flush(self) -> None:
        """Publish the processes whose modules changed."""
        for tgid in list(self._catalog.changed):
            process = self._processes.get(tgid)
            if process is None:
                del self._catalog.changed[tgid]
                continue
            self._catalog.bind(tgid, process.space.mappings)
            self._publish(process, self._clock(), caused=False)

    def _tidy(self) -> None:
        """Do what is due: free ranges and rows, settle the entries of children."""
        now_ns = self._clock()
        while self._settling and self._settling[0][0] <= now_ns:
            at, tgid = self._settling.popleft()
            process = self._processes.get(tgid)
            if process is None or process.settle_ns != at or not process.others:
                continue
            if process.range is not None:
                extent = process.range.extent
                self._spaces.replace(tgid, extent.chunk, extent.first, extent.count, process.epoch)
                self._ranges.refer(process.range)
                self._turn(process, process.range)
        self._catalog.unheld(self._ranges.tidy(now_ns), now_ns)
        self._catalog.retry(now_ns)

    # The loading of modules

    def start(self) -> None:
        """Load what is new in a thread of its own, until `close`."""
        if self._thread is None:
            self._closing = False
            self._thread = threading.Thread(target=self._run, name="unwind-tables", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """End the thread; what is published stays."""
        with self._lock:
            self._closing = True
            self._wake.notify_all()
        if self._thread is not None:
            self._thread.join()
            self._thread = None

    def work(self) -> bool:
        """Load one module and publish what is ready. False: there was none to load."""
        loaded = self._catalog.load_next()
        with self._lock:
            self._tidy()
            self._flush()
        return loaded

    def _run(self) -> None:
        flushed = self._clock()
        while True:
            with self._lock:
                self._tidy()
                now_ns = self._clock()
                if not self._catalog.has_jobs or now_ns - flushed > FLUSH_NS:
                    self._flush()
                    flushed = now_ns
                if not (self._catalog.has_jobs or self._closing):
                    self._wake.wait(self._seconds_to_next())
                if self._closing:
                    return
            self._catalog.load_next()

    def _seconds_to_next(self) -> float:
        times = [self._settling[0][0] if self._settling else None, self._ranges.next_ns()]
        due = min((at for at in times if at is not None), default=None)
        if due is None:
            return 1.0
        return min(max((due - self._clock()) / 1e9, 0.002), 1.0)


def _joined(entries: list[Entry]) -> list[Entry]:
    """Neighbours that say the same as one."""
    joined: list[Entry] = []
    for entry in entries:
        if joined and joined[-1][1] == entry[0]:
            last = joined[-1]
            if last[2:] == entry[2:]:
                joined[-1] = (last[0], *entry[1:])
                continue
        joined.append(entry)
    return joined
