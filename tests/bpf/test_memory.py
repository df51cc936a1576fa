"""Resident memory by `rss`, against the pages that the program itself counted."""

from __future__ import annotations

from pathlib import Path

import pytest
from recordings import record
from workloads import built

pytestmark = pytest.mark.bpf

PAGE = 4096


@pytest.mark.parametrize("pages", [29, 1, 500])
def test_deltas_add_up_to_what_is_resident(tmp_path: Path, pages: int) -> None:
    recorded = record(
        tmp_path / "r", f"rss:u:{pages}", [built("memory"), tmp_path, "--truth", "TRUTH"]
    )
    recorded.assert_nothing_lost()
    marks = recorded.truth["marks"]
    assert len(marks) == 9
    most = (pages - 1) * PAGE  # what has not moved far enough for a row yet
    for mark in marks:
        (row,) = recorded.rows(
            """
            select coalesce(sum(delta), 0)::bigint as grown,
                   coalesce(arg_max(amount, timestamp), 0)::bigint as resident
            from events
            where kind = 'rss' and tgid = $tgid and command = 'memory' and timestamp <= $time
            """,
            tgid=recorded.truth["tgid"],
            time=recorded.epoch_ns(mark["time_ns"]),
        )
        assert abs(row["grown"] - mark["resident_bytes"]) <= most, mark
        assert abs(row["resident"] - mark["resident_bytes"]) <= most, mark


def test_each_row_says_where_it_grew(tmp_path: Path) -> None:
    recorded = record(tmp_path / "r", "rss:u", [built("memory"), tmp_path, "--truth", "TRUTH"])
    rows = recorded.rows(
        """
        select list_contains(list_transform(ustack, lambda f: f.name), 'touch_in_thread') as there,
               sum(delta)::bigint as grown, min(abs(delta)) as least
        from samples where kind = 'rss' and tgid = $tgid and command = 'memory' group by all
        """,
        tgid=recorded.truth["tgid"],
    )
    grown = {row["there"]: row["grown"] for row in rows}
    assert abs(grown[True] - (8 << 20)) <= 2 * 29 * PAGE
    assert min(row["least"] for row in rows) >= 29 * PAGE


def test_a_child_has_its_own_memory(tmp_path: Path) -> None:
    recorded = record(tmp_path / "r", "rss:u", [built("memory"), tmp_path, "--truth", "TRUTH"])
    grown = recorded.rows(
        "select sum(delta)::bigint as grown from events "
        "where kind = 'rss' and tgid <> $tgid and delta > 0 group by tgid",
        tgid=recorded.truth["tgid"],
    )
    (child,) = [row["grown"] for row in grown if row["grown"] > 8 << 20]
    assert abs(child - (16 << 20)) <= (1 << 20)
