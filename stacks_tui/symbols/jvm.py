"""Asks a running JVM to write its perf map: what `jcmd PID Compiler.perfmap` does (JDK 17 on).

Comes in: a process that maps libjvm.so. Goes out: whether it was asked, and answered. We speak to
the JVM's attach listener ourselves, through its own /tmp, so nothing of a container is run here.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import stat
import time
from collections import OrderedDict
from collections.abc import Iterator
from pathlib import Path

from stacks_tui.spaces import AddressSpace
from stacks_tui.symbols.perfmap import Trust, trust_in
from stacks_tui.symbols.runtimes import Runtime, runtime_of

TIMEOUT_S = 5.0
"""A JVM that is stopped does not answer."""
PATIENCE = 10.0
"""A JVM is asked again after this many times as long as it took, and no sooner than …"""
PAUSE_S = 1.0
_JVMS_LIMIT = 256
_REQUEST = b"1\0jcmd\0Compiler.perfmap\0\0\0"
"""The attach protocol's version 1: a command and three arguments, each ended by NUL."""


class JvmMaps:
    """Asks, but not too often. For one thread, which it blocks meanwhile."""

    def __init__(self, proc: Path = Path("/proc")) -> None:
        self._proc = proc
        self._next: OrderedDict[tuple[int, int], float] = OrderedDict()

    def ask(self, space: AddressSpace) -> bool:
        """Have the JVM of this address space write its map; False: not now, or it can't."""
        owner = space.tgid, space.generation
        began = time.monotonic()
        if runtime_of(space) is not Runtime.JVM or began < self._next.get(owner, 0.0):
            return False
        done = False
        with contextlib.suppress(OSError, ValueError):
            done = _ask(self._proc / str(space.tgid), began + TIMEOUT_S)
        ended = time.monotonic()
        self._next[owner] = ended + max(PATIENCE * (ended - began), PAUSE_S)
        self._next.move_to_end(owner)
        if len(self._next) > _JVMS_LIMIT:
            self._next.popitem(last=False)
        return done


def _ask(process: Path, until: float) -> bool:
    trust = trust_in(process)
    if trust is None:
        return False
    pid = trust.pids[0]  # as the JVM itself knows it
    folder = os.open(process / "root" / "tmp", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        name = f".java_pid{pid}"
        if not _is_listening(folder, name, trust):
            with _invitation(folder, pid, trust):
                if not _handles_quit(process):
                    return False
                os.kill(int(process.name), signal.SIGQUIT)
                while not _is_listening(folder, name, trust):
                    if time.monotonic() >= until:
                        return False
                    time.sleep(0.02)
        return _converse(f"/proc/self/fd/{folder}/{name}", until)
    finally:
        os.close(folder)


def _is_listening(folder: int, name: str, trust: Trust) -> bool:
    try:
        found = os.stat(name, dir_fd=folder, follow_symlinks=False)
    except OSError:
        return False
    return stat.S_ISSOCK(found.st_mode) and found.st_uid in trust.uids


@contextlib.contextmanager
def _invitation(folder: int, pid: int, trust: Trust) -> Iterator[None]:
    """The file by which a JVM tells a SIGQUIT that asks it to listen from one that does not."""
    name = f".attach_pid{pid}"
    flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC
    made = os.open(name, flags, 0o600, dir_fd=folder)
    try:
        os.fchown(made, max(trust.uids), -1)
        yield
    finally:
        os.close(made)
        with contextlib.suppress(OSError):
            os.unlink(name, dir_fd=folder)


def _handles_quit(process: Path) -> bool:
    """Whether SIGQUIT would not simply end it: a JVM that starts, or one with -Xrs."""
    for line in (process / "status").read_bytes().splitlines():
        if line.startswith(b"SigCgt:"):
            return bool(int(line.split()[1], 16) >> (signal.SIGQUIT - 1) & 1)
    return False


def _converse(path: str, until: float) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as listener:
        listener.settimeout(max(until - time.monotonic(), 0.1))
        listener.connect(path)
        listener.sendall(_REQUEST)
        answer = listener.recv(64)
        while listener.recv(4096):  # it closes when the map is written
            if time.monotonic() >= until:
                return False
    return answer.split(b"\n", 1)[0] == b"0"
