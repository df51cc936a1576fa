"""The user's own queries: what is offered, what is left out, and whose files are read."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from stacks_tui.owner import User
from stacks_tui.store.queries import Query
from stacks_tui.tui.saved import SavedQueries, folder_of, saved_queries

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: files for another user")
NOBODY = 65534


@pytest.fixture
def user(tmp_path: Path) -> User:
    """Somebody else than we are, as under sudo; our own files count where we are root."""
    return User(NOBODY if os.geteuid() == 0 else os.geteuid(), os.getegid(), tmp_path, "somebody")


@pytest.fixture
def folder(user: User, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / ".config"))
    found = tmp_path / ".config" / "stacks-tui" / "queries"
    assert folder_of(user) == found
    found.mkdir(parents=True)
    return found


def test_no_folder_is_no_error(user: User, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / ".config"))
    assert saved_queries(user) == SavedQueries()
    assert not list(tmp_path.iterdir())  # nothing is made


def test_queries_have_their_name_and_question(user: User, folder: Path) -> None:
    (folder / "b.sql").write_text("\n-- What is slow?\nselect 1\n")
    (folder / "a [red].sql").write_text("select 'メイン' -- so\n\t, 2")
    (folder / "notes.txt").write_text("no query")
    (folder / ".b.sql").write_text("of an editor")
    assert saved_queries(user).queries == (
        Query("queries/a [red]", "", "select 'メイン' -- so\n\t, 2"),
        Query("queries/b", "What is slow?", "\n-- What is slow?\nselect 1\n"),
    )
    assert saved_queries(user).left_out == ()


def test_what_is_no_query_is_left_out_and_told(user: User, folder: Path, tmp_path: Path) -> None:
    secret = tmp_path / "secret"
    secret.write_text("password")
    (folder / "link.sql").symlink_to(secret)
    (folder / "large.sql").write_text("-" * 70_000)
    (folder / "bytes.sql").write_bytes(b"\xff\xfe")
    (folder / "esc.sql").write_text("select '\x1b]0;x\x07'")
    (folder / "turned.sql").write_text("select '\u202e'")
    os.mkfifo(folder / "fifo.sql")
    (folder / "folder.sql").mkdir()
    (folder / "good.sql").write_text("select 1")
    found = saved_queries(user)
    assert [one.name for one in found.queries] == ["queries/good"]
    said = " ".join(found.left_out)
    assert len(found.left_out) == 7
    for says in ("64 KiB".lower(), "not utf-8", "can't be seen", "not a regular file"):
        assert says in said.lower()
    assert "password" not in said


def test_no_more_than_can_be_listed(user: User, folder: Path) -> None:
    for at in range(203):
        (folder / f"{at:03}.sql").write_text("select 1")
    found = saved_queries(user)
    assert len(found.queries) == 200
    assert found.left_out == ("only the first 200 of 203 queries are listed",)


@needs_root
def test_only_files_of_the_user_and_of_root_are_read(user: User, folder: Path) -> None:
    for name, uid in (("mine", user.uid), ("roots", 0), ("theirs", 1)):
        (folder / f"{name}.sql").write_text("select 1")
        os.chown(folder / f"{name}.sql", uid, -1)
    found = saved_queries(user)
    assert [one.name for one in found.queries] == ["queries/mine", "queries/roots"]
    assert found.left_out == ("'theirs.sql' is left out: it is another user's",)


@needs_root
def test_root_is_not_led_elsewhere(user: User, folder: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "root"
    elsewhere.mkdir()
    (elsewhere / "a.sql").write_text("select 'secret'")
    folder.rmdir()
    folder.symlink_to(elsewhere)
    os.chown(folder, user.uid, -1, follow_symlinks=False)  # the user's link to a folder of root
    found = saved_queries(user)
    assert not found.queries
    assert "another user's folder" in found.left_out[0]
    folder.unlink()
    folder.mkdir()
    (folder / "a.sql").write_text("select 1")
    os.chown(folder, 1, 1)
    assert not saved_queries(user).queries
