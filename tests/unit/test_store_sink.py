"""One table's files: rotation, order, and what stands on disk at each step."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from store_rows import EPOCH, events, me, names

from stacks_tui.errors import StacksError, UsageError
from stacks_tui.schema import EVENTS
from stacks_tui.store.ordering import OrderedPieces, sorted_table
from stacks_tui.store.parquet import Compression, parse_compression
from stacks_tui.store.sink import SinkOptions, TableSink

PLAIN = Compression("zstd", 1)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[int]:
    fd = os.open(tmp_path, os.O_RDONLY)
    yield fd
    os.close(fd)


def make(fd: int, rows: int = 1000, group: int = 100, overlap: int = 50) -> tuple[TableSink, Clock]:
    clock = Clock()
    options = SinkOptions(rows, 60.0, group, PLAIN, overlap)
    return TableSink(fd, "events", EVENTS, options, me(), "timestamp", clock), clock


def ids(path: Path) -> list[int]:
    result: list[int] = pq.read_table(path).column("id").to_pylist()
    return result


def test_a_batch_is_in_the_journal_when_append_returns(tmp_path: Path, folder: int) -> None:
    sink, _ = make(folder)
    sink.append(events([1, 2]))
    assert names(tmp_path) == ["events-000001.journal"]
    assert (tmp_path / "events-000001.journal").stat().st_size == sink.bytes
    sink.close()
    assert names(tmp_path) == ["events-000001.parquet"]
    assert (tmp_path / "events-000001.parquet").stat().st_size == sink.bytes
    assert pq.read_schema(tmp_path / "events-000001.parquet").equals(EVENTS)


def test_files_rotate_by_rows(tmp_path: Path, folder: int) -> None:
    sink, _ = make(folder, rows=30, group=10)
    for at in range(0, 100, 10):
        sink.append(events(range(at, at + 10)))
    assert names(tmp_path)[-1] == "events-000004.journal"
    sink.close()
    assert [ids(tmp_path / name) for name in names(tmp_path)] == [
        list(range(30)),
        list(range(30, 60)),
        list(range(60, 90)),
        list(range(90, 100)),
    ]


def test_files_rotate_by_time_and_an_empty_one_does_not(tmp_path: Path, folder: int) -> None:
    sink, clock = make(folder)
    clock.now += 100
    sink.tick()
    assert names(tmp_path) == []
    sink.append(events([1]))
    clock.now += 59
    sink.tick()
    assert names(tmp_path) == ["events-000001.journal"]
    clock.now += 2
    sink.tick()
    assert names(tmp_path) == ["events-000001.parquet"]
    sink.append(events([2]))
    assert names(tmp_path) == ["events-000001.parquet", "events-000002.journal"]
    sink.close()


def test_row_groups_are_written_before_the_end_and_hold_back_the_newest(
    tmp_path: Path, folder: int
) -> None:
    sink, _ = make(folder, group=100, overlap=50)
    for at in range(0, 400, 20):
        sink.append(events(range(at, at + 20)))
    assert "events-000001.parquet.partial" in names(tmp_path)
    sink.append(events([351, 360]))  # within the overlap: still the same file
    assert "events-000002.journal" not in names(tmp_path)
    sink.close()
    file = pq.ParquetFile(tmp_path / "events-000001.parquet")
    assert file.num_row_groups > 1
    assert ids(tmp_path / "events-000001.parquet") == sorted([*range(400), 351, 360])
    column = EVENTS.get_field_index("timestamp")
    for group in range(file.num_row_groups):
        statistics = file.metadata.row_group(group).column(column).statistics
        times = file.read_row_group(group).column("timestamp").to_pylist()
        assert (statistics.min, statistics.max) == (times[0], times[-1])


def test_rows_too_late_for_a_file_begin_the_next(tmp_path: Path, folder: int) -> None:
    sink, _ = make(folder, group=100, overlap=50)
    sink.append(events(range(1000, 1200)))
    sink.append(events([5]))
    sink.close()
    assert [ids(tmp_path / name) for name in names(tmp_path)] == [list(range(1000, 1200)), [5]]


@settings(
    max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    batches=st.lists(st.lists(st.integers(0, 5000), min_size=1, max_size=40), max_size=25),
    rows=st.integers(1, 300),
    group=st.integers(1, 80),
    overlap=st.integers(0, 6000),
)
def test_any_order_of_rows_is_kept_once_and_sorted(
    tmp_path_factory: pytest.TempPathFactory,
    batches: list[list[int]],
    rows: int,
    group: int,
    overlap: int,
) -> None:
    path = tmp_path_factory.mktemp("sink")
    fd = os.open(path, os.O_RDONLY)
    sink, _ = make(fd, rows, group, overlap)
    for batch in batches:
        sink.append(events(batch))
    sink.close()
    os.close(fd)
    files = [pq.read_table(path / name) for name in names(path)]
    stored = [time for file in files for time in file.column("id").to_pylist()]
    assert sorted(stored) == sorted(time for batch in batches for time in batch)
    for file in files:
        times = file.column("timestamp").to_numpy()
        assert bool(np.all(times[1:] >= times[:-1]))
        assert times.tolist() == [EPOCH + time for time in file.column("id").to_pylist()]


@settings(deadline=None)
@given(
    st.lists(st.lists(st.integers(0, 300), min_size=1, max_size=30), min_size=1, max_size=12),
    st.integers(-5, 310),
    st.integers(0, 100),
)
def test_pieces_stay_in_order_and_are_counted(
    batches: list[list[int]], time: int, taken: int
) -> None:
    pieces = OrderedPieces(EVENTS, "timestamp")
    for number, batch in enumerate(batches):
        pieces.add(events(batch, command=f"c{number}"))
    every = sorted(t for batch in batches for t in batch)
    assert pieces.newest() == EPOCH + every[-1]
    assert pieces.rows_up_to(EPOCH + time) == sum(t <= time for t in every)
    first = pieces.take(min(taken, len(every)))
    rest = pieces.take(pieces.rows)
    assert first.column("id").to_pylist() + rest.column("id").to_pylist() == every
    of_command = {(t, f"c{number}") for number, batch in enumerate(batches) for t in batch}
    got = pa.concat_tables([first, rest], promote_options="permissive")
    assert set(zip(got["id"].to_pylist(), got["command"].to_pylist(), strict=True)) == of_command


def test_without_a_key_rows_stay_as_they_came() -> None:
    table = sorted_table([events([3]), events([1, 2])], EVENTS, None)
    assert table.column("id").to_pylist() == [3, 1, 2]


def test_after_a_failure_nothing_more_is_taken(
    tmp_path: Path, folder: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    sink, _ = make(folder, group=10)
    (tmp_path / "events-000001.parquet.partial").symlink_to("victim")
    with pytest.raises(StacksError, match=r"\A[^\n]*partial[^\n]*\Z"):
        sink.append(events(range(1000)))
    with pytest.raises(StacksError, match="after a failure"):
        sink.append(events([1]))
    sink.close()
    assert "events-000001.journal" in names(tmp_path)
    assert not (tmp_path / "victim").exists()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("zstd", Compression("zstd", 1)),
        ("zstd:22", Compression("zstd", 22)),
        ("snappy", Compression("snappy")),
        ("none", Compression("none")),
    ],
)
def test_compression_is_parsed(text: str, expected: Compression) -> None:
    assert parse_compression(text) == expected


@pytest.mark.parametrize(
    "text", ["", "zstd:", "zstd:0", "zstd:23", "zstd:x", "zstd:²", "gzip", "snappy:1"]
)
def test_other_compressions_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="unknown compression"):
        parse_compression(text)
