"""Names the frames of new stacks in a thread of its own, off the threads that read and write.

Comes in: stacks with the address space of their moment, and modules that targets just mapped. Goes
out: resolved stacks, taken by whoever writes. Those that the kernel could only copy are unwound
here first.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np

from stacks_tui.python.frames import PythonFrames
from stacks_tui.python.runtime import OpenMemory, ProcessMemory
from stacks_tui.records import CodeRecord, StackFlag, StackRecord, StackStatus
from stacks_tui.session.interpreted import make_frame, with_python
from stacks_tui.spaces import AddressSpace, Mapping
from stacks_tui.symbols.frames import Frame, ResolvedStack
from stacks_tui.symbols.resolver import Resolver
from stacks_tui.unwind.late import LateUnwinder

MOST_UNNAMED = 1 << 14
"""Stacks that wait for names until the end; beyond, the oldest are stored as they are."""


class Symbolizer:
    """A queue in, a list out, one thread between."""

    def __init__(
        self,
        resolver: Resolver,
        late: LateUnwinder,
        is_python: Callable[[int, int], bool] = lambda tgid, time_ns: False,
    ) -> None:
        """`is_python`: whether a process (tgid) was Python at a time (ns, CLOCK_MONOTONIC)."""
        self._resolver = resolver
        self._late = late
        self._is_python = is_python
        self._python: PythonFrames[Frame] = PythonFrames(make_frame, _memory_of)
        self.unwound_late = np.zeros((256, len(StackStatus)), np.int64)
        """Copied stacks, by the code of their kind and what ended their walk here."""
        self._stacks: deque[tuple[StackRecord | CodeRecord, AddressSpace | None]] = deque()
        self._copied_in = self._copied_out = 0
        self._modules: deque[tuple[Mapping, int]] = deque()
        self._ready: list[ResolvedStack] = []
        self._unnamed: deque[tuple[StackRecord, AddressSpace | None]] = deque()
        self._finishing = False
        self._change = threading.Condition()
        self._failure: BaseException | None = None
        self._thread = threading.Thread(target=self._run, name="symbolizer", daemon=True)
        self._thread.start()

    @property
    def waiting(self) -> int:
        """Stacks that wait."""
        return len(self._stacks)

    @property
    def copied_bytes(self) -> int:
        """Of copied stacks that wait to be unwound."""
        return self._copied_in - self._copied_out

    def prefetch(self, mapping: Mapping, tgid: int) -> None:
        """Open a module's file while its process is there: before any stack that waits."""
        self._resolver.hold(mapping, tgid)
        with self._change:
            self._modules.append((mapping, tgid))
            self._change.notify()

    def learn(self, code: CodeRecord) -> None:
        """Take in a code object, which stacks that come after it name."""
        with self._change:
            self._stacks.append((code, None))
            self._change.notify()

    def resolve(self, stack: StackRecord, space: AddressSpace | None) -> None:
        """Name the frames of a stack, later."""
        with self._change:
            self._stacks.append((stack, space))
            self._copied_in += _copied(stack)
            self._change.notify()

    def take(self) -> Sequence[ResolvedStack]:
        """What is ready since the last call.

        Raises:
            Exception: what ended the thread, if anything did.
        """
        with self._change:
            ready, self._ready = self._ready, []
        if self._failure is not None and not ready:
            raise self._failure
        return ready

    def finish(self) -> Sequence[ResolvedStack]:
        """Wait until all is resolved, end the thread, return the rest."""
        with self._change:
            self._finishing = True
            self._change.notify()
        self._thread.join()
        return self.take()

    def _run(self) -> None:
        try:
            while self._step():
                pass
        except BaseException as error:  # noqa: BLE001  # told to the thread that takes
            self._failure = error

    def _step(self) -> bool:
        """Do one job; False: all is done, and no more will come."""
        with self._change:
            while not (self._modules or self._stacks or self._finishing):
                self._change.wait()
            module = self._modules.popleft() if self._modules else None
            stack = self._stacks.popleft() if module is None and self._stacks else None
        if module is not None:
            self._resolver.prefetch(*module)
        elif stack is not None:
            record, space = stack
            if isinstance(record, CodeRecord):
                self._python.learn(record)
                return True
            record = self._unwound(record, space)
            self._name(record, space, last=False)
        elif self._unnamed:
            self._name(*self._unnamed.popleft(), last=True)
        else:
            return False
        return True

    def _name(self, record: StackRecord, space: AddressSpace | None, *, last: bool) -> None:
        """Resolve a stack; if its runtime may tell more names yet, that waits, up to a bound."""
        resolved = self._resolver.resolve(record, space)
        if self._resolver.names_may_come and not last:
            self._unnamed.append((record, space))
            if len(self._unnamed) <= MOST_UNNAMED:
                return
            record, space = self._unnamed.popleft()
            resolved = self._resolver.resolve(record, space)
        resolved = with_python(resolved, record, self._python, self._is_python)
        with self._change:
            self._ready.append(resolved)

    def _unwound(self, stack: StackRecord, space: AddressSpace | None) -> StackRecord:
        if not stack.flags & StackFlag.COPY:
            return stack
        self._copied_out += _copied(stack)
        found = self._late.unwind(stack.user, space, stack.tgid)
        self.unwound_late[stack.kind, found.status] += 1
        return replace(
            stack,
            user=found.addresses,
            status=found.status,
            flags=stack.flags & ~StackFlag.COPY,
            by_frame_pointer=found.by_frame_pointer,
        )


def _copied(stack: StackRecord) -> int:
    return stack.user.nbytes if stack.flags & StackFlag.COPY else 0


def _memory_of(tgid: int) -> OpenMemory | None:
    try:
        return ProcessMemory(tgid)
    except OSError:
        return None
