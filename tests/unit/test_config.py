"""The user's configuration: what is wrong is told with key and nearest name; nothing is written."""

from __future__ import annotations

from pathlib import Path

import pytest

from stacks_tui import config
from stacks_tui.errors import UsageError
from stacks_tui.owner import User


def test_everything_that_can_be_set() -> None:
    found = config.parse(
        'theme = "safe"\nrefresh_hz = 1\nwindow = "1m"\nminimum_share = 0.01\n'
        'programs = "vfs:u"\ncolumns = ["share"]\n[keys]\n"view.flame" = "F"\n'
    )
    assert found == config.Config("safe", 1.0, "1m", 0.01, "vfs:u", ("share",), {"view.flame": "F"})


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('them = "dark"', "unknown key 'them'; did you mean 'theme'?"),
        ('theme = "pink"', "theme = 'pink' is wrong; choose one of: dark, light, mono, safe"),
        ("refresh_hz = 60", "refresh_hz = 60 is wrong"),
        ("minimum_share = 1", "minimum_share = 1 is wrong"),
        ("columns = [1]", "columns = [1] is wrong"),
        ("keys = 1", "keys = 1 is wrong"),
        ("theme = ", "not TOML"),
    ],
)
def test_what_is_wrong_is_told(text: str, says: str) -> None:
    with pytest.raises(UsageError, match=r"^config\.toml: ") as caught:
        config.parse(text)
    assert says in str(caught.value)


def test_unknown_ids_of_keys_are_told() -> None:
    with pytest.raises(UsageError, match=r"'keys\.view\.flam'; did you mean 'view\.flame'"):
        config.check_keys(config.parse('[keys]\n"view.flam" = "F"'), {"view.flame", "view.tree"})


def test_a_missing_file_is_no_error_and_links_are_not_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import os

    user = User(os.geteuid() + 1, os.getegid(), tmp_path, "somebody")
    folder = tmp_path / ".config" / "stacks-tui"
    assert config.config_path(user) == folder / "config.toml"
    assert config.load(user) == config.Config()
    folder.mkdir(parents=True)
    secret = tmp_path / "secret"
    secret.write_text("password")
    (folder / "config.toml").symlink_to(secret)
    with pytest.raises(UsageError, match="can't read") as caught:
        config.load(user)
    assert "password" not in str(caught.value)
