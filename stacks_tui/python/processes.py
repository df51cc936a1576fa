"""Which processes run CPython: found as they map it, checked, and told to the kernel side.

Comes in: address spaces, forks, execs and exits, in the order in which they happened. Goes out: one
entry for each process in the kernel's hash, and a note for each file whose CPython is not known.
Files are parsed and processes checked by a thread of its own. A file whose layout has been right in
one process is believed in the next from its first moment; before that a process is asked again and
again until its interpreter runs.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from collections.abc import Mapping as Named
from dataclasses import dataclass
from typing import Protocol

from stacks_tui.elf import ElfError, Segment, mapping_bias
from stacks_tui.python.layout import LayoutError
from stacks_tui.python.runtime import (
    Found,
    OpenMemory,
    ProcessMemory,
    check,
    find_symbols,
    read_runtime,
)
from stacks_tui.spaces import AddressSpace, Mapping
from stacks_tui.unwind.catalog import Opener

FIRST_RETRY_S, LAST_RETRY_S = 0.001, 0.5
"""How long until a process that isn't ready is asked again; doubled each time up to the last."""
MOST_WRONG = 10
"""Wrong answers after which a file is not asked for again: about a second."""
FILES_LIMIT = 16_384
PROCESSES_LIMIT = 16_384

_Key = tuple[str, bytes | None, int, int]


class PythonMap(Protocol):
    """The kernel's hash of Python processes."""

    def publish_python(self, tgid: int, layout: bytes) -> None:
        """Set the entry of a process."""

    def remove_python(self, tgid: int) -> None:
        """Delete it, if it is there."""


@dataclass(slots=True)
class _File:
    """A file with CPython in it."""

    path: str
    symbols: Named[str, int]
    segments: tuple[Segment, ...]
    good: bool = False
    """Its layout was right in a process."""
    wrong: int = 0
    """Wrong answers so far."""
    refused: bool = False
    """It is not known, and nobody is asked any more."""


@dataclass(slots=True)
class _Candidate:
    tgid: int
    since: int
    mapping: Mapping
    due: float = 0.0
    delay: float = FIRST_RETRY_S


@dataclass(frozen=True, slots=True)
class _Published:
    since: int
    entry: bytes


