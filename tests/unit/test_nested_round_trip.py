"""A recording in the nested layout, with all its quirks, in each view, query and export.

Bare repeated groups; zeros, empty texts and lists for what was not taken; cpu and pid 0 in rss and
IO rows; kernel addresses above 2^63; recursion; spans that are closed, parked and left open.
"""

from __future__ import annotations

from pathlib import Path

import pytest
from export_fixture import KERNEL, names, samples_of, totals
from nested_parquet import write_nested
from store_rows import EPOCH, me

import stacks_tui
from stacks_tui.export.job import Job, export
from stacks_tui.export.registry import all_formats, find_format
from stacks_tui.export.task import ExportOptions
from stacks_tui.live.snapshot import Snapshot
from stacks_tui.live.snapshot import Table as TableRows
from stacks_tui.live.view import ALL, Group, Panel, Tab, View
from stacks_tui.session.playback import RecordingSource
from stacks_tui.session.protocol import SetView

MS = 1_000_000
PERIOD = 10_101_010
RECURSIVE = [("leaf", 0x1000, 4), ("rec", 0x2000, 8), ("rec", 0x2000, 8), ("main", 0x3000, 2)]
SCHEDULE = [("__schedule", KERNEL, 9), ("futex_wait", KERNEL + 64, 5)]
JOB = {"tgid": 7, "command": "job", "buildid": b"\xaa" * 20}


def rows() -> list[dict[str, object]]:
    on_cpu = JOB | {"pid": 8, "cpu": 3}
    switch = on_cpu | {"kind": "switch", "kstack": SCHEDULE, "duration": 10 * MS}
    span = on_cpu | {"span_id": 5, "parent_id": 0, "trace_name": "load", "ustack": RECURSIVE}
    made: list[dict[str, object]] = [
        on_cpu
        | {"timestamp": EPOCH + ms * MS, "kind": "profile", "duration": PERIOD}
        | {"ustack": RECURSIVE}
        for ms in (5, 105, 205)
    ]
    made += [switch | {"timestamp": EPOCH + ms * MS} for ms in (10, 110, 210)]
    made += [
        JOB | {"timestamp": EPOCH + ms * MS, "kind": "rss", "amount": amount, "ustack": RECURSIVE}
        for ms, amount in ((20, 0), (21, 196_608), (22, 393_216), (23, 196_608))
    ]
    made += [
        JOB
        | {"timestamp": EPOCH + (30 + at) * MS, "kind": kind, "amount": 100, "duration": took}
        | {"ustack": stack}
        for at, (kind, took, stack) in enumerate(
            (
                ("blk_read", 50, RECURSIVE),
                ("blk_write", 60, []),
                ("vfs_read", 0, []),
                ("vfs_write", 0, RECURSIVE),
                ("tcp_send", 0, RECURSIVE),
                ("tcp_recv", 0, RECURSIVE),
                ("udp_send", 0, RECURSIVE),
                ("udp_recv", 0, []),
            )
        )
    ]
    made += [
        span | {"timestamp": EPOCH + 50 * MS, "kind": "trace_exit", "duration": 5 * MS},
        span | {"timestamp": EPOCH + 60 * MS, "kind": "trace_exit", "duration": 3 * MS},
        span | {"timestamp": EPOCH + 70 * MS, "kind": "trace_close", "duration": 25 * MS},
        span
        | {"timestamp": EPOCH + 80 * MS, "kind": "trace_exit", "duration": 2 * MS, "span_id": 6},
    ]
    made.sort(key=lambda row: int(str(row["timestamp"])))
    return made


@pytest.fixture(scope="module")
def bare(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("bare") / "seed"
    path.mkdir()
    write_nested(path / "STACKS-1.parquet", rows()[:9])
    write_nested(path / "STACKS-2.parquet", rows()[9:])
    return path


@pytest.fixture(scope="module")
def ours(bare: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same, written by our own export."""
    path = tmp_path_factory.mktemp("ours") / "x.parquet"
    export(Job((bare,), find_format("nested"), path=path), user=me())
    return path


WHOLE = {
    "cpu": {"count": 3, "cpu": 3 * PERIOD},
    "offcpu": {"count": 2, "offcpu": 180 * MS},
    "rss": {"count": 4, "growth": 196_608},
    "block": {"count": 2, "block": 200, "read": 100, "write": 100},
    "block_time": {"count": 2, "block": 110, "read": 50, "write": 60},
    "vfs_read": {"count": 1, "read": 100, "read_time": 0},
    "vfs_write": {"count": 1, "write": 100, "write_time": 0},
    "tcp": {"count": 2, "tcp": 200, "sent": 100, "received": 100},
    "udp": {"count": 2, "udp": 200, "sent": 100, "received": 100},
}


@pytest.mark.parametrize("name", WHOLE)
def test_totals_before_and_after_a_round(name: str, bare: Path, ours: Path) -> None:
    for path in (bare, ours):
        assert totals(samples_of(path, name)) == WHOLE[name]


def test_recursion_is_kept_and_waits_have_their_kernel_part(bare: Path, ours: Path) -> None:
    for path in (bare, ours):
        cpu = samples_of(path, "cpu", options=ExportOptions(labels=()))
        assert names(cpu, 0) == ["leaf", "rec", "rec", "main"]
        waits = samples_of(path, "offcpu", options=ExportOptions(labels=()))
        assert names(waits, 0) == ["__schedule", "futex_wait"]


@pytest.mark.parametrize("name", stacks_tui.queries())
def test_each_query_gives_the_same_after_a_round(name: str, bare: Path, ours: Path) -> None:
    answers = []
    for path in (bare, ours):
        with stacks_tui.open(path) as opened:
            found = opened.query(name)
            answers.append(sorted(map(repr, found)))
    assert answers[0] == answers[1]


@pytest.mark.parametrize("name", [one.name for one in all_formats()])
def test_each_export_is_written(name: str, bare: Path, tmp_path: Path) -> None:
    result = export(Job((bare,), find_format(name), path=tmp_path / "out"), user=me())
    assert result.rows and (tmp_path / "out").stat().st_size == result.bytes


def test_each_view_of_the_screen_is_answered(bare: Path) -> None:
    views = [View(tab=tab, panel=panel, window=ALL) for tab in Tab for panel in Panel]
    views += [View(tab=Tab.BLOCKED, group=group, window=ALL) for group in Group]
    source = RecordingSource(bare, views[0])
    try:
        for view in views:
            source.post(SetView(view))
            while not (isinstance(frame := source.poll(60), Snapshot) and frame.view == view):
                assert frame is not None
            assert frame.note == "" or view.tab in (Tab.BLOCKED, Tab.RUNNABLE), frame.note
            if view.tab is Tab.CPU and view.panel is Panel.TABLE:
                assert isinstance(frame.rows, TableRows)
                assert sum(row.own for row in frame.rows.rows) == 3 * PERIOD
    finally:
        source.close()
