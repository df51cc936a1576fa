"""Exports of what is damaged, newer, unfinished or hostile, and where there is no room."""

from __future__ import annotations

import csv
import gzip
import io
import json
import os
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from export_fixture import HOSTILE, MS, read_profile, write_fixture
from store_rows import EPOCH, Frame, Stack, events, header, me
from synthetic import PERIOD_NS, write_synthetic

from stacks_tui.cli import export as command
from stacks_tui.export.job import ExportResult, Job, export
from stacks_tui.export.model import Samples
from stacks_tui.export.registry import all_formats, find_format
from stacks_tui.store.manifest import RecordingStatus
from stacks_tui.store.writer import RecordingWriter

FORMATS = [one.name for one in all_formats()]
"""Also those that come later: what holds for one holds for all."""
PROFILES = [one.name for one in all_formats() if one.wants is Samples]
NAMES = (
    HOSTILE,
    "</script><script>alert(1)</script>",
    "a;b;c",
    "new\nline\r\n",
    "\x1b[31mred\x1b]0;title\x07",
    "\0nul",
    '=HYPERLINK("http://x")',
    "'; drop table events; --",
    "\u202eright to left\u2066",
    "\ud7a3\U0001f600 end",
    " ",
    "",
    "x" * 10_000,
)


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_fixture(tmp_path_factory.mktemp("broken") / "recording")


def told(capfd: pytest.CaptureFixture[str], code: int, *arguments: str | Path) -> str:
    """The one line that this fails with."""
    assert command.main(list(map(str, arguments))) == code
    said = capfd.readouterr()
    (line,) = said.err.splitlines()
    assert line.startswith("stacks-export: ") and line.isprintable()
    assert said.out == ""
    return line


