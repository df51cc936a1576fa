"""The modules that processes map: told apart by content, loaded once, forgotten when unused.

Comes in: the mappings of processes. Goes out: a module for each file, in whatever state it is, and
the processes whose modules changed their state since. One lock, given from outside, guards all of
it but the reading of files.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

from stacks_tui.diskcache import DiskCache
from stacks_tui.elf import ElfError, ElfImage
from stacks_tui.spaces import Mapping
from stacks_tui.unwind.cached import load_table
from stacks_tui.unwind.ehframe import UnwindTable
from stacks_tui.unwind.identity import VDSO, FileKey, file_key
from stacks_tui.unwind.modules import Module, RowStore, State
from stacks_tui.unwind.vdso import read_vdso

ROOM_RETRY_NS = 10_000_000_000
READ_RETRY_NS = 1_000_000_000
"""When a module that had no room, or could not be read, is tried again if a process asks for it."""
MODULES_LIMIT = 16384
"""Modules known at once; beyond it those that no process maps are forgotten."""

Opener = Callable[[Mapping, int], AbstractContextManager[ElfImage | None]]
"""Opens the file of a mapping of a process (tgid), whatever lies at its path by now.

None: it can't be had.
"""

Files = dict[FileKey, Module]


@dataclass(slots=True, eq=False)
class _File:
    """A name of a module, good while a process maps it: an inode in use is not used anew."""

    module: Module
    tgids: set[int] = field(default_factory=set)


@dataclass(slots=True, eq=False)
class _Bound:
    mappings: tuple[Mapping, ...]
    files: Files


class Catalog:
    """Which module each mapping is of. Loads nothing but by `load_next`."""

    def __init__(
        self,
        store: RowStore,
        opener: Opener,
        cache: DiskCache | None,
        clock: Callable[[], int],
        lock: AbstractContextManager[bool],
    ) -> None:
        self._store = store
        self._opener = opener
        self._cache = cache
        self._clock = clock
        self._lock = lock
        self._bound: dict[int, _Bound] = {}
        self._files: dict[FileKey, _File] = {}
        self._modules: dict[Module, None] = {}
        self._by_build_id: dict[bytes, Module] = {}
        self._jobs: list[tuple[int, int, Module, Mapping, int]] = []  # a heap: small code first
        self._job_number = 0
        self._retried_ns = 0
        self.load_ns = 0
        """Time spent opening and parsing files, or reading their tables from the cache."""
        self.changed: dict[int, None] = {}
        """Processes whose modules changed their state: to be published anew, and taken out here."""

    @property
    def pending(self) -> int:
        """Modules that wait to be loaded."""
        return len(self._jobs) + self._store.waiting

    @property
    def has_jobs(self) -> bool:
        """Whether `load_next` has something to do."""
        return bool(self._jobs)

    @property
    def loaded(self) -> int:
        """Modules with rows in the kernel's array."""
        return sum(module.state is State.ROWS for module in self._modules)

    def bind(self, tgid: int, mappings: tuple[Mapping, ...]) -> None:
        """These are a process's mappings now; modules that are new are to be loaded."""
        files: Files = {}
        for mapping in mappings:
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
        before = self.files(tgid)
        self._bound[tgid] = _Bound(mappings, files)
        self._let_go(tgid, before, files)

    def unbind(self, tgid: int) -> None:
        """The process has no mappings any more."""
        bound = self._bound.pop(tgid, None)
        if bound is not None:
            self._let_go(tgid, bound.files, {})
        self.changed.pop(tgid, None)

    def files(self, tgid: int) -> Files:
        """The modules of a process's mappings, by `file_key`."""
        bound = self._bound.get(tgid)
        return {} if bound is None else bound.files

    def unheld(self, modules: list[Module], now_ns: int) -> None:
        """No range of mappings names these modules' rows any more."""
        for module in modules:
            if module.state is not State.ROWS:
                self._store.drop(module)
            self._forget_unreachable(module)
        if modules and self._store.waiting:
            self._tell(self._store.retry(self._modules, now_ns))

    def retry(self, now_ns: int) -> None:
        """Load the modules in use that found no room, if there may be some by now."""
        if now_ns - self._retried_ns < ROOM_RETRY_NS:
            return
        self._retried_ns = now_ns
        for module in self._modules:
            if module.state is not State.NO_ROOM or not module.tgids:
                continue
            user = self._user(module)
            if user is not None and self._store.has_room(module.size, self._modules):
                self._want(module, *user)

    def load_next(self) -> bool:
        """Load one module that waits; False: there is none. Called without the lock."""
        with self._lock:
            while self._jobs and self._jobs[0][2] not in self._modules:
                heapq.heappop(self._jobs)  # whoever mapped it is gone, such as an exec's first half
            if not self._jobs:
                return False
            _, _, module, mapping, tgid = heapq.heappop(self._jobs)
            if tgid not in module.tgids:
                mapping, tgid = self._user(module) or (mapping, tgid)
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
            self.load_ns += now_ns - began
            if module in self._modules:
                if same is not None and same in self._modules:
                    self._merge(module, same)
                else:
                    self._take(module, table, build_id, now_ns)
        return True

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
            self._job_number += 1
            size = mapping.end - mapping.start
            heapq.heappush(self._jobs, (size, self._job_number, module, mapping, tgid))

    def _let_go(self, tgid: int, before: Files, files: Files) -> None:
        for key in before.keys() - files.keys():
            file = self._files[key]
            file.tgids.discard(tgid)
            if not file.tgids:
                del self._files[key]
                file.module.keys.discard(key)
        for module in set(before.values()) - set(files.values()):
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

    def _user(self, module: Module) -> tuple[Mapping, int] | None:
        """A process that has the module mapped, and where."""
        for other in module.tgids:
            for candidate in self._bound[other].mappings:
                key = file_key(candidate, other)
                if key is not None and key in module.keys:
                    return candidate, other
        return None

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
                self._bound[tgid].files[key] = same
        same.keys |= module.keys
        module.keys.clear()
        self.changed.update(dict.fromkeys(module.tgids))
        same.tgids |= module.tgids
        module.tgids.clear()
        self._forget(module)

    def _take(
        self, module: Module, table: UnwindTable | None, build_id: bytes | None, now_ns: int
    ) -> None:
        if build_id and build_id not in self._by_build_id:
            module.build_id = build_id
            self._by_build_id[build_id] = module
        changed = [module]
        if table is None:
            module.enter(State.UNREADABLE, now_ns)
        elif not table.supported:
            module.enter(State.UNSUPPORTED, now_ns)
        elif not len(table.rows):
            module.enter(State.FRAME_POINTERS, now_ns)
        else:
            changed = self._store.load(module, table, list(self._modules), now_ns)
        self._tell(changed)
        for other in changed:
            self._forget_unreachable(other)

    def _tell(self, changed: list[Module]) -> None:
        for module in changed:
            self.changed.update(dict.fromkeys(module.tgids))
