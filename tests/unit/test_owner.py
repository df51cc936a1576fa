"""Files and folders of the invoking user, and what others may put in the way."""

from __future__ import annotations

import os
import pwd
import stat
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

import pytest

from stacks_tui.errors import MachineError, StacksError, UsageError
from stacks_tui.owner import (
    User,
    create_directory,
    create_file,
    data_folder,
    ensure_directory,
    invoking_user,
    open_file,
    recording_path,
)

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: files for another user")
NOBODY = User(65534, 65534, Path("/nonexistent"), "nobody")


@pytest.fixture
def open_umask() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


def mode(path: Path) -> int:
    return stat.S_IMODE(path.lstat().st_mode)


@needs_root
def test_under_sudo_the_invoking_user_is_who_called_it() -> None:
    entry = pwd.getpwnam("daemon")
    user = invoking_user(
        {"SUDO_UID": str(entry.pw_uid), "SUDO_GID": str(entry.pw_gid), "HOME": "/root"}
    )
    assert user == User(entry.pw_uid, entry.pw_gid, Path(entry.pw_dir), "daemon")


@needs_root
def test_a_group_that_is_not_the_users_is_not_taken() -> None:
    entry = pwd.getpwnam("daemon")
    user = invoking_user({"SUDO_UID": str(entry.pw_uid), "SUDO_GID": "0"})
    assert user.gid == entry.pw_gid


@needs_root
@pytest.mark.parametrize(
    "text", ["abc", "-1", "4294967295", "99999999999", "١", " 1", "3999999999"]
)
def test_a_bad_sudo_uid_is_refused_in_one_line(text: str) -> None:
    with pytest.raises(MachineError, match="SUDO_UID") as caught:
        invoking_user({"SUDO_UID": text})
    assert "\n" not in str(caught.value)


def test_without_root_sudo_uid_means_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1)
    assert invoking_user({"SUDO_UID": "0", "HOME": "/h"}).uid == 1


def test_the_data_folder_of_another_user_ignores_our_environment(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", "/root/elsewhere")
    other = User(os.geteuid() + 1, 1, Path("/home/other"), "other")
    assert data_folder(other) == Path("/home/other/.local/share/stacks-tui")
    ours = User(os.geteuid(), os.getegid(), Path("/home/me"), "me")
    assert data_folder(ours) == Path("/root/elsewhere/stacks-tui")


def test_a_recording_is_named_by_time_and_plain_name() -> None:
    user = User(os.geteuid() + 1, 1, Path("/h"), "other")
    path = recording_path(user, "../a b\x1b[31m/é", datetime(2025, 1, 31, 9, 5, 7))
    assert path == Path("/h/.local/share/stacks-tui/20250131-090507-a_b_31m")
    assert recording_path(user, "../..", datetime(2025, 1, 31)).name == "20250131-000000-recording"


@pytest.mark.usefixtures("open_umask")
def test_folders_and_files_are_private(tmp_path: Path) -> None:
    fd = create_directory(tmp_path / "a" / "b" / "c", invoking_user({}))
    os.close(create_file(fd, "file", invoking_user({})))
    os.close(fd)
    assert mode(tmp_path / "a") == mode(tmp_path / "a/b/c") == 0o700
    assert mode(tmp_path / "a/b/c/file") == 0o600


def test_an_empty_folder_will_do_and_a_filled_one_not(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    os.close(create_directory(tmp_path / "empty", invoking_user({})))
    (tmp_path / "empty" / "x").touch()
    with pytest.raises(UsageError, match="not empty"):
        create_directory(tmp_path / "empty", invoking_user({}))
    os.close(ensure_directory(tmp_path / "empty", invoking_user({})))


def test_a_link_or_file_in_place_of_the_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "link").symlink_to("real")
    (tmp_path / "dangling").symlink_to("nowhere")
    (tmp_path / "file").touch()
    for name in ("link", "dangling", "file"):
        with pytest.raises(UsageError, match=r"(?s)\A[^\n]*not a folder[^\n]*\Z"):
            create_directory(tmp_path / name, invoking_user({}))
    with pytest.raises(UsageError):
        create_directory(tmp_path / "file" / "below", invoking_user({}))
    assert not (tmp_path / "nowhere").exists()


def test_a_file_is_never_created_through_a_link(tmp_path: Path) -> None:
    fd = ensure_directory(tmp_path, invoking_user({}))
    (tmp_path / "link").symlink_to("victim")
    with pytest.raises(FileExistsError):
        create_file(fd, "link", invoking_user({}))
    assert not (tmp_path / "victim").exists()
    (tmp_path / "victim").write_text("secret")
    with pytest.raises(OSError, match="symbolic links"):
        open_file(fd, "link")
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(OSError, match="regular"):
        open_file(fd, "fifo")
    os.close(fd)


def test_links_on_the_way_are_followed_relative_absolute_and_in_circles(tmp_path: Path) -> None:
    (tmp_path / "real" / "deep").mkdir(parents=True)
    (tmp_path / "relative").symlink_to("real/deep")
    (tmp_path / "absolute").symlink_to(tmp_path / "relative")
    os.close(create_directory(tmp_path / "absolute" / "new", invoking_user({})))
    assert (tmp_path / "real/deep/new").is_dir()
    (tmp_path / "circle").symlink_to("circle")
    with pytest.raises(StacksError):
        create_directory(tmp_path / "circle" / "new", invoking_user({}))


def test_hostile_names_stay_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "a\n\x1b]8;;x").touch()
    with pytest.raises(UsageError) as caught:
        create_directory(tmp_path / "a\n\x1b]8;;x", invoking_user({}))
    assert str(caught.value).isprintable()
    with pytest.raises(UsageError):
        create_directory(tmp_path / "a\0b", invoking_user({}))


@needs_root
@pytest.mark.usefixtures("open_umask")
def test_what_root_makes_belongs_to_the_user(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    fd = create_directory(tmp_path / "a" / "b", NOBODY)
    os.close(create_file(fd, "file", NOBODY))
    os.close(fd)
    for path in (tmp_path / "a", tmp_path / "a/b", tmp_path / "a/b/file"):
        assert (path.stat().st_uid, path.stat().st_gid) == (65534, 65534)
    assert tmp_path.stat().st_uid == 0


@needs_root
def test_root_walks_through_nothing_of_a_third_user(tmp_path: Path) -> None:
    (tmp_path / "theirs").mkdir()
    os.chown(tmp_path / "theirs", 1, 1)
    (tmp_path / "link").symlink_to("theirs")
    (tmp_path / "their-link").symlink_to("/tmp")
    os.chown(tmp_path / "their-link", 1, 1, follow_symlinks=False)
    for name in ("theirs", "link", "their-link"):
        with pytest.raises(UsageError, match="another user"):
            create_directory(tmp_path / name / "new", NOBODY)
    with pytest.raises(UsageError, match="another user"):
        create_directory(tmp_path / "theirs", NOBODY)
    assert not list((tmp_path / "theirs").iterdir())


@needs_root
def test_a_users_link_does_not_lead_root_into_a_folder_of_root(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "share").symlink_to("etc")
    os.chown(tmp_path / "share", NOBODY.uid, NOBODY.gid, follow_symlinks=False)
    for below in ("new", "new/er"):
        with pytest.raises(UsageError, match="by a link"):
            create_directory(tmp_path / "share" / below, NOBODY)
    assert not list((tmp_path / "etc").iterdir())
