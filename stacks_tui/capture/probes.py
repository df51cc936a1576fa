"""Attaches to the probes that mark spans, in whatever files targets have mapped, and detaches.

Comes in: a program of `-p`, and the address spaces of targets as they change. Goes out: attached
probes. A thread of its own opens, reads and attaches: a file takes some 10 ms, and to detach a
probe takes the kernel 0.1 s or more. What is left to detach at the end is given to a process that
ends with it, so nobody waits.

What was attached to in earlier recordings is attached to at once: who loads it later is heard from
the first span on. Else the spans of the first milliseconds after a load are missed.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import queue
import subprocess
import sys
import threading
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

from stacks_tui.capture import bpf, procfs
from stacks_tui.capture.usdt import Found, Probe, read_probes, site_value
from stacks_tui.elf import ElfError, ElfImage
from stacks_tui.errors import StacksError
from stacks_tui.kinds import ProgramSpec
from stacks_tui.spaces import AddressSpace, Mapping
from stacks_tui.text import printable

ORDER = ("close", "exit", "exit_stack", "awaits", "enter")
"""In which they are attached: what is entered can be left, so no thread keeps a span for ever."""

MOST_FILES = 512
"""Files, or files of processes, that are attached to."""
_MOST_KNOWN = 1 << 16
_OVERLAYFS = 0x794C7630
_LET_GO = "import os; os.read(0, 1)"
_libc = ctypes.CDLL(None, use_errno=True)


class OpenFile(Protocol):
    """A file that a process has mapped, verified, and what it is."""

    @property
    def fd(self) -> int:
        """Open for reading."""

    @property
    def image(self) -> ElfImage:
        """Of the same file."""


Opener = Callable[[Mapping, int], AbstractContextManager[OpenFile | None]]
"""Opens the file of a mapping of a process (tgid), safely; None: it isn't to be had."""


class Known(Protocol):
    """Files that had probes in earlier recordings."""

    def paths(self) -> list[bytes]:
        """The latest first."""

    def open(self, path: bytes) -> int | None:
        """Open one of them for reading; None: it is no file that can be opened."""

    def add(self, path: bytes) -> None:
        """This one has some."""

    def drop(self, path: bytes) -> None:
        """This one has none any more."""


class Host(Protocol):
    """The kernel side: programs by name, and where probes have their arguments."""

    def probe_program(self, probe: str) -> int:
        """The descriptor of the program for a probe (`usdt.PROBES`)."""

    def put_site(self, index: int, value: bytes) -> None:
        """Set what an attach cookie leads to: `struct site`."""

    def mark_spans(self, on: bool) -> None:
        """Whether events are to look for their span."""

    @property
    def sites(self) -> int:
        """Cookies are below this."""


@dataclass(slots=True)
class _Attached:
    """The attachments of one file."""

    descriptors: list[int] = field(default_factory=list)
    sites: list[int] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Start:
    spec: ProgramSpec
    tgids: tuple[int, ...]
    done: threading.Event


@dataclass(frozen=True, slots=True)
class _Stop:
    pass


@dataclass(frozen=True, slots=True)
class _End:
    pass


