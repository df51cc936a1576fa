"""What the file system says while a recording is written, as errors of one line; whole writes.

Comes in: an `OSError`. Goes out: `DiskFullError` where there is no room, else `StacksError`.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterator

from stacks_tui.errors import StacksError

_FULL = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk quota is used up",
    errno.EFBIG: "the file size limit is reached",
}


class DiskFullError(StacksError):
    """No room to write. What was whole stays, the rest is recovered from the journals."""


@contextlib.contextmanager
def writing(name: str) -> Iterator[None]:
    """Turn an `OSError` of the block into one line about the file `name`.

    Raises:
        DiskFullError: no room, no quota, or the file size limit.
        StacksError: any other failure.
    """
    try:
        yield
    except OSError as error:
        full = _FULL.get(error.errno or 0)
        if full is not None:
            raise DiskFullError(
                f"{full}: can't write {name!r}; what was written so far is kept, "
                "free some space and open the recording."
            ) from error
        reason = (error.strerror or str(error)).lower()
        raise StacksError(f"can't write {name!r}: {reason}.") from error


def write_all(fd: int, data: bytes | memoryview) -> None:
    """Write every byte: one write(2) may take only a part.

    Raises:
        OSError: as write(2).
    """
    view = memoryview(data).cast("B")
    while view:
        view = view[os.write(fd, view) :]


def remove(dir_fd: int, name: str) -> None:
    """Remove a file that may be gone already."""
    with contextlib.suppress(FileNotFoundError):
        os.unlink(name, dir_fd=dir_fd)


class Output:
    """A file that PyArrow writes to, by descriptor; `abandon` makes it swallow what follows.

    PyArrow ignores how much of a write was taken, and a Parquet writer that failed still writes a
    footer when it is collected: hence neither a raw nor a buffered file of Python's will do.
    """

    closed = False

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._abandoned = False

    def write(self, data: bytes | memoryview) -> int:
        """Write all of it."""
        if not self._abandoned:
            write_all(self._fd, data)
        return len(data)

    def abandon(self) -> None:
        """From now on nothing is written; the descriptor is closed."""
        if not self._abandoned:
            self._abandoned = True
            os.close(self._fd)

    def flush(self) -> None:
        """Nothing is held back."""

    def close(self) -> None:
        """Closed by `abandon` only: PyArrow may close more than once."""

    def readable(self) -> bool:
        """Never."""
        return False

    def writable(self) -> bool:
        """Always."""
        return True

    def seekable(self) -> bool:
        """Never."""
        return False
