"""Starts other programs for a person at a desktop: as the invoking user, never as root.

Comes in: a command as a list, and the user. Goes out: whether it ran.
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
_QUIET: dict[str, Any] = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.DEVNULL)


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
    as_user = _as_user(user)
    try:
        subprocess.run(command, check=False, stdin=subprocess.DEVNULL, **as_user)
    except KeyboardInterrupt:
        return True  # the person has seen enough
    except OSError:
        return False
    return True


def start(command: list[str], user: User) -> bool:
    """Start a viewer that goes on by itself and says nothing; False: it could not be started.

    Raises:
        ValueError: the user is root.
    """
    as_user = _as_user(user)
    try:
        subprocess.Popen(command, start_new_session=True, **_QUIET, **as_user)
    except OSError:
        return False
    return True


def convert(command: list[str], user: User, timeout_s: float) -> bool:
    """Run a program that makes a file and says nothing; False: it failed.

    Raises:
        ValueError: the user is root.
    """
    as_user = _as_user(user)
    try:
        done = subprocess.run(command, check=False, timeout=timeout_s, **_QUIET, **as_user)
    except (OSError, subprocess.TimeoutExpired):
        return False
    return done.returncode == 0


def _as_user(user: User) -> dict[str, Any]:
    """By which arguments a child is the user's."""
    if user.uid == 0:
        raise ValueError("a viewer never runs as root")
    if os.geteuid() == user.uid:
        return {}
    return {
        "env": _environment(user),
        "user": user.uid,
        "group": user.gid,
        "extra_groups": os.getgrouplist(user.name, user.gid),
    }


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
