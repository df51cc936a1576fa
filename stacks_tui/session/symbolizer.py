"""Names the frames of new stacks in a thread of its own, off the threads that read and write.

Comes in: stacks with the address space of their moment, and modules that targets just mapped. Goes
out: resolved stacks, taken by whoever writes. Those that the kernel could only copy are unwound
here first.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from stacks_tui.records import StackFlag, StackRecord, StackStatus
from stacks_tui.spaces import AddressSpace, Mapping
from stacks_tui.symbols.frames import ResolvedStack
from stacks_tui.symbols.resolver import Resolver
from stacks_tui.unwind.late import LateUnwinder

_Job = tuple[StackRecord, AddressSpace | None] | tuple[Mapping, int] | None


class Symbolizer:
    """A queue in, a list out, one thread between."""

    def __init__(self, resolver: Resolver, late: LateUnwinder) -> None:
        self._resolver = resolver
        self._late = late
        self.unwound_late = np.zeros((256, len(StackStatus)), np.int64)
        """Copied stacks, by the code of their kind and what ended their walk here."""
        self._jobs: queue.SimpleQueue[_Job] = queue.SimpleQueue()
        self._ready: list[ResolvedStack] = []
        self._lock = threading.Lock()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="symbolizer", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Stacks and modules that wait."""
        return self._jobs.qsize()

    def prefetch(self, mapping: Mapping, tgid: int) -> None:
        """Open a module's file while its process is there."""
        self._jobs.put((mapping, tgid))

    def resolve(self, stack: StackRecord, space: AddressSpace | None) -> None:
        """Name the frames of a stack, later."""
        self._jobs.put((stack, space))

    def take(self) -> Sequence[ResolvedStack]:
        """What is ready since the last call.

        Raises:
            Exception: what ended the thread, if anything did.
        """
        with self._lock:
            ready, self._ready = self._ready, []
        if self._failure is not None and not ready:
            raise self._failure
        return ready

    def finish(self) -> Sequence[ResolvedStack]:
        """Wait until all is resolved, end the thread, return the rest."""
        self._jobs.put(None)
        self._thread.join()
        return self.take()

    def _run(self) -> None:
        try:
            while (job := self._jobs.get()) is not None:
                first, second = job
                if isinstance(first, Mapping):
                    assert isinstance(second, int)
                    self._resolver.prefetch(first, second)
                    continue
                assert second is None or isinstance(second, AddressSpace)
                resolved = self._resolver.resolve(self._unwound(first, second), second)
                with self._lock:
                    self._ready.append(resolved)
        except BaseException as error:  # noqa: BLE001  # told to the thread that takes
            self._failure = error

    def _unwound(self, stack: StackRecord, space: AddressSpace | None) -> StackRecord:
        if not stack.flags & StackFlag.COPY:
            return stack
        found = self._late.unwind(stack.user, space, stack.tgid)
        self.unwound_late[stack.kind, found.status] += 1
        return replace(
            stack,
            user=found.addresses,
            status=found.status,
            flags=stack.flags & ~StackFlag.COPY,
            by_frame_pointer=found.by_frame_pointer,
        )
