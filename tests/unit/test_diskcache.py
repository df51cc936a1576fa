"""The disk cache: round trips, and nothing taken that is not ours, whole and of this version."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stacks_tui.diskcache import DiskCache

ROW = np.dtype([("pc", "<u4"), ("off", "<i2"), ("kind", "u1"), ("rbp", "i1")])


def make(root: Path, version: int = 1, max_bytes: int = 1 << 20) -> DiskCache:
    return DiskCache("rows", ".rows", version, max_bytes, root)


def only_file(root: Path) -> Path:
    (path,) = (root / "rows").iterdir()
    return path


def test_arrays_come_back_equal(tmp_path: Path) -> None:
    cache = make(tmp_path / "c")
    rows = np.zeros(5, ROW)
    rows["pc"] = np.arange(5)
    arrays = {
        "rows": rows,
        "starts": np.array([1, 2**64 - 1], np.uint64),
        "none": np.zeros(0, np.int32),
        "grid": np.arange(6, dtype=np.int16).reshape(2, 3)[:, ::2],
    }
    cache.put("ab12", arrays)
    again = make(tmp_path / "c").get("ab12")
    assert again is not None
    assert list(again) == list(arrays)
    for name, array in arrays.items():
        assert again[name].dtype == array.dtype
        assert np.array_equal(again[name], array)
        assert not again[name].flags.writeable or not again[name].size
    assert cache.get("ab13") is None


def test_what_was_given_out_outlives_its_file(tmp_path: Path) -> None:
    cache = make(tmp_path / "c")
    cache.put("k", {"a": np.arange(10_000)})
    got = cache.get("k")
    only_file(tmp_path / "c").unlink()
    cache.close()
    assert got is not None
    assert int(got["a"].sum()) == 49_995_000
    assert cache.get("k") is None
    cache.put("k", {"a": np.arange(3)})


def test_a_second_put_replaces_the_first(tmp_path: Path) -> None:
    cache = make(tmp_path / "c")
    for number in (1, 2):
        cache.put("k", {"a": np.array([number])})
    got = cache.get("k")
    assert got is not None
    assert got["a"].tolist() == [2]
    assert only_file(tmp_path / "c").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "c").stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "c" / "rows").stat().st_mode & 0o777 == 0o700


def test_another_version_is_not_read(tmp_path: Path) -> None:
    make(tmp_path / "c").put("k", {"a": np.arange(3)})
    assert make(tmp_path / "c", version=2).get("k") is None
    path = only_file(tmp_path / "c")
    path.rename(path.with_name("k.rows.2"))
    assert make(tmp_path / "c", version=2).get("k") is None


@pytest.mark.parametrize("key", ["", "../k", "a/b", ".k", "k\0", "é", "k\n", "x" * 200])
def test_odd_keys_are_absent(tmp_path: Path, key: str) -> None:
    cache = make(tmp_path / "c")
    cache.put(key, {"a": np.arange(3)})
    assert cache.get(key) is None
    assert list((tmp_path / "c" / "rows").iterdir()) == []


def test_every_flipped_byte_and_every_cut_is_noticed(tmp_path: Path) -> None:
    cache = make(tmp_path / "c")
    cache.put("k", {"a": np.arange(9, dtype=np.uint32)})
    path = only_file(tmp_path / "c")
    whole = path.read_bytes()
    for at in range(len(whole)):
        path.write_bytes(whole[:at] + bytes([whole[at] ^ 0x40]) + whole[at + 1 :])
        assert cache.get("k") is None, at
        path.write_bytes(whole[:at])
        assert cache.get("k") is None, at
    path.write_bytes(whole)
    assert cache.get("k") is not None


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=300), st.integers(0, 40))
def test_random_content_never_raises(
    tmp_path_factory: pytest.TempPathFactory, junk: bytes, kept: int
) -> None:
    root = tmp_path_factory.mktemp("junk") / "c"
    cache = make(root)
    cache.put("k", {"a": np.arange(3)})
    path = only_file(root)
    path.write_bytes(path.read_bytes()[:kept] + junk)
    assert cache.get("k") is None
    cache.close()


def test_an_index_that_lies_under_a_right_checksum_is_refused(tmp_path: Path) -> None:
    import zlib

    from stacks_tui import diskcache

    cache = make(tmp_path / "c")
    cache.put("k", {"a": np.arange(3)})
    path = only_file(tmp_path / "c")
    lies = [
        b"[]]",
        b"{}x",
        b'[{"name":"a","dtype":"|O","shape":[1],"at":0}]',
        b'[{"name":"a","dtype":"<u8","shape":[9999999],"at":0}]',
        b'[{"name":"a","dtype":"<u8","shape":[-1],"at":0}]',
        b'[{"name":"a","dtype":"<u8","shape":[1],"at":-8}]',
        b'[{"name":"a","dtype":[["x"]],"shape":[1],"at":0}]',
        b'[{"name":"a","dtype":"<u8","shape":7,"at":0}]',
        b"[" * 5000,
        b"[1e999]",
    ]
    for text in lies:
        size = diskcache._HEAD.size + len(text)
        head = diskcache._HEAD.pack(
            diskcache._MAGIC, 1, len(text), size, zlib.crc32(text), zlib.crc32(b"")
        )
        path.write_bytes(head + text)
        assert cache.get("k") is None, text[:60]


def test_files_and_folders_open_to_others_are_not_trusted(tmp_path: Path) -> None:
    root = tmp_path / "c"
    make(root).put("k", {"a": np.arange(3)})
    path = only_file(root)
    path.chmod(0o666)
    assert make(root).get("k") is None
    path.chmod(0o600)
    assert make(root).get("k") is not None
    (root / "rows").chmod(0o777)
    assert make(root).get("k") is None
    (root / "rows").chmod(0o700)
    root.chmod(0o777)
    assert make(root).get("k") is None


@pytest.mark.skipif(os.geteuid() != 0, reason="gives files away, which only root can")
def test_files_of_another_user_are_not_trusted(tmp_path: Path) -> None:
    root = tmp_path / "c"
    make(root).put("k", {"a": np.arange(3)})
    os.chown(only_file(root), 12345, -1)
    assert make(root).get("k") is None
    os.chown(only_file(root), 0, -1)
    os.chown(root / "rows", 12345, -1)
    assert make(root).get("k") is None


def test_links_and_pipes_are_not_followed(tmp_path: Path) -> None:
    root = tmp_path / "c"
    make(root).put("k", {"a": np.arange(3)})
    path = only_file(root)
    path.rename(tmp_path / "moved")
    path.symlink_to(tmp_path / "moved")
    assert make(root).get("k") is None
    path.unlink()
    os.mkfifo(path)
    assert make(root).get("k") is None
    (tmp_path / "link").symlink_to(root)
    linked = make(tmp_path / "link")
    linked.put("z", {"a": np.arange(3)})
    assert linked.get("z") is None


def test_a_folder_that_cannot_be_made_is_an_empty_cache(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    cache = make(tmp_path / "file" / "deeper")
    cache.put("k", {"a": np.arange(3)})
    assert cache.get("k") is None


def test_the_least_recently_used_goes_first(tmp_path: Path) -> None:
    root = tmp_path / "c"
    array = {"a": np.zeros(1000, np.uint8)}
    cache = make(root, max_bytes=4000)
    for at, key in enumerate(("k0", "k1", "k2")):
        cache.put(key, array)
        os.utime(root / "rows" / f"{key}.rows.1", (1000 + at, 1000 + at))
    assert cache.get("k0") is not None  # now it is the newest
    cache.put("k3", array)
    names = {path.name.split(".")[0] for path in (root / "rows").iterdir()}
    assert names == {"k0", "k2", "k3"}
    cache.put("big", {"a": np.zeros(5000, np.uint8)})
    assert cache.get("big") is None
    assert cache.get("k3") is not None


def test_leftovers_of_a_killed_writer_are_removed(tmp_path: Path) -> None:
    root = tmp_path / "c"
    cache = make(root)
    for name, age in ((".1-1-1.tmp", 5_000), (".1-2-1.tmp", 0)):
        path = root / "rows" / name
        path.write_bytes(b"part")
        if age:
            os.utime(path, (age, age))
    cache.put("k", {"a": np.arange(3)})
    assert sorted(path.name for path in (root / "rows").iterdir()) == [".1-2-1.tmp", "k.rows.1"]


def test_objects_are_refused(tmp_path: Path) -> None:
    with pytest.raises(TypeError):
        make(tmp_path / "c").put("k", {"a": np.array([{}])})
