"""Finds the file of a mapping: the very one that the process has mapped, or none.

Comes in: a `Mapping` and the process. Goes out: an open `Binary`. Candidates are the process's
own view of the mapping (deleted files and containers), its path below the process's root, and the
path below ours (for a process that is gone); each is verified before it is believed.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from stacks_tui.elf import ElfError, ElfImage
from stacks_tui.spaces import Mapping
from stacks_tui.symbols.files import open_regular

DELETED = " (deleted)"


@dataclass(frozen=True, slots=True)
class FileIdentity:
    """Tells one content of one file from every other, as far as the kernel vouches for it."""

    device: int
    inode: int
    size: int
    mtime_ns: int
    ctime_ns: int


@dataclass(frozen=True, slots=True)
class Binary:
    """The verified file of a mapping, open. Whoever got it closes it."""

    fd: int
    image: ElfImage
    identity: FileIdentity

    def close(self) -> None:
        """Close the file; the image can't be read any more."""
        os.close(self.fd)


def file_path(mapping: Mapping) -> str | None:
    """The path of the mapping's file without ` (deleted)`, None: it maps no file."""
    if not mapping.path.startswith("/") or mapping.path.startswith("//"):
        return None
    return mapping.path.removesuffix(DELETED)


def open_binary(
    mapping: Mapping, tgid: int, proc: Path = Path("/proc"), own_root: Path = Path("/")
) -> Binary | None:
    """Open the file of `mapping` in process `tgid`; None: it isn't available any more.

    A candidate is taken when its build id equals `mapping.buildid`, if the kernel gave one, else
    when device and inode are the mapping's. What map_files gives needs no proof where neither is
    known: it is the mapping's own file.
    """
    path = file_path(mapping)
    if path is None:
        return None
    span = f"{mapping.start:x}-{mapping.end:x}"
    tail = os.fsencode(path).lstrip(b"/")
    candidates = (
        (os.fsencode(proc / str(tgid) / "map_files" / span), True),
        (os.fsencode(proc / str(tgid) / "root") + b"/" + tail, False),
        (os.fsencode(own_root) + b"/" + tail, False),
    )
    for candidate, is_the_mapping in candidates:
        # A link in map_files leads to the mapped file itself, whatever its path became.
        fd = open_regular(candidate, follow=is_the_mapping)
        if fd is None:
            continue
        binary = _verified(fd, mapping, is_the_mapping)
        if binary is not None:
            return binary
        os.close(fd)
    return None


def _verified(fd: int, mapping: Mapping, is_the_mapping: bool) -> Binary | None:
    try:
        status = os.fstat(fd)
        image = ElfImage.from_fd(fd)
        if mapping.buildid:
            matches = image.build_id == mapping.buildid
        elif mapping.inode:
            same = (status.st_dev, status.st_ino) == (mapping.device, mapping.inode)
            # On btrfs and overlayfs a mapping names another device than stat does.
            matches = same or (is_the_mapping and status.st_ino == mapping.inode)
        else:
            matches = is_the_mapping
    except (ElfError, OSError):
        return None
    if not matches:
        return None
    return Binary(fd, image, file_identity(status))


def file_identity(status: os.stat_result) -> FileIdentity:
    """The identity of the file that has this status."""
    return FileIdentity(
        status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns
    )
