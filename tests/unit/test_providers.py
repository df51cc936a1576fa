"""Files that had probes in earlier recordings."""

from __future__ import annotations

import os
from pathlib import Path

import numpy as np

from stacks_tui.diskcache import DiskCache
from stacks_tui.session.providers import MOST, KnownProviders


def known(root: Path) -> KnownProviders:
    return KnownProviders(DiskCache("probes", ".known", 1, 1 << 20, root=root))


def test_the_latest_come_first_and_the_oldest_go(tmp_path: Path) -> None:
    providers = known(tmp_path / "cache")
    assert providers.paths() == []
    for n in range(MOST + 3):
        providers.add(b"/lib/%d\xff" % n)
    providers.add(b"/lib/10\xff")
    providers.close()
    paths = known(tmp_path / "cache").paths()
    assert paths[:2] == [b"/lib/10\xff", b"/lib/%d\xff" % (MOST + 2)]
    assert len(paths) == len(set(paths)) == MOST


def test_what_has_no_probes_any_more_is_forgotten(tmp_path: Path) -> None:
    providers = known(tmp_path / "cache")
    for name in (b"/a", b"/b"):
        providers.add(name)
    providers.drop(b"/b")
    assert providers.paths() == [b"/a"]
    providers.drop(b"/a")
    assert providers.paths() == []


def test_what_is_no_list_of_paths_is_none(tmp_path: Path) -> None:
    cache = DiskCache("probes", ".known", 1, 1 << 20, root=tmp_path / "cache")
    cache.put("paths", {"paths": np.frombuffer(b"relative\0../x\0/good\0", np.uint8)})
    assert known(tmp_path / "cache").paths() == [b"/good"]
    cache.put("paths", {"paths": np.zeros(3, np.int64)})
    assert known(tmp_path / "cache").paths() == []


def test_only_regular_files_are_opened(tmp_path: Path) -> None:
    providers = known(tmp_path / "cache")
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "link").symlink_to("/bin/true")
    assert [providers.open(os.fsencode(tmp_path / name)) for name in ("pipe", "link", "no")] == [
        None
    ] * 3
    fd = providers.open(b"/proc/self/exe")
    assert fd is None  # a link
