"""The invoking user, and folders and files made for that user while we are root.

Comes in: a path and a `User`. Goes out: file descriptors. Every path is walked one component at a
time by descriptor, so nobody else can swap a part of it under us: as root, a folder or link on the
way must belong to root or the invoking user, and a link of that user only leads to folders of that
user. New folders have mode 0700, new files 0600, both owned by the user.
"""

from __future__ import annotations

import contextlib
import errno
import os
import pwd
import re
import stat
from collections import deque
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import platformdirs

from stacks_tui.errors import MachineError, StacksError, UsageError

APPLICATION = "stacks-tui"
_MOST_LINKS = 40
"""As the kernel's own limit on symbolic links in one path."""
_HIGHEST_ID = 2**32 - 2


@dataclass(frozen=True, slots=True)
class User:
    """Whom files belong to."""

    uid: int
    gid: int
    home: Path
    name: str


def invoking_user(environ: Mapping[str, str] | None = None) -> User:
    """Who ran the command: under sudo the user who called it, else ourselves.

    `SUDO_UID` counts only when we are root: another user could set it to anything.

    Raises:
        MachineError: `SUDO_UID` is not the number of a known user.
    """
    environ = os.environ if environ is None else environ
    uid = os.geteuid()
    text = environ.get("SUDO_UID", "")
    if uid == 0 and text:
        return _sudo_user(text, environ.get("SUDO_GID", ""))
    with contextlib.suppress(KeyError):
        entry = pwd.getpwuid(uid)
        home = environ.get("HOME", "")
        return User(
            uid,
            os.getegid(),
            Path(home if home.startswith("/") else entry.pw_dir),
            entry.pw_name,
        )
    home = environ.get("HOME", "")
    return User(uid, os.getegid(), Path(home if home.startswith("/") else "/"), str(uid))


def _sudo_user(uid_text: str, gid_text: str) -> User:
    uid = _parse_id(uid_text)
    if uid is None:
        raise MachineError(f"SUDO_UID={uid_text!r} is not a user id; unset it or use sudo.")
    try:
        entry = pwd.getpwuid(uid)
    except KeyError:
        raise MachineError(f"SUDO_UID={uid} is no user of this machine; unset it.") from None
    gid = _parse_id(gid_text)
    if gid is None or gid not in os.getgrouplist(entry.pw_name, entry.pw_gid):
        gid = entry.pw_gid
    return User(uid, gid, Path(entry.pw_dir), entry.pw_name)


def _parse_id(text: str) -> int | None:
    if not re.fullmatch(r"[0-9]{1,10}", text, re.ASCII) or int(text) > _HIGHEST_ID:
        return None
    return int(text)


def data_folder(user: User) -> Path:
    """Where this user's recordings are kept.

    Our own `XDG_DATA_HOME` counts only when we act for ourselves: under sudo the variables are
    root's, or came from the caller, and neither says where the user's files belong.
    """
    if user.uid == os.geteuid():
        return platformdirs.user_data_path(APPLICATION)
    return user.home / ".local" / "share" / APPLICATION


def recording_path(user: User, name: str, now: datetime | None = None) -> Path:
    """A path for a new recording: `<data folder>/<YYYYMMDD-HHMMSS-name>`, local time.

    `name` is any text (a comm, a program); what is not plain in it becomes `_`.
    """
    plain = re.sub(r"[^A-Za-z0-9._+-]+", "_", name).strip("._")[:40] or "recording"
    moment = datetime.now().astimezone() if now is None else now
    return data_folder(user) / f"{moment:%Y%m%d-%H%M%S}-{plain}"


def ensure_directory(path: Path, user: User) -> int:
    """Open a folder for this user, making it and its parents where they lack.

    Returns:
        A descriptor of the folder; the caller closes it.

    Raises:
        UsageError: a part of the path is no folder, or belongs to somebody else.
        MachineError: not permitted, or a read-only file system.
    """
    with _told(path):
        return _walk(path, user)


def open_directory(path: Path, user: User) -> int:
    """Open a folder that is there, for reading.

    Returns:
        A descriptor of the folder; the caller closes it.

    Raises:
        OSError: as open(2); EPERM where we are root and it, or a part of the way to it, is neither
            root's nor the user's, or a link of the user leads to what is not the user's.
    """
    try:
        return _walk(path, user, make=False)
    except UsageError as error:
        raise PermissionError(errno.EPERM, "it leads through another user's folder") from error


def create_directory(path: Path, user: User) -> int:
    """Make a new folder for this user, with its parents; an empty one of theirs will do.

    Returns:
        A descriptor of the folder; the caller closes it.

    Raises:
        UsageError: it exists and is not an empty folder of the user, or a part of the path is no
            folder or belongs to somebody else.
        MachineError: not permitted, or a read-only file system.
    """
    path = Path(os.path.abspath(path))  # noqa: PTH100 - must not resolve links
    with _told(path):
        parent = _walk(path.parent, user)
        try:
            try:
                return _make(path.name, parent, user)
            except FileExistsError:
                return _adopt(path, parent, user)
        finally:
            os.close(parent)


