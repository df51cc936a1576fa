"""Separate debug files: found by build id or .gnu_debuglink, and used only when they match.

Comes in: an image and its path. Goes out: the descriptor of its debug file, open for reading.
"""

from __future__ import annotations

import os
import struct
import zlib
from pathlib import Path

from stacks_tui.elf import ElfError, ElfImage
from stacks_tui.symbols.files import open_regular

DEBUG_ROOT = Path("/usr/lib/debug")
_CRC_LIMIT = 512 << 20
"""Bytes of a file whose checksum is still taken; larger files must match by build id."""


def open_debug_file(image: ElfImage, path: str, root: Path = DEBUG_ROOT) -> int | None:
    """The open debug file of `image` (whose own path is `path`), None: none that matches.

    A file counts when its build id equals the image's; where the image has none, when the
    checksum of .gnu_debuglink is right. The descriptor is the caller's to close.
    """
    for candidate in _candidates(image, path, root):
        # Distributions keep links under /usr/lib/debug, which only root can write.
        fd = open_regular(candidate, follow=candidate.startswith(f"{root}/".encode()))
        if fd is None:
            continue
        if _matches(image, fd):
            return fd
        os.close(fd)
    return None


def _candidates(image: ElfImage, path: str, root: Path) -> list[bytes]:
    found: list[bytes] = []
    if image.build_id is not None and len(image.build_id) > 1:
        text = image.build_id.hex()
        found.append(os.fsencode(root / ".build-id" / text[:2] / f"{text[2:]}.debug"))
    link = _debuglink(image)
    if link is not None and path.startswith("/"):
        name, folder = link[0], os.path.dirname(os.fsencode(path))  # noqa: PTH120 - bytes
        base = os.fsencode(root) + folder
        found += [folder + b"/" + name, folder + b"/.debug/" + name, base + b"/" + name]
    return found


def _debuglink(image: ElfImage) -> tuple[bytes, int] | None:
    section = image.section(".gnu_debuglink")
    if section is None:
        return None
    try:
        data = image.content(section, 8192)
    except ElfError:
        return None
    name, found, _ = data.partition(b"\0")
    at = len(name) + 4 & ~3
    if not (name and found) or b"/" in name or name in (b".", b"..") or len(data) < at + 4:
        return None
    return name, int(struct.unpack_from("<I", data, at)[0])


def _matches(image: ElfImage, fd: int) -> bool:
    try:
        debug = ElfImage.from_fd(fd)
        if (debug.machine, debug.elfclass) != (image.machine, image.elfclass):
            return False
        if image.build_id is not None:
            return debug.build_id == image.build_id
        link = _debuglink(image)
        return link is not None and debug.size <= _CRC_LIMIT and _crc32(debug) == link[1]
    except ElfError:
        return False


def _crc32(image: ElfImage) -> int:
    total, step = 0, 1 << 20
    for at in range(0, image.size, step):
        total = zlib.crc32(image.read(at, min(step, image.size - at)), total)
    return total
