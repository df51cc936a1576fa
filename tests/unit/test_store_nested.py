"""The nested layout (frames in each row) read through the same views."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from nested_parquet import write_nested
from store_rows import EPOCH, events, header, me, names

from stacks_tui.errors import StacksError
from stacks_tui.store.manifest import RecordingStatus
from stacks_tui.store.reader import Recording, open_recording
from stacks_tui.store.writer import RecordingWriter

USER = [("leaf", 16, 1), ("main", 2**63, 2), ("main", 2**63, 2)]
KERNEL = [("do_read", 2**64 - 4096, 7)]
ROWS: list[dict[str, object]] = [
    {
        "timestamp": EPOCH + 1,
        "duration": 10_101_010,
        "kind": "profile",
        "cpu": 0,
        "tgid": 7,
        "pid": 8,
        "command": "job",
        "buildid": b"\xaa" * 20,
        "ustack": USER,
        "kstack": KERNEL,
    },
    {"timestamp": EPOCH + 2, "kind": "rss", "tgid": 7, "command": "job", "amount": 2**33},
    {"timestamp": EPOCH + 3, "kind": "rss", "tgid": 7, "amount": 2**33 - 4096, "ustack": USER},
    {"timestamp": EPOCH + 4, "kind": "rss", "tgid": 9, "command": "other", "amount": 1},
    {"timestamp": EPOCH + 5, "kind": "switch", "tgid": 7, "pid": 0, "cpu": 3, "kstack": KERNEL},
    {
        "timestamp": EPOCH + 6,
        "kind": "trace_exit",
        "tgid": 9,
        "pid": 9,
        "span_id": 5,
        "parent_id": 0,
        "id": 0,
        "trace_name": "span",
        "command": "other",
    },
]


def check(recording: Recording) -> None:
    rows = recording.table("select * from events order by timestamp").to_pylist()
    assert len(rows) == len(ROWS)
    profile, first, second, other, switch, span = rows
    assert (profile["cpu"], profile["pid"], profile["command"]) == (0, 8, "job")
    assert profile["buildid"] == b"\xaa" * 20
    assert profile["span_id"] is profile["id"] is profile["trace_name"] is None
    assert (first["cpu"], first["pid"], first["ustack"], first["kstack"]) == (None,) * 4
    assert (second["command"], second["buildid"]) == (None, None)
    assert [row["delta"] for row in rows] == [None, None, -4096, None, None, None]
    assert second["ustack"] == profile["ustack"] is not None
    assert (switch["cpu"], switch["pid"], switch["ustack"]) == (3, 0, None)
    assert switch["kstack"] == profile["kstack"] != profile["ustack"]
    assert (span["span_id"], span["parent_id"], span["id"]) == (5, None, 0)
    assert span["trace_name"] == "span" and other["amount"] == 1
    samples = recording.table("select ustack, kstack from samples order by timestamp").to_pylist()
    frames = samples[0]["ustack"]
    assert [(f["name"], f["address"], f["offset"]) for f in frames] == USER
    assert (frames[0]["module"], frames[0]["line"], frames[0]["inlined"]) == (None, None, False)
    assert samples[4]["kstack"][0]["address"] == 2**64 - 4096
    assert recording.table("select id from stacks").num_rows == 2
    processes = recording.table("select tgid, comm from processes order by tgid").to_pylist()
    assert processes == [{"tgid": 7, "comm": "job"}, {"tgid": 9, "comm": "other"}]
    top = recording.ask("live/top_stacks", kind="profile", limit=1).to_pylist()[0]
    assert (top["stack"], top["value"]) == (["do_read", "leaf", "main", "main"], 10_101_010)


def test_bare_repeated_groups_are_written_as_such(tmp_path: Path) -> None:
    write_nested(tmp_path / "x.parquet", ROWS)
    schema = str(pq.ParquetFile(tmp_path / "x.parquet").schema)
    assert "repeated group field_id=-1 ustack {" in schema
    assert "(List)" not in schema


def test_one_file_and_a_folder_with_bare_repeated_groups(tmp_path: Path) -> None:
    write_nested(tmp_path / "a.parquet", ROWS[:3])
    write_nested(tmp_path / "b.parquet", ROWS[3:])
    with open_recording(tmp_path, me()) as recording:
        assert recording.manifest is None and not recording.live
        check(recording)
    write_nested(tmp_path / "all", ROWS)
    with open_recording(tmp_path / "all", me()) as recording:
        check(recording)
    assert names(tmp_path) == ["a.parquet", "all", "b.parquet"]


def test_annotated_lists_and_dictionaries_open_too(tmp_path: Path) -> None:
    write_nested(tmp_path / "bare", ROWS)
    table = pq.read_table(tmp_path / "bare")
    for name in ("kind", "command", "trace_name"):
        at = table.schema.get_field_index(name)
        table = table.set_column(at, name, table.column(name).dictionary_encode())
    pq.write_table(table, tmp_path / "annotated.parquet")
    with open_recording(tmp_path / "annotated.parquet", me()) as recording:
        check(recording)


def test_stacks_by_id_are_the_nested_ones(tmp_path: Path) -> None:
    """Many rows, some with the same stack and some with none."""
    rows = [
        dict(
            ROWS[0],
            timestamp=EPOCH + n,
            ustack=[(f"f{n % 7}", n % 5, depth) for depth in range(n % 4)],
            kstack=[(f"k{n % 3}", 1, 1)] * (n % 3),
        )
        for n in range(2000)
    ]
    write_nested(tmp_path / "x", rows)
    with open_recording(tmp_path / "x", me()) as recording:
        got = recording.table(
            "select timestamp, ustack, kstack from samples order by timestamp"
        ).to_pylist()
    for row, expected in zip(got, rows, strict=True):
        for stack in ("ustack", "kstack"):
            frames = row[stack] or []
            assert [(f["name"], f["address"], f["offset"]) for f in frames] == expected[stack]
            assert row[stack] != []  # nothing taken is null


def test_mixed_layouts_and_other_types_are_refused(tmp_path: Path) -> None:
    writer = RecordingWriter.create(tmp_path / "r", me(), header())
    writer.write_events(events([1]))
    writer.close(RecordingStatus(EPOCH))
    (tmp_path / "r" / "manifest.json").unlink()
    (tmp_path / "r" / "events-000001.parquet").rename(tmp_path / "r" / "a.parquet")
    write_nested(tmp_path / "r" / "b.parquet", ROWS)
    with pytest.raises(StacksError, match="different layouts"):
        open_recording(tmp_path / "r", me())
    table = pq.read_table(tmp_path / "r" / "b.parquet")
    at = table.schema.get_field_index("timestamp")
    wrong = table.set_column(at, "timestamp", table.column("timestamp").cast(pa.string()))
    pq.write_table(wrong, tmp_path / "wrong.parquet")
    with pytest.raises(StacksError, match="'timestamp' is 'string'"):
        open_recording(tmp_path / "wrong.parquet", me())
