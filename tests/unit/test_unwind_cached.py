"""Tables on disk: the same as parsed ones, and only taken when they are whole."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from unwind_images import TEXT, Function, simple

from stacks_tui.diskcache import Arrays, DiskCache
from stacks_tui.elf import ElfImage
from stacks_tui.unwind import cached
from stacks_tui.unwind.cached import load_table
from stacks_tui.unwind.ehframe import parse

BUILD_ID = bytes(range(20))
DATA = simple([Function(TEXT + 0x40 * n, 0x20, b"\x41\x0e\x18") for n in range(9)], BUILD_ID)


@pytest.fixture
def cache(tmp_path: Path) -> DiskCache:
    return DiskCache("unwind", ".rows", 1, 1 << 20, tmp_path)


def test_the_second_time_nothing_is_parsed(
    cache: DiskCache, monkeypatch: pytest.MonkeyPatch
) -> None:
    first = load_table(ElfImage.from_bytes(DATA), cache)
    assert first.functions == 9

    def fail(image: ElfImage) -> None:
        raise AssertionError("parsed")

    monkeypatch.setattr(cached, "parse", fail)
    second = load_table(ElfImage.from_bytes(DATA), cache)
    assert second.rows.tobytes() == first.rows.tobytes()
    assert second.rows.dtype == first.rows.dtype
    for name in ("base", "source", "functions", "one_by_one", "code_bytes", "ruled_bytes"):
        assert getattr(second, name) == getattr(first, name)


def test_what_is_no_table_is_parsed_anew(cache: DiskCache) -> None:
    right = parse(ElfImage.from_bytes(DATA))
    broken: list[Arrays] = [
        {"rows": np.zeros(4, "<u8")},
        {"rows": right.rows, "facts": np.zeros(4, np.int64)},
        {"rows": np.zeros(4), "facts": np.zeros(4, np.int64), "source": np.zeros(1, np.uint8)},
        {"rows": right.rows, "facts": np.zeros(3, np.int64), "source": np.zeros(1, np.uint8)},
    ]
    for wrong in broken:
        cache.put(BUILD_ID.hex(), wrong)
        assert load_table(ElfImage.from_bytes(DATA), cache).rows.tobytes() == right.rows.tobytes()


def test_files_without_a_build_id_are_not_kept(cache: DiskCache, tmp_path: Path) -> None:
    data = simple([Function(TEXT, 0x20)])
    assert load_table(ElfImage.from_bytes(data), cache).functions == 1
    assert not list((tmp_path / "unwind").iterdir())
