"""Follows processes while they live: side-band records into tasks, address spaces into the kernel.

Comes in: the side-band, as soon as the kernel wakes us. Goes out: unwind tables published within
milliseconds of a mapping, and, under its lock, who was who at any moment of a batch.
"""

from __future__ import annotations

import contextlib
import os
import select
import threading
from collections.abc import Callable, Iterator, Sequence

from stacks_tui.capture import procfs
from stacks_tui.capture.sideband import Sideband
from stacks_tui.columns import Events
from stacks_tui.elf import ElfImage
from stacks_tui.enrich.clock import Clock
from stacks_tui.enrich.history import Execed, Exited, Forked
from stacks_tui.enrich.processes import ProcessRow
from stacks_tui.enrich.tasks import TaskColumns, Tasks
from stacks_tui.python.processes import PythonProcesses
from stacks_tui.records import StackRecord
from stacks_tui.spaces import AddressSpace, Mapping
from stacks_tui.symbols.binaries import Binary, open_binary
from stacks_tui.unwind.tables import Tables

SETTLE_S = 0.0005
"""After a wake-up: long enough that an exec's records come together, short against its first ms."""


@contextlib.contextmanager
def open_mapped(mapping: Mapping, tgid: int) -> Iterator[Binary | None]:
    """A mapping's file while it is looked at (`capture.probes.Opener`)."""
    binary = open_binary(mapping, tgid)
    try:
        yield binary
    finally:
        if binary is not None:
            binary.close()


@contextlib.contextmanager
def open_module(mapping: Mapping, tgid: int) -> Iterator[ElfImage | None]:
    """The ELF image of a mapping's file, for the unwinder's tables (`unwind.tables.Opener`)."""
    with open_mapped(mapping, tgid) as binary:
        yield None if binary is None else binary.image


class Follower:
    """Owns the side-band, the tasks and the tables; a thread of its own keeps them up to date."""

    def __init__(
        self,
        sideband: Sideband,
        tasks: Tasks,
        tables: Tables | None,
        on_mapped: Callable[[Mapping, int], None],
        pythons: PythonProcesses | None = None,
        on_space: Callable[[AddressSpace], None] = lambda space: None,
    ) -> None:
        """`tables`: None where frame pointers must do.

        `on_mapped`: a target mapped a file that none did before. `on_space`: a target's mappings.
        """
        self._sideband = sideband
        self._tasks = tasks
        self._tables = tables
        self._on_mapped = on_mapped
        self._pythons = pythons
        self._on_space = on_space
        self._known: set[tuple[str, bytes | None, int]] = set()
        self._before_exec: set[int] = set()
        self._lock = threading.Lock()
        self._stop = os.eventfd(0, os.EFD_CLOEXEC)
        self._thread: threading.Thread | None = None
        self.failure: BaseException | None = None
        """What ended the thread early."""

    @property
    def lost(self) -> int:
        """Side-band records that the kernel could not deliver."""
        return self._sideband.lost

    def expect_exec(self, tgid: int) -> None:
        """A process that is about to exec: what it has mapped until then is of no interest."""
        self._before_exec.add(tgid)

    def start(self) -> None:
        """Follow in a thread from now on."""
        self.pump()
        self._thread = threading.Thread(target=self._run, name="follower", daemon=True)
        self._thread.start()

    def pump(self) -> None:
        """Take in all that the kernel has told so far."""
        with self._lock:
            self._pump()

    def columns(self, events: Events) -> TaskColumns:
        """The names and build ids of a batch, at its events' times."""
        with self._lock:
            self._pump()
            return self._tasks.columns(events)

    def spaces(self, stacks: Sequence[StackRecord]) -> list[AddressSpace | None]:
        """The address space of each stack at its moment."""
        with self._lock:
            self._pump()
            return [
                self._tasks.space_at(stack.tgid, stack.time) if stack.tgid else None
                for stack in stacks
            ]

    def ended_processes(self, clock: Clock) -> list[ProcessRow]:
        """Rows of processes that ended a while ago, each once."""
        with self._lock:
            return self._tasks.take_ended(clock)

    def all_processes(self, clock: Clock) -> list[ProcessRow]:
        """Rows of all processes of interest."""
        with self._lock:
            self._pump()
            return self._tasks.processes(clock)

    def targets(self) -> list[int]:
        """The processes that are recorded and run now."""
        with self._lock:
            self._pump()
            return [tgid for tgid in procfs.tgids() if self._tasks.is_target(tgid)]

    def mapped_targets(self) -> list[int]:
        """Those of them whose mappings are their own: not those that are about to exec."""
        return [tgid for tgid in self.targets() if tgid not in self._before_exec]

    def add_target(self, tgid: int) -> None:
        """Follow this process too."""
        with self._lock:
            self._pump()
            self._tasks.add_target(tgid)
            self._pump()

    def drop_target(self, tgid: int) -> None:
        """Follow it no longer."""
        with self._lock:
            self._tasks.drop_target(tgid)

    def add_comm(self, key: bytes) -> None:
        """Follow what bears this name (16 bytes, NUL padded) from now on."""
        with self._lock:
            self._tasks.add_comm(key)

    def inherit(self) -> None:
        """Follow the children of targets too, as those of a cgroup."""
        with self._lock:
            self._tasks.inherit()

    def close(self) -> None:
        """End the thread and give the side-band back."""
        os.eventfd_write(self._stop, 1)
        if self._thread is not None:
            self._thread.join()
        self._sideband.close()
        os.close(self._stop)

    def _run(self) -> None:
        try:
            self._follow()
        except BaseException as error:  # noqa: BLE001  # told to the session, which ends
            self.failure = error

    def _follow(self) -> None:
        poll = select.epoll()
        for fd in self._sideband.fds:
            poll.register(fd, select.EPOLLIN)
        poll.register(self._stop, select.EPOLLIN)
        with poll:
            pause = threading.Event()
            while all(fd != self._stop for fd, _ in poll.poll()):
                pause.wait(SETTLE_S)
                self.pump()

    def _pump(self) -> None:
        records = self._sideband.read()
        if records:
            self._tasks.apply(records)
        for change in self._tasks.take_new_spaces():
            if isinstance(change, Forked):
                if self._tables is not None:
                    self._tables.fork(change.parent, change.child)
                if self._pythons is not None:
                    self._pythons.fork(change.parent, change.child, change.time)
            elif isinstance(change, Execed):
                self._before_exec.discard(change.tgid)
                if self._tables is not None:
                    self._tables.exec(change.tgid)
                if self._pythons is not None:
                    self._pythons.exec(change.tgid)
            elif isinstance(change, Exited):
                if self._tables is not None:
                    self._tables.exit(change.tgid)
                if self._pythons is not None:
                    self._pythons.exit(change.tgid)
                self._before_exec.discard(change.tgid)
            elif change.space.tgid not in self._before_exec:
                # first what is in a hurry: until they are attached to, probes tell nothing
                self._on_space(change.space)
                if self._tables is not None:
                    self._tables.update(change.space, change.time)
                if self._pythons is not None:
                    self._pythons.mapped(change.space, change.time)
                self._announce(change.space)

    def _announce(self, space: AddressSpace) -> None:
        for mapping in space.mappings:
            key = (mapping.path, mapping.buildid, mapping.inode)
            if key not in self._known:
                self._known.add(key)
                if len(self._known) > 65536:
                    self._known.clear()
                self._on_mapped(mapping, space.tgid)
