"""Where a launched program writes while a screen has the terminal: files in the recording.

Comes in: the invoking user and where the recording will be. Goes out: the program's standard
streams: nothing to read, `program.out` and `program.err` to write to. The files have no name until
the recording's folder is there, and none at all on a file system that can't have such files: then
the output goes to /dev/null.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Self

from stacks_tui.errors import StacksError
from stacks_tui.owner import User, data_folder, ensure_directory

NAMES = ("program.out", "program.err")


class ProgramOutput:
    """Two files for a program that is launched; a context manager."""

    def __init__(self, directory: Path | None, user: User) -> None:
        parent = data_folder(user) if directory is None else directory.absolute().parent
        self._files: list[int] = []
        with contextlib.suppress(OSError, StacksError):
            folder = ensure_directory(parent, user)
            try:
                for _ in NAMES:
                    fd = os.open(
                        ".", os.O_TMPFILE | os.O_WRONLY | os.O_CLOEXEC, 0o600, dir_fd=folder
                    )
                    self._files.append(fd)
                    os.fchown(fd, user.uid, user.gid)
            except OSError:
                self.close()
            finally:
                os.close(folder)

    @contextlib.contextmanager
    def as_standard_streams(self) -> Iterator[None]:
        """Meanwhile our own standard streams are the program's, for a fork to inherit."""
        kept = [os.dup(fd) for fd in range(3)]
        null = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        try:
            os.dup2(null, 0)
            for at, fd in enumerate(self._files or [null, null], 1):
                os.dup2(fd, at)
            yield
        finally:
            for at, fd in enumerate(kept):
                os.dup2(fd, at)
                os.close(fd)
            os.close(null)

    def put_into(self, directory: Path) -> str:
        """Give the files their names in the recording; returns where the output goes."""
        if not self._files:
            return os.devnull
        folder = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            for name, fd in zip(NAMES, self._files, strict=True):
                os.link(f"/proc/self/fd/{fd}", name, dst_dir_fd=folder, follow_symlinks=True)
        except OSError:
            return os.devnull
        finally:
            os.close(folder)
        return str(directory)

    def close(self) -> None:
        """Close our own descriptors; the program keeps its."""
        while self._files:
            os.close(self._files.pop())

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()
