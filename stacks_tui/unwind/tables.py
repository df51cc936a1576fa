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
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

import numpy.typing as npt

from stacks_tui.diskcache import DiskCache
from stacks_tui.elf import ElfError, ElfImage
from stacks_tui.spaces import AddressSpace, Mapping
from stacks_tui.unwind.cached import load_table
from stacks_tui.unwind.ehframe import UnwindTable
from stacks_tui.unwind.identity import VDSO, FileKey, file_key, meaning_changed
from stacks_tui.unwind.modules import Module, RowStore, State, row_bias
from stacks_tui.unwind.ranges import Entry, Range, RangeStore
from stacks_tui.unwind.rows import MAPPINGS_PER_CHUNK, Rows
from stacks_tui.unwind.vdso import read_vdso

GRACE_NS = 1_000_000_000
"""How long a replaced range stays as it is: above the longest run of a BPF program, and above the
time that the record of a fork may take to arrive."""
ROOM_RETRY_NS = 10_000_000_000
READ_RETRY_NS = 1_000_000_000
"""When a module that had no room, or could not be read, is tried again if a process asks for it."""
FLUSH_NS = 10_000_000
"""The thread publishes what it loaded no more often than this, unless nothing is left to load."""
MODULES_LIMIT = 16384
"""Modules known at once; beyond it those that no process maps are forgotten."""

_EMPTY: Entry = (0, 0, 0, 0, 0, 0)
"""A mapping that holds no address: a process always has one mapping, so that a search finds one."""

