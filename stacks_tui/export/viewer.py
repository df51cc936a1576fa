"""Opens a finished file for a person at a desktop: as the invoking user, never as root.

Comes in: a command of a format's viewer, and the user. Goes out: whether it was opened.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from stacks_tui.export.registry import Format
from stacks_tui.owner import User

_DISPLAYS = ("DISPLAY", "WAYLAND_DISPLAY")
_PASSED = (*_DISPLAYS, "XAUTHORITY", "XDG_SESSION_TYPE", "XDG_CURRENT_DESKTOP", "LANG", "TERM")
_PATH = "/usr/local/bin:/usr/bin:/bin:/usr/local/go/bin:/snap/bin"


def at_desktop(user: User, environ: Mapping[str, str] | None = None) -> bool:
    """Whether a person looks at our terminal, with a desktop behind it, and is not root."""
    environ = os.environ if environ is None else environ
    seen = sys.stdout.isatty() and sys.stderr.isatty()
    return seen and user.uid != 0 and any(environ.get(name) for name in _DISPLAYS)


def command_for(one: Format[Any], path: Path) -> tuple[list[str], str] | None:
    """The command that shows the file, and what it is; None: nothing here does."""
    found = one.viewer() if one.viewer is not None else None
    return None if found is None else ([*found[0], str(path)], found[1])


def open_file(command: list[str], user: User) -> bool:
    """Run the viewer until it ends; False: it could not be started.

    Raises:
        ValueError: the user is root.
    """
    if user.uid == 0:
        raise ValueError("a viewer never runs as root")
    mine = os.geteuid() == user.uid
    environ = dict(os.environ) if mine else _environment(user)
    identity = {} if mine else {"user": user.uid, "group": user.gid, "extra_groups": _groups(user)}
    try:
        subprocess.run(command, check=False, env=environ, stdin=subprocess.DEVNULL, **identity)  # type: ignore[call-overload]
    except KeyboardInterrupt:
        return True  # the person has seen enough
    except OSError:
        return False
    return True


def _environment(user: User) -> dict[str, str]:
    """Not root's: only what a viewer needs to find the user's desktop."""
    passed = {name: os.environ[name] for name in _PASSED if name in os.environ}
    runtime = f"/run/user/{user.uid}"
    return {
        **passed,
        "PATH": _PATH,
        "HOME": str(user.home),
        "USER": user.name,
        "LOGNAME": user.name,
        "XDG_RUNTIME_DIR": runtime,
        "DBUS_SESSION_BUS_ADDRESS": f"unix:path={runtime}/bus",
    }


def _groups(user: User) -> list[int]:
    return os.getgrouplist(user.name, user.gid)