def exported(name: str, path: Path, out: Path, *queries: str) -> ExportResult:
    return export(Job((path,), find_format(name), queries, path=out), user=me())


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("file", ["events-000001.parquet", "stacks-000001.parquet"])
def test_a_file_that_was_cut_is_named(
    file: str, name: str, recording: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    cut = shutil.copytree(recording, tmp_path / "cut")
    data = (cut / file).read_bytes()
    (cut / file).write_bytes(data[: len(data) // 2])
    job = Job((cut,), find_format(name), path=tmp_path / "out")
    with pytest.raises(Exception, match=file):
        export(job, user=me())
    line = told(capfd, 1, "pprof", "-r", cut, "-o", tmp_path / "out")
    assert file in line and "without a damaged file" in line
    assert os.listdir(tmp_path) == ["cut"]
    (cut / file).unlink()
    result = exported(name, cut, tmp_path / "out")
    if file.startswith("stacks") and name != "nested":
        assert result.rows and any("not in the recording" in note for note in result.notes)


def test_garbage_in_a_file_is_told(
    recording: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for at, name in enumerate(("events", "stacks")):
        bad = shutil.copytree(recording, tmp_path / f"bad{at}")
        file = bad / f"{name}-000001.parquet"
        data = bytearray(file.read_bytes())
        data[4 : len(data) // 2] = bytes(range(1, 250)) * (len(data) // 400)
        file.write_bytes(data)
        told(capfd, 1, "pprof", "-r", bad, "-o", tmp_path / "x")


def test_a_newer_recording_is_refused(
    recording: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    newer = shutil.copytree(recording, tmp_path / "newer")
    manifest = json.loads((newer / "manifest.json").read_text())
    (newer / "manifest.json").write_text(json.dumps({**manifest, "schema_version": 99}))
    for name in ("pprof", "csv"):
        line = told(capfd, 1, name, "-r", newer, "-o", tmp_path / "x")
        assert "schema version 99" in line and "update" in line


@pytest.mark.parametrize("name", FORMATS)
def test_a_recording_under_way_gives_what_is_there(name: str, tmp_path: Path) -> None:
    writer = RecordingWriter.create(tmp_path / "r", me(), header())
    writer.write_stacks([Stack(1, [Frame("leaf", 16), Frame("main", 32)])])
    columns: dict[str, Any] = {"cpu": 1, "duration": 10 * MS, "ustack": 1}
    writer.write_events(events([MS, 20 * MS], **columns))
    writer.write_events(events([15 * MS], kind="switch", **columns))
    try:
        result = exported(name, tmp_path / "r", tmp_path / "out")
        assert any("still being written" in note for note in result.notes)
        assert result.rows == {"pprof": 1, "folded": 1}.get(name, result.rows) > 0
        if result.totals:
            assert result.totals[0][1] == 2
    finally:
        writer.close(RecordingStatus(EPOCH + 30 * MS))


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 kB."""
    if os.geteuid() != 0:
        pytest.skip("needs root, to mount")
    folder = tmp_path / "small"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "none", str(folder)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("nothing can be mounted here")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def test_a_full_disk_leaves_what_was_there(
    small_disk: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    large = write_synthetic(tmp_path / "large", 20_000, 5_000)
    old = small_disk / "out"
    old.write_text("old")
    for name in FORMATS:
        if find_format(name).hidden:
            continue
        line = told(capfd, 1, name, "-r", large, "-o", old)
        assert "disk is full" in line and "nothing was left" in line
        assert old.read_text() == "old" and os.listdir(small_disk) == ["out"]


@pytest.fixture(scope="module")
def hostile(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Frames, threads, spans and executables with each of the names."""
    path = tmp_path_factory.mktemp("hostile") / "recording"
    writer = RecordingWriter.create(path, me(), header())
    for at, name in enumerate(NAMES):
        frames = [Frame(name, 0x1000 + at, 1, f"/bin/{name}", file=f"/src/{name}", line=1)]
        writer.write_stacks([Stack(at + 1, [*frames, Frame("main", 0x100)])])
        for kind in ("profile", "switch", "trace_exit"):
            writer.write_events(
                events(
                    [(at + 1) * MS],
                    kind=kind,
                    ustack=at + 1,
                    command=name,
                    thread=name,
                    trace_name=name,
                    span_id=at + 1,
                    duration=MS,
                )
            )
    writer.close(RecordingStatus(EPOCH + 100 * MS))
    return path


@pytest.mark.parametrize("name", FORMATS)
def test_hostile_names_are_written_by_every_format(
    name: str, hostile: Path, tmp_path: Path
) -> None:
    result = exported(name, hostile, tmp_path / "out")
    assert result.rows >= len(NAMES)


def test_hostile_names_come_back_from_pprof(hostile: Path, tmp_path: Path) -> None:
    exported("pprof", hostile, tmp_path / "out", "cpu")
    profile = read_profile(tmp_path / "out")
    assert profile.stacks() == {(name, "main"): MS for name in NAMES}
    labels = {
        profile.text(label.str)
        for sample in profile.message.sample
        for label in sample.label
        if profile.text(label.key) == "thread"
    }
    assert labels == set(NAMES)


def test_hostile_names_stay_on_a_line_of_folded_stacks(hostile: Path, tmp_path: Path) -> None:
    exported("folded", hostile, tmp_path / "out", "cpu")
    lines = (tmp_path / "out").read_bytes().split(b"\n")
    assert lines.pop() == b"" and len(lines) == len(NAMES)
    for line in map(bytes.decode, lines):
        stack, _, value = line.rpartition(" ")
        assert stack.isprintable() and stack.count(";") == 1 and int(value) == MS


def test_hostile_names_come_back_from_csv_and_arrow(hostile: Path, tmp_path: Path) -> None:
    exported("csv", hostile, tmp_path / "csv")
    data = (tmp_path / "csv").read_text()
    rows = list(csv.DictReader(io.StringIO(data, newline=""), strict=True))
    assert data.count("\n") == len(rows) + 1 == 3 * len(NAMES) + 1
    assert all(line.isprintable() for line in data.split("\n"))
    for row, name in zip(rows, (name for name in NAMES for _ in range(3)), strict=True):
        assert json.loads(row["ustack"]) == [name, "main"]
        assert row["thread"].isprintable() and row["thread"][:1] not in ("=", "+", "-", "@")
    exported("arrow", hostile, tmp_path / "arrow")
    table = pa.ipc.open_file(tmp_path / "arrow").read_all()
    assert set(table["thread"].to_pylist()) == set(NAMES)
    assert {frames[0] for frames in table["ustack"].to_pylist()} == set(NAMES)
    exported("nested", hostile, tmp_path / "nested")
    table = pq.read_table(tmp_path / "nested")
    assert {frames[0]["name"] for frames in table["ustack"].to_pylist()} == set(NAMES)


def test_text_that_is_no_utf8_is_told(
    recording: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """The recorder never writes it; another program might."""
    bad = shutil.copytree(recording, tmp_path / "bad")
    file = bad / "events-000001.parquet"
    table = pq.read_table(file)
    threads = pa.array([b"a\xff\xfe\n"] * table.num_rows, pa.binary()).view(pa.string())
    pq.write_table(table.set_column(table.column_names.index("thread"), "thread", threads), file)
    for name in ("pprof", "csv", "arrow", "nested", "folded"):
        extra = ["--thread", "x"] if name in ("folded", "nested") else []  # or it is never read
        line = told(capfd, 1, name, "-r", bad, "-o", tmp_path / "x", *extra)
        assert "not valid UTF8" in line and "events-000001.parquet" in line


@pytest.mark.parametrize(
    ("sql", "code", "says"),
    [
        ("", 2, "one SELECT"),
        ("-- Only a question?\n", 2, "one SELECT"),
        ("select\n  1 as a,\n  nothing\nfrom events", 2, "line 3: nothing"),
        ("select *\nfrom nowhere", 2, "line 2: from nowhere"),
        ("select kind\nfrom events\nwhere kind::int = 1", 1, "line 3: where kind::int = 1"),
        ("select 1; select 2", 2, "one SELECT"),
        ("create table t (a int)", 2, "one SELECT"),
        ("select * from read_text('/etc/passwd')", 2, "disabled"),
        ("select * from '/etc/passwd'", 2, "/etc/passwd"),
        ("copy (select 1) to '/tmp/x'", 2, "one SELECT"),
        ("select $nothing", 2, "$nothing"),
    ],
)
@pytest.mark.parametrize("name", ["csv", "arrow"])
def test_broken_queries_of_tables(
    name: str,
    sql: str,
    code: int,
    says: str,
    recording: Path,
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
) -> None:
    mine = tmp_path / "mine.sql"
    mine.write_text(sql)
    line = told(capfd, code, name, mine, "-r", recording, "-o", tmp_path / "x")
    assert "mine.sql: " in line and says in line
    assert not (tmp_path / "x").exists()


def test_many_recordings_by_a_pattern(
    recording: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    for at in range(3):
        shutil.copytree(recording, tmp_path / "many" / f"r{at}")
    pattern = tmp_path / "many" / "r*"
    for one in all_formats():
        if one.hidden:
            continue
        out = tmp_path / f"out-{one.name}"
        assert command.main([one.name, "-r", str(pattern), "-o", str(out), "--json"]) == 0
        result = json.loads(capfd.readouterr().out)
        if one.wants is Samples and one.name in ("pprof", "folded"):
            assert result["totals"][-1]["value"] == 3 * 60 * MS
        assert result["rows"] and out.stat().st_size == result["bytes"]
    profile = gzip.decompress((tmp_path / "out-pprof").read_bytes())
    assert all(f"many/r{at}".encode() in profile for at in range(3))


def test_many_distinct_stacks(tmp_path: Path) -> None:
    large = write_synthetic(tmp_path / "large", 60_000, 30_000)
    result = exported("pprof", large, tmp_path / "out", "cpu")
    assert (result.rows, result.stacks) == (30_000, 30_000)
    assert [total for _, total in result.totals] == [60_000, 60_000 * PERIOD_NS]