class PythonProcesses:
    """Keeps the kernel's hash of Python processes up to date. Any thread may call it."""

    def __init__(
        self,
        kernel: PythonMap,
        opener: Opener,
        note: Callable[[str], None],
        memory: Callable[[int], OpenMemory] = ProcessMemory,
    ) -> None:
        """`note`: told, once for each file, of a CPython whose frames can't be had, and why."""
        self._kernel = kernel
        self._opener = opener
        self._note = note
        self._memory = memory
        self._files: OrderedDict[_Key, _File | None] = OrderedDict()
        self._new: dict[int, dict[_Key, _Candidate]] = {}
        """By process and file: not looked at yet."""
        self._waiting: dict[int, _Candidate] = {}
        """By process: it has CPython, whose interpreter does not run yet."""
        self._under_way: dict[int, dict[_Key, _Candidate]] = {}
        """As `_new`: what the thread is at."""
        self._published: OrderedDict[int, _Published] = OrderedDict()
        self._ended: OrderedDict[int, int] = OrderedDict()
        """When processes that have exited became Python."""
        self._change = threading.Condition(threading.RLock())
        self._running = False
        self._thread = threading.Thread(target=self._run, name="pythons", daemon=True)

    def start(self) -> None:
        """Look at processes, in a thread, from now on."""
        self._running = True
        self._thread.start()

    def close(self) -> None:
        """End the thread."""
        with self._change:
            self._running = False
            self._change.notify()
        if self._thread.ident is not None:
            self._thread.join()

    def mapped(self, space: AddressSpace, time_ns: int) -> None:
        """A process's address space is this from now on."""
        with self._change:
            if space.tgid in self._published or space.tgid in self._waiting:
                return
            for mapping in space.mappings:
                if not mapping.path.startswith("/") or mapping.path.startswith("//"):
                    continue
                key = _key(mapping)
                if key in self._files:
                    file = self._files[key]
                    if file is None or file.refused:
                        continue
                new = self._new.setdefault(space.tgid, {})
                if key not in new:
                    new[key] = _Candidate(space.tgid, time_ns, mapping)
                    self._change.notify()

    def fork(self, parent: int, child: int, time_ns: int) -> None:
        """A process has a child with a memory like its own."""
        with self._change:
            published = self._published.get(parent)
            if published is not None:
                self._publish(child, _Published(time_ns, published.entry))
            same = {**self._under_way.get(parent, {}), **self._new.get(parent, {})}
            if parent in self._waiting:
                same[_key(self._waiting[parent].mapping)] = self._waiting[parent]
            if same:
                self._new[child] = {
                    key: _Candidate(child, time_ns, one.mapping) for key, one in same.items()
                }
                self._change.notify()

    def exec(self, tgid: int) -> None:
        """Its memory is another; what was known of it is void."""
        with self._change:
            self._drop(tgid)
            self._ended.pop(tgid, None)

    def exit(self, tgid: int) -> None:
        """It has ended; its last stacks may still come."""
        with self._change:
            published = self._drop(tgid)
            if published is not None:
                self._ended[tgid] = published.since
                if len(self._ended) > PROCESSES_LIMIT:
                    self._ended.popitem(last=False)

    def is_python(self, tgid: int, time_ns: int) -> bool:
        """Whether a process is known to have been CPython at a time (CLOCK_MONOTONIC)."""
        with self._change:
            published = self._published.get(tgid)
            since = published.since if published is not None else self._ended.get(tgid)
            return since is not None and time_ns >= since

    def _drop(self, tgid: int) -> _Published | None:
        for held in (self._new, self._waiting, self._under_way):
            held.pop(tgid, None)
        published = self._published.pop(tgid, None)
        if published is not None:
            self._kernel.remove_python(tgid)
        return published

    def _publish(self, tgid: int, what: _Published) -> None:
        self._published[tgid] = what
        self._ended.pop(tgid, None)
        self._kernel.publish_python(tgid, what.entry)

    # The thread

    def _run(self) -> None:
        while True:
            with self._change:
                if not self._running:
                    return
                now = time.monotonic()
                due = [one for one in self._waiting.values() if one.due <= now]
                if not (self._new or due):
                    next_due = min((one.due for one in self._waiting.values()), default=None)
                    self._change.wait(None if next_due is None else next_due - now)
                    continue
                self._under_way, self._new = self._new, {}
                for one in due:
                    del self._waiting[one.tgid]
                    self._under_way.setdefault(one.tgid, {})[_key(one.mapping)] = one
                candidates = [c for several in self._under_way.values() for c in several.values()]
            for candidate in candidates:
                self._consider(candidate)

    def _is_under_way(self, candidate: _Candidate) -> bool:
        """False where an exec or exit came in between."""
        asked = self._under_way.get(candidate.tgid, {})
        return asked.get(_key(candidate.mapping)) is candidate

    def _consider(self, candidate: _Candidate) -> None:
        with self._change:
            if candidate.tgid in self._published or not self._is_under_way(candidate):
                return
        file = self._file(candidate)
        if file is None or file.refused:
            return
        found, entry, reason = self._ask(file, candidate)
        with self._change:
            if found is None or not self._is_under_way(candidate):
                return
            if candidate.tgid in self._published:
                return
            if found is Found.GOOD:
                file.good = True
                self._publish(candidate.tgid, _Published(candidate.since, entry))
                return
            if found is Found.WRONG:
                file.wrong += 1
                if file.wrong >= MOST_WRONG and not file.good:
                    file.refused = True
                    self._note(f"Python frames of {file.path} are not recorded: {reason}.")
                    return
            candidate.due = time.monotonic() + candidate.delay
            candidate.delay = min(2 * candidate.delay, LAST_RETRY_S)
            self._waiting[candidate.tgid] = candidate

    def _ask(self, file: _File, candidate: _Candidate) -> tuple[Found | None, bytes, str]:
        """(what a process says of itself, its entry, what is wrong); None: it is gone."""
        bias = mapping_bias(file.segments, candidate.mapping)
        if bias is None:
            return None, b"", ""
        try:
            memory = self._memory(candidate.tgid)
        except OSError:
            return None, b"", ""
        try:
            runtime = read_runtime(file.symbols, bias, memory)
            found = Found.GOOD if file.good else check(runtime, memory)
            return found, runtime.pack(), "its memory is laid out in an unknown way"
        except LayoutError as error:  # also: the loader is not done with the file
            return Found.WRONG, b"", str(error)
        except OSError:
            return Found.NOT_YET, b"", ""
        finally:
            memory.close()

    def _file(self, candidate: _Candidate) -> _File | None:
        key = _key(candidate.mapping)
        with self._change:
            if key in self._files:
                return self._files[key]
        file = None
        with (
            contextlib.suppress(ElfError, OSError),
            self._opener(candidate.mapping, candidate.tgid) as image,
        ):
            if image is None:
                return None
            symbols = find_symbols(image)
            if symbols is not None:
                file = _File(candidate.mapping.path, symbols, image.segments)
        with self._change:
            self._files[key] = file
            if len(self._files) > FILES_LIMIT:
                self._files.popitem(last=False)
        return file


def _key(mapping: Mapping) -> _Key:
    return mapping.path, mapping.buildid, mapping.device, mapping.inode
