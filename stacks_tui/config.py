"""The user's taste, read from `config.toml` in the invoking user's configuration folder.

Comes in: the file, if there is one; nothing is ever written. Goes out: a `Config`. What the file
says wrongly is told with file, key and the nearest name that exists.
"""

from __future__ import annotations

import difflib
import os
import tomllib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import platformdirs

from stacks_tui.errors import UsageError
from stacks_tui.owner import APPLICATION, User, read_text

FILE = "config.toml"
_LARGEST = 1 << 16

THEMES = ("dark", "light", "mono", "safe")
WINDOWS = ("10s", "1m", "10m", "all")


@dataclass(frozen=True, slots=True)
class Config:
    """Taste: nothing here changes what is recorded, except the programs that are on at first."""

    theme: str = "dark"
    """`dark`, `light`, `mono` or `safe` (for the colour-blind)."""
    refresh_hz: float = 2.0
    """Redraws a second, 0.2 to 4."""
    window: str = "10s"
    """The window at first: `10s`, `1m`, `10m` or `all`."""
    minimum_share: float = 0.0
    """Rows below this share of the total (0 to 1) are added up in the last row."""
    programs: str | None = None
    """What to record, as `-p` has it; the command line wins."""
    columns: tuple[str, ...] = ()
    """Columns of the table of stacks, by key; none: as many as there is room for."""
    keys: Mapping[str, str] = field(default_factory=dict)
    """Id of a key binding → keys with commas between, as `[keys]` has it."""


def config_path(user: User) -> Path:
    """Where this user's file is; under sudo the folder is the caller's, whatever variables say."""
    if user.uid == os.geteuid():
        return platformdirs.user_config_path(APPLICATION) / FILE
    return user.home / ".config" / APPLICATION / FILE


def load(user: User) -> Config:
    """Read the user's file; the defaults where there is none.

    Raises:
        UsageError: it can't be read, or says something wrong.
    """
    path = config_path(user)
    try:
        text = _read(path, user)
    except FileNotFoundError:
        return Config()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not UTF-8"
        raise UsageError(
            f"can't read {str(path)!r}: {reason.lower()}; correct or move it."
        ) from error
    return parse(text, str(path))


def _read(path: Path, user: User) -> str:
    """The file's text, never through a link, and only of a file that is the user's or root's."""
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        return read_text(folder, path.name, user, _LARGEST)
    finally:
        os.close(folder)


def parse(text: str, name: str = FILE) -> Config:
    """The text of a file as a `Config`; `name` is how messages call it.

    Raises:
        UsageError: it is not TOML, or a key or value is unknown.
    """
    try:
        found = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{name}: not TOML: {error}.") from error
    known = [*Config.__slots__]
    for key in found:
        if key not in known:
            raise UsageError(f"{name}: unknown key {key!r}; {_nearest(key, known)}")
    values: dict[str, Any] = {}
    for key, value in found.items():
        values[key] = _checked(name, key, value)
    return Config(**values)


def _checked(name: str, key: str, value: object) -> object:
    def wrong(expected: str) -> UsageError:
        return UsageError(f"{name}: {key} = {value!r} is wrong; {expected}.")

    match key:
        case "theme" | "window":
            choices = THEMES if key == "theme" else WINDOWS
            if not isinstance(value, str) or value not in choices:
                raise wrong(f"choose one of: {', '.join(choices)}")
        case "refresh_hz":
            if not isinstance(value, int | float) or not 0.2 <= value <= 4:
                raise wrong("it is a number from 0.2 to 4")
            return float(value)
        case "minimum_share":
            if not isinstance(value, int | float) or not 0 <= value < 1:
                raise wrong("it is a share from 0 to below 1")
            return float(value)
        case "programs":
            if not isinstance(value, str):
                raise wrong('it is a text as -p has it, such as "profile:uk:99"')
        case "columns":
            if not isinstance(value, list) or not all(isinstance(one, str) for one in value):
                raise wrong('it is a list of names, such as ["self", "share"]')
            return tuple(value)
        case "keys":
            if not isinstance(value, dict) or not all(
                isinstance(one, str) for one in value.values()
            ):
                raise wrong('it is a table such as [keys] with "view.flame" = "f"')
    return value


def check_keys(config: Config, ids: Collection[str], name: str = FILE) -> None:
    """Hold the file's `[keys]` against the ids that there are.

    Raises:
        UsageError: an id does not exist; the nearest is named.
    """
    for key in config.keys:
        if key not in ids:
            raise UsageError(f"{name}: unknown key {'keys.' + key!r}; {_nearest(key, ids)}")


def _nearest(key: str, known: Collection[str]) -> str:
    near = difflib.get_close_matches(key, known, 1, 0.5)
    return f"did you mean {near[0]!r}?" if near else f"known are: {', '.join(sorted(known))}."