class Probes:
    """The attachments of one recording."""

    def __init__(
        self,
        host: Host,
        opener: Opener,
        note: Callable[[str], None],
        *,
        by_process: bool = False,
        known: Known | None = None,
    ) -> None:
        """`by_process`: attach in each target alone, so that others who map the file pay nothing.

        `note` is told what a person should know, a line each. `known`: what is attached to before
        anybody maps it, unless by process.
        """
        self._host = host
        self._opener = opener
        self._note = note
        self._by_process = by_process
        self._providers = None if by_process else known
        self._active = False
        self._attached: dict[tuple[object, ...], _Attached] = {}
        self._known: set[tuple[object, ...]] = set()
        """Files that have been looked at, as their processes name them."""
        self._told: set[tuple[object, ...]] = set()
        """Mappings that `mapped` has told of."""
        self._failure: StacksError | None = None
        self._free = list(range(host.sites))[::-1]
        self._spec = ProgramSpec("usdt")
        self._work: queue.SimpleQueue[_Start | _Stop | _End | threading.Event | tuple[Mapping, int]]
        self._work = queue.SimpleQueue()
        self._ending = False
        self._thread = threading.Thread(target=self._run, name="probes", daemon=True)
        self._thread.start()

    @property
    def files(self) -> int:
        """How many files, or files of processes, are attached to."""
        return len(self._attached)

    def start(self, spec: ProgramSpec, tgids: Iterable[int]) -> None:
        """Attach to what these processes have mapped, and from now on to what `mapped` tells.

        Returns when all that is mapped now is attached to.

        Raises:
            StacksError: `spec` names a file that has no such probes, or can't be opened.
        """
        self._failure = None
        self._told = set()
        done = threading.Event()
        self._active = True
        self._work.put(_Start(spec, tuple(tgids), done))
        done.wait()
        if self._failure is not None:
            self._active = False
            raise self._failure

    def stop(self) -> None:
        """Detach, in the background."""
        self._active = False
        self._host.mark_spans(False)
        self._work.put(_Stop())

    def settle(self) -> None:
        """Wait until all that `stop` was told is detached."""
        done = threading.Event()
        self._work.put(done)
        done.wait()

    def mapped(self, space: AddressSpace) -> None:
        """A target's address space as it is now; quick."""
        if not self._active or self._spec.path:
            return
        for mapping in space.mappings:
            told = (space.tgid, mapping.path, mapping.buildid, mapping.inode)
            if told not in self._told:
                self._told.add(told)
                if len(self._told) > _MOST_KNOWN:
                    self._told = set()
                self._work.put((mapping, space.tgid))

    def close(self) -> None:
        """Detach without waiting, end the thread."""
        self._active = False
        self._ending = True
        self._work.put(_End())
        self._thread.join()
        left = [fd for one in self._attached.values() for fd in one.descriptors]
        self._attached.clear()
        _let_go(left)

    def _run(self) -> None:
        while True:
            job = self._work.get()
            if isinstance(job, _End) or self._ending:
                return
            if isinstance(job, threading.Event):
                job.set()
            elif isinstance(job, _Stop):
                self._detach_all()
            elif isinstance(job, _Start):
                try:
                    self._begin(job)
                except StacksError as error:
                    self._failure = error
                except OSError as error:
                    self._failure = StacksError(f"can't attach to probes: {error}.")
                job.done.set()
            elif self._active:
                self._look_at(*job)

    def _begin(self, job: _Start) -> None:
        self._detach_all()
        self._spec = job.spec
        if job.spec.path:
            self._attach_path(job.spec.path, job.tgids)
            return
        for tgid in job.tgids:
            for mapping in procfs.mappings(tgid):
                self._look_at(mapping, tgid)
        if self._providers is not None:
            for path in self._providers.paths():
                self._attach_known(path, self._providers)

    def _attach_known(self, path: bytes, providers: Known) -> None:
        """Attach to a file that nobody need have mapped; nothing where it isn't what it was."""
        fd = providers.open(path)
        if fd is None:
            return
        try:
            image = ElfImage.from_fd(fd)
            found = read_probes(image)
            key = (_identity(fd, image), None)
            if not found.probes:
                providers.drop(path)
            elif key not in self._attached:
                self._attach(found, fd, key, printable(os.fsdecode(path)), None)
        except ElfError:
            providers.drop(path)
        finally:
            os.close(fd)

    def _attach_path(self, path: str, tgids: tuple[int, ...]) -> None:
        shown = printable(path)
        try:
            fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NONBLOCK)
        except (OSError, ValueError) as error:
            reason = (getattr(error, "strerror", None) or str(error)).lower()
            raise StacksError(f"can't open {shown!r} for its probes: {reason}.") from error
        try:
            found = read_probes(ElfImage.from_fd(fd))
            if not found.probes:
                raise StacksError(f"{shown!r} has no probes of stacks_tracing.")
            self._note_refused(found, shown)
            for tgid in tgids if self._by_process else (None,):
                self._attach(found, fd, (path, tgid), shown, tgid)
        except ElfError as error:
            raise StacksError(f"{shown!r} can't be read: {error}") from error
        finally:
            os.close(fd)

    def _look_at(self, mapping: Mapping, tgid: int) -> None:
        """Attach to a mapped file where it has probes and isn't attached to already."""
        if not mapping.path.startswith("/") or mapping.path.startswith("//"):
            return
        pid = tgid if self._by_process else None
        known = (_view(tgid), mapping.path, mapping.buildid, mapping.device, mapping.inode, pid)
        if known in self._known:
            return
        if len(self._known) >= _MOST_KNOWN:
            self._known.clear()
        self._known.add(known)
        with contextlib.suppress(ElfError, OSError), self._opener(mapping, tgid) as file:
            if file is None:
                return
            found = read_probes(file.image)
            if not (found.probes or found.refused):
                return
            shown = printable(mapping.path)
            key = (_identity(file.fd, file.image), pid)
            if key not in self._attached:
                self._note_refused(found, shown)
                self._attach(found, file.fd, key, shown, pid)
            if self._providers is not None and found.probes:
                path = os.fsencode(mapping.path)
                if _leads_to(path, file.fd):
                    self._providers.add(path)

    def _note_refused(self, found: Found, shown: str) -> None:
        if found.refused:
            self._note(f"{found.refused} probes of {shown!r} can't be used: not as they should be")

    def _attach(
        self, found: Found, fd: int, key: tuple[object, ...], shown: str, pid: int | None
    ) -> None:
        probes = sorted(
            (one for one in found.probes if one.name != "awaits" or self._spec.user),
            key=lambda one: ORDER.index(one.name),
        )
        if len(self._attached) >= MOST_FILES or len(self._free) < len(probes):
            self._note(f"spans of {shown!r} are not recorded: too many files have probes")
            return
        if not probes:
            return
        attached = self._attached[key] = _Attached()
        self._host.mark_spans(True)
        try:
            for probe in probes:
                self._attach_probe(probe, fd, attached, pid)
        except OSError as error:
            reason = (error.strerror or str(error)).lower()
            self._note(f"spans of {shown!r} are not recorded: {reason}")
            self._detach(key)

    def _attach_probe(self, probe: Probe, fd: int, attached: _Attached, pid: int | None) -> None:
        site = self._free.pop()
        attached.sites.append(site)
        self._host.put_site(site, site_value(probe.arguments))
        program = self._host.probe_program(probe.name)
        attached.descriptors += bpf.attach_uprobe(
            program, fd, probe.offset, probe.semaphore, site, pid
        )

    def _detach_all(self) -> None:
        self._known.clear()
        for key in list(self._attached):
            if self._ending:
                return
            self._detach(key)

    def _detach(self, key: tuple[object, ...]) -> None:
        one = self._attached[key]
        while one.descriptors and not self._ending:
            os.close(one.descriptors.pop())
        if not self._ending:
            del self._attached[key]
            self._free += one.sites


