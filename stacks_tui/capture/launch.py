"""Launch a program stopped, so that not its first instruction is missed, and pass on how it ended.

Comes in: an argument list. Goes out: a `Launched`, whose process waits, with its number known,
until `release`; then it runs in our place on the terminal, as the user who called us.
"""

from __future__ import annotations

import errno
import os
import pwd
import select
import signal
import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import NoReturn, Self

from stacks_tui.errors import UsageError

_NEVER_RAN = 127


@dataclass(frozen=True, slots=True)
class _User:
    uid: int
    gid: int
    groups: tuple[int, ...]
    name: str
    home: str


class Launched:
    """A child process. Not yet released, it ends with this object or with the recorder.

    `^C` on the terminal reaches it as well: it is in the recorder's process group.
    """

    def __init__(self, argv: Sequence[str], tgid: int, release_fd: int, error_fd: int) -> None:
        self.argv = tuple(argv)
        self.tgid = tgid
        self._release_fd = release_fd
        self._error_fd = error_fd
        self._pidfd = os.pidfd_open(tgid)
        self._status: int | None = None

    def fileno(self) -> int:
        """A descriptor (pidfd) that becomes readable when the process has ended."""
        return self._pidfd

    @property
    def released(self) -> bool:
        """The program has been let go."""
        return self._release_fd < 0

    def release(self) -> None:
        """Let the program run; returns once it does.

        Raises:
            UsageError: the kernel can't execute it. The process has ended.
        """
        if self.released:
            return
        try:
            os.write(self._release_fd, b"\1")
        except BrokenPipeError:
            pass  # ended by a signal while it waited: `poll` tells
        finally:
            self._close_pipe()
        with os.fdopen(self._error_fd, "rb") as pipe:
            self._error_fd = -1
            failed = pipe.read()
        if failed:
            self.wait()
            raise UsageError(f"can't run {self.argv[0]!r}: {_reason(int(failed))}.")

    def poll(self) -> int | None:
        """The exit status, 128 + number if a signal ended it; None while it runs."""
        return self._reap(os.WNOHANG)

    def wait(self, timeout_s: float | None = None) -> int | None:
        """As `poll`, after waiting for the end for at most `timeout_s` (None: for ever)."""
        if timeout_s is None:
            return self._reap(0)
        if self._status is None:
            ready = select.poll()
            ready.register(self._pidfd, select.POLLIN)
            ready.poll(max(0, round(timeout_s * 1000)))
        return self.poll()

    def send(self, number: signal.Signals) -> None:
        """Send it a signal; nothing happens if it has ended."""
        if self._status is None:
            try:
                signal.pidfd_send_signal(self._pidfd, number)
            except ProcessLookupError:
                return

    def close(self) -> None:
        """End it if it was never released; a released one goes on."""
        if not self.released:
            self._close_pipe()
            self.wait()
        for fd in (self._error_fd, self._pidfd):
            if fd >= 0:
                os.close(fd)
        self._error_fd = self._pidfd = -1

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def _close_pipe(self) -> None:
        os.close(self._release_fd)
        self._release_fd = -1

    def _reap(self, options: int) -> int | None:
        if self._status is None:
            found = os.waitid(os.P_PIDFD, self._pidfd, os.WEXITED | options)
            if found is not None:
                exited = found.si_code == os.CLD_EXITED
                self._status = found.si_status if exited else 128 + found.si_status
        return self._status


def launch(argv: Sequence[str]) -> Launched:
    """Fork the process that becomes `argv` on `release`. Call it early, before threads start.

    It has our folder, terminal and (but for what sudo changed) environment, no other descriptors,
    and runs as the user who called sudo, or as us.

    Raises:
        UsageError: no such program, or it isn't executable.
    """
    if not argv:
        raise UsageError("no program to launch after --; for example: -- python3 job.py")
    if any("\0" in part for part in argv):
        raise UsageError("an argument of the program to launch holds a NUL byte; leave it out.")
    path = find_program(argv[0])
    user = _invoking_user(os.environ)
    environment = _environment(os.environ, user)
    if signal.getsignal(signal.SIGCHLD) == signal.SIG_IGN:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # or the kernel forgets the exit status
    wait_fd, release_fd = os.pipe()
    error_fd, failed_fd = os.pipe()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, signal.valid_signals())
    try:
        with warnings.catch_warnings():  # Python 3.12 warns of any thread, of OpenBLAS's too
            warnings.simplefilter("ignore", DeprecationWarning)
            tgid = os.fork()
        if tgid == 0:
            os.close(release_fd)
            _become(path, argv, environment, user, wait_fd, failed_fd)
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        os.close(wait_fd)
        os.close(failed_fd)
    return Launched(argv, tgid, release_fd, error_fd)


