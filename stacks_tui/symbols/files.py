"""Opens files at paths that others may control, regular files only.

Comes in: a path as bytes. Goes out: a descriptor. Nothing but a regular file is ever opened, not
even for a moment: to open a device or a pipe can itself do something, or never return.
"""

from __future__ import annotations

import os
import stat


def open_regular(path: bytes, *, follow: bool = False) -> int | None:
    """Open `path` for reading; None: not there, not a regular file, or not allowed.

    `follow`: whether the last component may be a link.
    """
    flags = os.O_PATH | os.O_CLOEXEC | (0 if follow else os.O_NOFOLLOW)
    try:
        handle = os.open(path, flags)
    except (OSError, ValueError):
        return None
    try:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            return None
        return os.open(f"/proc/self/fd/{handle}", os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    finally:
        os.close(handle)