def _view(tgid: int) -> tuple[int, str]:
    """What tells the files that a process sees from those of others: mount namespace and root."""
    try:
        namespace = Path(f"/proc/{tgid}/ns/mnt").stat().st_ino
        return namespace, os.readlink(f"/proc/{tgid}/root")  # noqa: PTH115
    except OSError:
        return tgid, ""


def _leads_to(path: bytes, fd: int) -> bool:
    """Whether a path, as we see it, is that of the open file: not that of a container's."""
    with contextlib.suppress(OSError, ValueError):
        return os.path.samestat(os.lstat(path), os.fstat(fd))
    return False


def _identity(fd: int, image: ElfImage) -> tuple[object, ...]:
    """The same for two descriptors of one inode.

    Each mount of overlayfs names another device for what is one file below: there it is told by its
    number, its content's time and build id.
    """
    status = os.fstat(fd)
    buffer = ctypes.create_string_buffer(256)  # struct statfs, which begins with the type
    overlay = not _libc.fstatfs(fd, buffer) and (
        int.from_bytes(buffer.raw[:8], "little") == _OVERLAYFS
    )
    if overlay:
        return "overlay", status.st_ino, status.st_size, status.st_mtime_ns, image.build_id
    return status.st_dev, status.st_ino


def _let_go(descriptors: list[int]) -> None:
    """Close descriptors that take the kernel long to close: a process ends with them instead."""
    if not descriptors:
        return
    keeper = None
    with contextlib.suppress(OSError):
        keeper = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _LET_GO],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            pass_fds=descriptors,
            start_new_session=True,
        )
    for fd in descriptors:
        os.close(fd)
    if keeper is not None and keeper.stdin is not None:
        keeper.stdin.close()  # it ends now, and they with it
        keeper.returncode = 0  # nobody waits for it: its parent is about to end, too