Opener = Callable[[Mapping, int], AbstractContextManager[ElfImage | None]]
"""Opens the file of a mapping of a process (tgid), whatever lies at its path by now.

None: it can't be had.
"""


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
class _File:
    """A name of a module, good while a process maps it: an inode in use is not used anew."""

    module: Module
    tgids: set[int] = field(default_factory=set)


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
    files: dict[FileKey, Module] = field(default_factory=dict)
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
        self._opener = opener
        self._cache = cache
        self._clock = clock
        self._processes: dict[int, _Process] = {}
        self._files: dict[FileKey, _File] = {}
        self._modules: dict[Module, None] = {}
        self._by_build_id: dict[bytes, Module] = {}
        self._jobs: deque[tuple[Module, Mapping, int]] = deque()
        self._dirty: dict[int, None] = {}
        self._settling: deque[tuple[int, int]] = deque()
        self._unpublished = 0
        self._parse_ns = 0
        self._lock = threading.RLock()
        self._wake = threading.Condition(self._lock)
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
            self._bind(process)
            self._publish(process, now_ns, caused=True)

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
            self._bind(new)
            if new.range is None:
                self._dirty[child] = None
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
            if parent in self._dirty:
                self._dirty[child] = None

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
                modules=sum(module.state is State.ROWS for module in self._modules),
                rows_used=rows.used,
                rows_total=rows.total,
                mappings_used=mappings.used,
                mappings_total=mappings.total,
                evicted=self._store.evicted,
                rejected=self._store.rejected,
                overflowed=sum(process.overflow for process in self._processes.values()),
                unpublished=self._unpublished,
                parse_seconds=self._parse_ns / 1e9,
                pending=len(self._jobs) + self._store.waiting,
            )

    def _bind(self, process: _Process) -> None:
        """Find the modules of a process's mappings; those that are new are to be loaded."""
        tgid = process.space.tgid
        files: dict[FileKey, Module] = {}
        for mapping in process.space.mappings:
            key = file_key(mapping, tgid)
            if key is None or key in files:
                continue
            file = self._files.get(key)
            if file is None:
                module = self._by_build_id.get(mapping.buildid) if mapping.buildid else None
                file = self._files[key] = _File(module or self._new_module(mapping))
                file.module.keys.add(key)
            files[key] = file.module
            file.tgids.add(tgid)
            file.module.tgids.add(tgid)
            self._want(file.module, mapping, tgid)
        before, process.files = process.files, files
        for key in before.keys() - files.keys():
            self._unname(key, tgid)
        for module in set(before.values()) - set(files.values()):
            module.tgids.discard(tgid)
            self._forget_unreachable(module)

    def _new_module(self, mapping: Mapping) -> Module:
        if len(self._modules) >= MODULES_LIMIT:
            for old in [m for m in self._modules if not (m.tgids or m.holders)]:
                self._forget(old)
        module = Module(mapping.buildid)
        self._modules[module] = None
        if mapping.buildid:
            self._by_build_id[mapping.buildid] = module
        return module

    def _want(self, module: Module, mapping: Mapping, tgid: int) -> None:
        now_ns = self._clock()
        match module.state:
            case State.LOADING:
                wanted = not module.since_ns
            case State.NO_ROOM:
                # while its old rows are still named, they can't be put elsewhere
                wanted = now_ns - module.since_ns > ROOM_RETRY_NS and not module.pieces
            case State.UNREADABLE:
                wanted = now_ns - module.since_ns > READ_RETRY_NS
            case _:
                wanted = False
        if wanted:
            module.enter(State.LOADING, max(now_ns, 1))
            self._jobs.append((module, mapping, tgid))
            self._wake.notify_all()

    def _unname(self, key: FileKey, tgid: int) -> None:
        file = self._files[key]
        file.tgids.discard(tgid)
        if not file.tgids:
            del self._files[key]
            file.module.keys.discard(key)

    def _drop(self, tgid: int) -> None:
        """Forget a process; its ranges are free after the grace period."""
        process = self._processes.pop(tgid, None)
        if process is None:
            return
        self._dirty.pop(tgid, None)
        now_ns = self._clock()
        for held in (process.range, *process.others):
            if held is not None:
                self._ranges.release(held, now_ns)
        for key in process.files:
            self._unname(key, tgid)
        for module in set(process.files.values()):
            module.tgids.discard(tgid)
            self._forget_unreachable(module)

    def _forget_unreachable(self, module: Module) -> None:
        if not (module.tgids or module.keys or module.holders) and module in self._modules:
            known = module.build_id and self._by_build_id.get(module.build_id) is module
            if not known or module.state is not State.ROWS:
                self._forget(module)

    def _forget(self, module: Module) -> None:
        self._modules.pop(module, None)
        if module.build_id and self._by_build_id.get(module.build_id) is module:
            del self._by_build_id[module.build_id]
        self._store.forget(module)
        self._store.drop(module)

    # What the kernel sees

    def _entries(self, process: _Process) -> list[Entry]:
        entries: list[Entry] = []
        stop, plain = self._store.stop, self._store.plain
        tgid = process.space.tgid
        for mapping in process.space.mappings:
            key = file_key(mapping, tgid)
            if key is None or process.files[key].state is State.FRAME_POINTERS:
                where = (plain.first, plain.count, plain.chunk)
                entries.append((mapping.start, mapping.end, 0, *where))
                continue
            module = process.files[key]
            bias = row_bias(module.loads, mapping) if module.state is State.ROWS else None
            if bias is None:
                where = (stop.first, stop.count, stop.chunk)
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
        self._dirty.pop(tgid, None)
        entries = self._entries(process)
        process.overflow = max(len(entries) - MAPPINGS_PER_CHUNK, 0)
        used = tuple({m for m in process.files.values() if m.state is State.ROWS})
        for module in used:
            module.used_ns = now_ns
        new = self._ranges.hold(entries[:MAPPINGS_PER_CHUNK] or [_EMPTY], used)
        if new is None:
            # The old one, right or without what was loaded since, unless mappings changed.
            self._unpublished += 1
            self._dirty[tgid] = None
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
        for tgid in list(self._dirty):
            process = self._processes.get(tgid)
            if process is None:
                del self._dirty[tgid]
                continue
            self._bind(process)
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
        unheld = self._ranges.tidy(now_ns)
        for module in unheld:
            if module.state is not State.ROWS:
                self._store.drop(module)
            self._forget_unreachable(module)
        if unheld and self._store.waiting:
            self._spread(self._store.retry(self._modules, now_ns))

    def _spread(self, changed: list[Module]) -> None:
        for module in changed:
            self._dirty.update(dict.fromkeys(module.tgids))

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
        loaded = self._load_next()
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
                if not self._jobs or now_ns - flushed > FLUSH_NS:
                    self._flush()
                    flushed = now_ns
                if not (self._jobs or self._closing):
                    self._wake.wait(self._seconds_to_next())
                if self._closing:
                    return
            self._load_next()

    def _seconds_to_next(self) -> float:
        times = [self._settling[0][0] if self._settling else None, self._ranges.next_ns()]
        due = min((at for at in times if at is not None), default=None)
        if due is None:
            return 1.0
        return min(max((due - self._clock()) / 1e9, 0.002), 1.0)

    def _load_next(self) -> bool:
        with self._lock:
            if not self._jobs:
                return False
            module, mapping, tgid = self._jobs.popleft()
            if tgid not in module.tgids:
                mapping, tgid = self._another(module, mapping, tgid)
        began = self._clock()
        table: UnwindTable | None = None
        same: Module | None = None
        build_id: bytes | None = None
        try:
            if mapping.path == VDSO:
                image = read_vdso()
                table, module.loads = load_table(image, self._cache), image.loads
            else:
                with self._opener(mapping, tgid) as opened:
                    if opened is not None:
                        build_id = opened.build_id
                        same = self._same_as(module, build_id)
                        if same is None:
                            table = load_table(opened, self._cache)
                            module.loads = opened.loads
        except (ElfError, OSError, MemoryError):
            table = None
        with self._lock:
            now_ns = self._clock()
            self._parse_ns += now_ns - began
            if module in self._modules:
                if same is not None and same in self._modules:
                    self._merge(module, same)
                else:
                    self._loaded(module, table, build_id, now_ns)
        return True

    def _another(self, module: Module, mapping: Mapping, tgid: int) -> tuple[Mapping, int]:
        """A process that still has the module mapped, if there is one."""
        for other in module.tgids:
            for candidate in self._processes[other].space.mappings:
                key = file_key(candidate, other)
                if key is not None and key in module.keys:
                    return candidate, other
        return mapping, tgid

    def _same_as(self, module: Module, build_id: bytes | None) -> Module | None:
        with self._lock:
            same = self._by_build_id.get(build_id) if build_id else None
            return same if same is not module else None

    def _merge(self, module: Module, same: Module) -> None:
        """Another name of a module that is known by its build id."""
        for key in module.keys:
            file = self._files[key]
            file.module = same
            for tgid in file.tgids:
                self._processes[tgid].files[key] = same
        same.keys |= module.keys
        module.keys.clear()
        self._dirty.update(dict.fromkeys(module.tgids))
        same.tgids |= module.tgids
        module.tgids.clear()
        self._forget(module)

    def _loaded(
        self, module: Module, table: UnwindTable | None, build_id: bytes | None, now_ns: int
    ) -> None:
        if build_id and build_id not in self._by_build_id:
            module.build_id = build_id
            self._by_build_id[build_id] = module
        if table is None:
            module.enter(State.UNREADABLE, now_ns)
        elif not table.supported:
            module.enter(State.UNSUPPORTED, now_ns)
        elif not len(table.rows):
            module.enter(State.FRAME_POINTERS, now_ns)
        else:
            changed = self._store.load(module, table, list(self._modules), now_ns)
            self._spread(changed)
            for other in changed:
                self._forget_unreachable(other)
            return
        self._spread([module])


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
