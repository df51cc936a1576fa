"""What a query may do, and what is told of things that are no recording."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from store_rows import EPOCH, events, header, me, names

from stacks_tui.errors import StacksError, UsageError
from stacks_tui.schema import SINCE_SCHEMA_2
from stacks_tui.store.manifest import RecordingStatus
from stacks_tui.store.reader import Recording, open_recording
from stacks_tui.store.writer import RecordingWriter


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "it's a [folder] *?\n"
    writer = RecordingWriter.create(path, me(), header())
    writer.write_events(events(range(5), command="o'brien; --", ustack=2**64 - 1))
    writer.write_events(events(range(5, 8), command="job"))
    writer.close(RecordingStatus(EPOCH))
    return path


@pytest.fixture
def recording(path: Path) -> Iterator[Recording]:
    with open_recording(path, me()) as opened:
        yield opened


def test_parameters_are_bound_and_surplus_ones_left_out(recording: Recording) -> None:
    query = "select count(*) as n from events where $command is null or command = $command"
    for command, expected in (("o'brien; --", 5), ("job", 3), ("' or 1=1 --", 0), (None, 8)):
        got = recording.table(query, command=command, buildid=b"\0", unused=1)
        assert got.column("n").to_pylist() == [expected]
    got = recording.table("select count(*) as n from events where ustack = $id", id=2**64 - 1)
    assert got.column("n").to_pylist() == [5]
    assert recording.sql("select id from events where id < 3").fetchall() == [(0,), (1,), (2,)]


def test_a_lacking_parameter_is_named(recording: Recording) -> None:
    with pytest.raises(UsageError, match=r"\$command"):
        recording.sql("select 1 where $command is null")


def test_names_and_numbers_have_their_contracts_types(recording: Recording) -> None:
    columns = ("kind", "cpu", "timestamp", "delta", "open", "buildid", "ustack", "state")
    types = recording.table(
        "select " + ", ".join(f"typeof({c}) as {c}" for c in columns) + " from events limit 1"
    )
    assert types.to_pylist() == [
        {
            "kind": "VARCHAR",
            "cpu": "USMALLINT",
            "timestamp": "UBIGINT",
            "delta": "BIGINT",
            "open": "BOOLEAN",
            "buildid": "BLOB",
            "ustack": "UBIGINT",
            "state": "VARCHAR",
        }
    ]


@pytest.mark.parametrize(
    "query",
    [
        "select * from read_text('/etc/passwd')",
        "select * from read_csv('/etc/passwd')",
        "select * from '/etc/passwd'",
        "select * from read_blob('/proc/self/environ')",
        "select * from glob('/etc/*')",
        "select * from read_text('/proc/self/fd/0')",
        "select * from sniff_csv('/etc/passwd')",
        "select * from secret",
        "copy (select 1) to '{folder}/written'",
        "copy events to '{folder}/written' (format parquet)",
        "export database '{folder}/written'",
        "attach '{folder}/written'",
        "create table written as select 1",
        "install httpfs",
        "load httpfs",
        "set enable_external_access = true",
        "delete from events",
        "select 1; select 2",
        "select 1; copy (select 1) to '{folder}/written'",
        "",
        "selec",
        "select \0",
        "select no_column from events",
    ],
)
def test_a_query_reads_the_recording_and_nothing_else(
    recording: Recording, tmp_path: Path, query: str
) -> None:
    secret = pa.table({"password": ["x"]})
    before = {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*")}
    with pytest.raises(StacksError) as caught:
        recording.table(query.replace("{folder}", str(tmp_path)))
    assert "\n" not in str(caught.value)
    assert {file: file.stat().st_mtime_ns for file in tmp_path.rglob("*")} == before
    assert secret.num_rows == 1
    assert recording.table("select 1 as one").num_rows == 1


def test_the_database_itself_is_locked(recording: Recording, tmp_path: Path) -> None:
    connection = recording._connection
    for statement in (
        f"copy (select 1) to '{tmp_path}/written'",
        f"attach '{tmp_path}/written'",
        "set enable_external_access = true",
        "set allowed_paths = ['/etc/passwd']",
        "install httpfs",
    ):
        with pytest.raises(duckdb.Error):
            connection.execute(statement)
    assert not (tmp_path / "written").exists()


def test_descriptors_are_closed(path: Path) -> None:
    before = len(os.listdir("/proc/self/fd"))
    for _ in range(3):
        with open_recording(path, me()) as recording:
            recording.table("select * from samples")
    (path / "manifest.json").write_text("{")
    with pytest.raises(StacksError):
        open_recording(path, me())
    assert len(os.listdir("/proc/self/fd")) == before


def test_reading_changes_nothing(path: Path) -> None:
    before = {file: file.stat().st_mtime_ns for file in path.iterdir()}
    with open_recording(path, me()) as recording:
        recording.table("select * from samples")
    assert {file: file.stat().st_mtime_ns for file in path.iterdir()} == before


def test_one_event_file_opens_alone(path: Path) -> None:
    with open_recording(path / "events-000001.parquet", me()) as recording:
        assert recording.manifest is None
        assert recording.table("select id from samples").num_rows == 8


def test_what_is_no_recording_is_told_in_one_line(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "text.parquet").write_text("no")
    (tmp_path / "bad").mkdir()
    (tmp_path / "bad" / "x.parquet").write_text("no")
    pq.write_table(pa.table({"a": [1]}), tmp_path / "other.parquet")
    pq.write_table(pa.table({"ustack": ["x"], "kstack": [1]}), tmp_path / "other2.parquet")
    os.mkfifo(tmp_path / "fifo")
    for name in (
        "empty",
        "text.parquet",
        "bad",
        "other.parquet",
        "other2.parquet",
        "fifo",
        "none",
        "a\n\x1b",
    ):
        with pytest.raises(StacksError) as caught:
            open_recording(tmp_path / name, me())
        assert str(caught.value).isprintable()


def test_links_and_fifos_inside_a_recording_are_not_followed(path: Path) -> None:
    (path / "events-000002.parquet").symlink_to("/etc/passwd")
    with pytest.raises(StacksError, match=r"(?s)\A[^\n]*\Z"):
        open_recording(path, me())
    (path / "events-000002.parquet").unlink()
    os.mkfifo(path / "events-000002.parquet")
    with pytest.raises(StacksError):
        open_recording(path, me())


def test_a_file_damaged_inside_is_told_when_it_is_read(path: Path) -> None:
    file = path / "events-000001.parquet"
    content = bytearray(file.read_bytes())
    content[4:200] = b"\xff" * 196
    file.write_bytes(content)
    with open_recording(path, me()) as recording, pytest.raises(StacksError) as caught:
        recording.table("select * from events")
    assert "\n" not in str(caught.value)
    assert names(path)


def test_recordings_of_schema_1_have_nulls_for_later_columns(path: Path) -> None:
    for number, file in enumerate(sorted(path.glob("events-*.parquet"))):
        if number % 2 == 0:  # a recovered one may have files of both
            table = pq.read_table(file)
            pq.write_table(table.drop_columns(sorted(SINCE_SCHEMA_2)), file)
    manifest = path / "manifest.json"
    manifest.write_text(manifest.read_text().replace('"schema_version": 2', '"schema_version": 1'))
    with open_recording(path) as recording:
        rows = recording.table("select busy, enters, waker_span, since_seen, wstack from events")
    assert rows.num_rows
    assert all(rows.column(name).null_count == rows.num_rows for name in SINCE_SCHEMA_2)
    assert [str(field.type) for field in rows.schema][:4] == ["uint64", "uint32", "uint64", "bool"]