def create_file(dir_fd: int, name: str, user: User) -> int:
    """Create a file in an open folder, for writing; it must not exist, not even as a link.

    Returns:
        A descriptor; the caller closes it.

    Raises:
        OSError: as open(2) and fchown(2).
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    fd = os.open(name, flags, 0o600, dir_fd=dir_fd)
    try:
        _give(fd, user)
    except OSError:
        os.close(fd)
        raise
    return fd


def open_file(dir_fd: int, name: str) -> int:
    """Open a regular file in an open folder for reading, never through a link.

    Returns:
        A descriptor; the caller closes it.

    Raises:
        OSError: as open(2); ELOOP for a link, EINVAL for what is no regular file.
    """
    # O_NONBLOCK: a FIFO put there would otherwise keep us waiting for its writer.
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
    fd = os.open(name, flags, dir_fd=dir_fd)
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise OSError(errno.EINVAL, "not a regular file", name)
    return fd


def read_text(dir_fd: int, name: str, user: User, most_bytes: int) -> str:
    """The text of a small file in an open folder: the user's or root's, never through a link.

    Raises:
        OSError: as `open_file`; EPERM for another user's, EFBIG for a larger one.
        UnicodeDecodeError: it is not UTF-8.
    """
    fd = open_file(dir_fd, name)
    with os.fdopen(fd, "rb") as file:
        status = os.fstat(fd)
        if status.st_uid not in (user.uid, 0):
            raise PermissionError(errno.EPERM, "it is another user's", name)
        content = file.read(most_bytes + 1)
    if len(content) > most_bytes:
        raise OSError(errno.EFBIG, f"it is larger than {most_bytes >> 10} KiB", name)
    return content.decode("utf-8")


@contextlib.contextmanager
def _told(path: Path) -> Iterator[None]:
    """Turn what the system says about a path into one line."""
    shown = repr(str(path))
    try:
        yield
    except (PermissionError, BlockingIOError) as error:
        raise MachineError(
            f"can't write in {shown}: {_reason(error)}; choose another folder with --dir."
        ) from error
    except (NotADirectoryError, FileExistsError) as error:
        raise UsageError(
            f"{shown} is not a folder, or a part of it is not; choose another with --dir."
        ) from error
    except OSError as error:
        kind = MachineError if error.errno == errno.EROFS else StacksError
        raise kind(
            f"can't make {shown}: {_reason(error)}; choose another folder with --dir."
        ) from error
    except ValueError as error:
        raise UsageError(f"{shown} is not a path: {error}.") from error


def _reason(error: OSError) -> str:
    return (error.strerror or type(error).__name__).lower()


def _walk(path: Path, user: User, *, make: bool = True) -> int:
    """A descriptor of the folder `path`; `make`: what lacks is made."""
    full = Path(os.path.abspath(path))  # noqa: PTH100 - links are followed below
    parts = deque(full.parts[1:])
    links = 0
    by_link = False
    at = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        while parts:
            part = parts.popleft()
            try:
                child = os.open(part, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=at)
            except FileNotFoundError:
                if not make:
                    raise
                if by_link:
                    _check_by_link(at, user, full)
                child = _make(part, at, user)
            status = os.fstat(child)
            if _foreign(status, user):
                os.close(child)
                raise UsageError(
                    f"{part!r} in {str(full)!r} belongs to another user (uid {status.st_uid}); "
                    "choose another folder with --dir."
                )
            if stat.S_ISLNK(status.st_mode):
                target = _read_link(child)
                links += 1
                if links > _MOST_LINKS:
                    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(full))
                by_link = by_link or status.st_uid != 0
                pieces = Path(target).parts
                if target.startswith("/"):
                    os.close(at)
                    at = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
                    pieces = pieces[1:]
                parts.extendleft(reversed(pieces))
                continue
            if not stat.S_ISDIR(status.st_mode):
                os.close(child)
                raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), part)
            os.close(at)
            at = child
        if by_link:
            _check_by_link(at, user, full)
        return os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=at)
    finally:
        os.close(at)


def _read_link(fd: int) -> str:
    try:
        return os.readlink("", dir_fd=fd)
    finally:
        os.close(fd)


def _foreign(status: os.stat_result, user: User) -> bool:
    """Whether, as root, we must not walk through this: somebody else could swap it."""
    return os.geteuid() == 0 and status.st_uid not in (0, user.uid)


def _check_by_link(fd: int, user: User, path: Path) -> None:
    """Root follows a link that the user made only to where that user could go alone."""
    if os.geteuid() == 0 and user.uid != 0 and os.fstat(fd).st_uid != user.uid:
        raise UsageError(
            f"{str(path)!r} leads by a link to a folder of another user; "
            "choose another folder with --dir."
        )


def _make(name: str, parent: int, user: User) -> int:
    os.mkdir(name, 0o700, dir_fd=parent)
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    fd = os.open(name, flags, dir_fd=parent)
    try:
        if os.fstat(fd).st_uid != os.geteuid() or not _is_empty(fd):
            raise OSError(errno.ESTALE, "it was replaced while it was made", name)
        os.fchmod(fd, 0o700)
        _give(fd, user)
    except OSError:
        os.close(fd)
        raise
    return fd


def _adopt(path: Path, parent: int, user: User) -> int:
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        fd = os.open(path.name, flags, dir_fd=parent)
    except (NotADirectoryError, OSError) as error:
        if error.errno in (errno.ENOTDIR, errno.ELOOP):
            raise UsageError(
                f"{str(path)!r} exists and is not a folder (links are not followed); "
                "choose another with --dir."
            ) from error
        raise
    try:
        if os.fstat(fd).st_uid not in (user.uid, os.geteuid()):
            raise UsageError(
                f"{str(path)!r} belongs to another user; choose another folder with --dir."
            )
        if not _is_empty(fd):
            raise UsageError(
                f"{str(path)!r} is not empty; name a folder that does not exist yet with --dir."
            )
        if not os.access(".", os.W_OK | os.X_OK, dir_fd=fd, effective_ids=True):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))
        _give(fd, user)
    except (OSError, UsageError):
        os.close(fd)
        raise
    return fd


def _is_empty(fd: int) -> bool:
    return not os.listdir(fd)


def _give(fd: int, user: User) -> None:
    if os.geteuid() == 0 and (user.uid, user.gid) != (0, os.getegid()):
        os.fchown(fd, user.uid, user.gid)
