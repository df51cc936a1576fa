"""The file an export goes to: it bears its name only once it is whole, and belongs to the user.

Comes in: a path, or `-` for stdout. Goes out: a file to write to, front to back.
"""

from __future__ import annotations

import contextlib
import gzip
import os
import stat
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, cast

from stacks_tui.errors import MachineError, StacksError, UsageError
from stacks_tui.owner import User, create_file, ensure_directory, open_file
from stacks_tui.store.disk import remove

STDOUT = Path("-")
_FULL = {28: "the disk is full", 122: "the disk quota is used up", 27: "the file is too large"}
"""ENOSPC, EDQUOT, EFBIG."""
_BUFFER = 1 << 20


@contextlib.contextmanager
def output(path: Path, user: User) -> Iterator[BinaryIO]:
    """A file that gets its name when the block ends well, and leaves nothing behind otherwise.

    Raises:
        UsageError: the path is a folder, a device or a link, or goes through somebody else's.
        MachineError: it may not be written.
        StacksError: no room, or another failure of the disk.
    """
    if path == STDOUT:
        with _told(path):
            yield sys.stdout.buffer
            sys.stdout.buffer.flush()
        return
    if path.name in ("", ".", "..") or "\0" in str(path):
        raise UsageError(f"{str(path)!r} is no name of a file; give one with -o.")
    folder = _folder(path, user)
    hidden = f".{path.name[:200]}.{os.getpid()}.part"
    try:
        _refuse_odd(folder, path)
        with _told(path):
            remove(folder, hidden)
            file = os.fdopen(create_file(folder, hidden, user), "wb", _BUFFER)
            try:
                with file:
                    yield file
                os.replace(hidden, path.name, src_dir_fd=folder, dst_dir_fd=folder)
            except BaseException:
                with contextlib.suppress(OSError):
                    remove(folder, hidden)
                raise
    finally:
        os.close(folder)


@contextlib.contextmanager
def packed(file: BinaryIO, path: Path, extension: str) -> Iterator[BinaryIO]:
    """The file, or one that gzips into it, where the name ends with `.gz` beyond its extension."""
    if path.suffix != ".gz" or extension.endswith(".gz"):
        yield file
        return
    with gzip.GzipFile("", "wb", compresslevel=1, fileobj=file, mtime=0) as inside:
        yield cast(BinaryIO, inside)


@contextlib.contextmanager
def written(path: Path, user: User) -> Iterator[BinaryIO]:
    """A file that was made here, to be read again.

    Raises:
        StacksError: it is gone, or something else stands in its place.
    """
    folder = _folder(path, user)
    try:
        fd = open_file(folder, path.name)
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise StacksError(f"can't read {str(path)!r}: {reason}.") from error
    finally:
        os.close(folder)
    with os.fdopen(fd, "rb") as file:
        yield file


def _folder(path: Path, user: User) -> int:
    try:
        return ensure_directory(path.parent, user)
    except StacksError as error:
        # what is said there is meant for recordings
        raise type(error)(str(error).replace("with --dir", "with -o")) from error


def _refuse_odd(folder: int, path: Path) -> None:
    """A rename would put a file in the place of a device or a link."""
    try:
        mode = os.stat(path.name, dir_fd=folder, follow_symlinks=False).st_mode
    except FileNotFoundError:
        return
    if not stat.S_ISREG(mode):
        what = "a folder" if stat.S_ISDIR(mode) else "no regular file"
        raise UsageError(f"{str(path)!r} is {what}; give another with -o, or - for stdout.")


@contextlib.contextmanager
def _told(path: Path) -> Iterator[None]:
    try:
        yield
    except BrokenPipeError:
        raise  # the reader of a pipe went away: nothing to tell
    except OSError as error:
        shown = "stdout" if path == STDOUT else repr(str(path))
        reason = _FULL.get(error.errno or 0) or (error.strerror or str(error)).lower()
        kind = MachineError if isinstance(error, PermissionError) else StacksError
        raise kind(f"can't write {shown}: {reason}; nothing was left there.") from error