def find_program(name: str) -> str:
    """The file that a shell would run for `name`.

    Raises:
        UsageError: there is none, or it isn't executable.
    """
    if "/" in name:
        candidates = [name]
    else:
        candidates = [os.path.join(folder, name) for folder in os.get_exec_path()]  # noqa: PTH118
    present = [path for path in candidates if name and Path(path).exists()]
    for path in present:
        if Path(path).is_file() and os.access(path, os.X_OK):
            return path
    if not present:
        where = "no such file" if "/" in name else "it is not on the PATH"
        raise UsageError(f"can't run {name!r}: {where}.")
    raise UsageError(f"can't run {name!r}: {present[0]!r} is not an executable file.")


def _invoking_user(environ: Mapping[str, str]) -> _User | None:
    """The user who called sudo; None: run as we are."""
    uid = environ.get("SUDO_UID", "")
    if os.geteuid() != 0 or not (uid.isascii() and uid.isdigit()) or int(uid) == 0:
        return None
    try:
        entry = pwd.getpwuid(int(uid))
    except (KeyError, OverflowError):
        return None
    groups = tuple(os.getgrouplist(entry.pw_name, entry.pw_gid))
    return _User(entry.pw_uid, entry.pw_gid, groups, entry.pw_name, entry.pw_dir)


def _environment(environ: Mapping[str, str], user: _User | None) -> dict[str, str]:
    found = dict(environ)
    if user is not None:
        for name in ("SUDO_UID", "SUDO_GID", "SUDO_USER", "SUDO_COMMAND"):
            found.pop(name, None)
        found.update(HOME=user.home, USER=user.name, LOGNAME=user.name)
    return found


def _become(
    path: str,
    argv: Sequence[str],
    environment: dict[str, str],
    user: _User | None,
    wait_fd: int,
    failed_fd: int,
) -> NoReturn:
    """The child's side: wait, then be the program. Never returns into our own code."""
    try:
        for number in signal.valid_signals():
            # what Python handles or ignores for itself; what the caller ignored stays (nohup)
            if callable(signal.getsignal(number)) or number in (signal.SIGPIPE, signal.SIGXFSZ):
                signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        low, high = sorted((wait_fd, failed_fd))
        os.closerange(3, low)
        os.closerange(low + 1, high)
        os.closerange(high + 1, os.sysconf("SC_OPEN_MAX"))
        if not os.read(wait_fd, 1):
            os._exit(_NEVER_RAN)
        try:
            if user is not None:
                os.setgroups(user.groups)
                os.setresgid(user.gid, user.gid, user.gid)
                os.setresuid(user.uid, user.uid, user.uid)
            _execute(path, argv, environment)
        except OSError as error:
            os.write(failed_fd, b"%d" % (error.errno or 0))
    finally:  # whatever happens here, it must not reach the recorder's own code
        os._exit(_NEVER_RAN)


def _execute(path: str, argv: Sequence[str], environment: dict[str, str]) -> None:
    try:
        os.execve(path, list(argv), environment)  # noqa: S606
    except OSError as error:
        if error.errno != errno.ENOEXEC:
            raise
    # no `#!` line: as a shell, execvp and env do
    os.execve("/bin/sh", ["/bin/sh", path, *argv[1:]], environment)  # noqa: S606


def _reason(number: int) -> str:
    if number == errno.ENOENT:  # the file itself was found before
        return "its interpreter (the #! line, or the ELF loader) doesn't exist"
    return os.strerror(number).lower()
