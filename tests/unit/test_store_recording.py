"""Whole recordings: written and read back, killed at any step, on a full disk, for another user."""

from __future__ import annotations

import contextlib
import os
import resource
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from store_rows import EPOCH, Frame, Stack, events, header, me, names

from stacks_tui.enrich.processes import ProcessRow
from stacks_tui.errors import StacksError, UsageError
from stacks_tui.owner import User
from stacks_tui.records import StackStatus
from stacks_tui.store.disk import DiskFullError
from stacks_tui.store.manifest import KindCounts, RecordingStatus, State, Totals, read_manifest
from stacks_tui.store.reader import last_recording, open_recording
from stacks_tui.store.rows import valid_text
from stacks_tui.store.writer import RecordingWriter, StoreOptions

# The children, forked beside Arrow's idle threads, wait for none of them.
pytestmark = pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: files for another user")
SMALL = StoreOptions(rows_per_file=50, row_group_rows=10)


def status(end: int = 0, received: int = 0) -> RecordingStatus:
    return RecordingStatus(EPOCH + end, {"profile": KindCounts(received)}, Totals())


def create(path: Path, options: StoreOptions = SMALL) -> RecordingWriter:
    return RecordingWriter.create(path, me(), header(), options)


def ids(path: Path) -> list[int]:
    with open_recording(path, me()) as recording:
        result: list[int] = recording.table("select id from events").column("id").to_pylist()
    return result


def killed(path: Path, record: Callable[[RecordingWriter], None]) -> None:
    """Record in a child that is killed, without any clean-up, when `record` returns."""
    child = os.fork()
    if child == 0:
        try:
            record(create(path))
            os.kill(os.getpid(), signal.SIGKILL)
        finally:
            os._exit(99)
    _, end = os.waitpid(child, 0)
    assert os.WTERMSIG(end) == signal.SIGKILL


def test_what_goes_in_comes_out(tmp_path: Path) -> None:
    writer = create(tmp_path / "r")
    main = Frame("main", 2**64 - 1, 3, "/bin/é", b"\1\2", "main.c", 2**32 - 1)
    batches = [
        events([3, 1, 2], ustack=2**64 - 1),
        events([4], kind="wait", waker=9, state="S", open=True, kstack=5, wstack=2**64 - 1),
        events([5], kind="rss", delta=-4096, amount=2**64 - 1, command=None, buildid=b"\0\xff"),
    ]
    for batch in batches:
        writer.write_events(batch)
    writer.write_stacks([Stack(2**64 - 1, [Frame("leaf", inlined=True), main, main, main])])
    writer.write_stacks([Stack(5, [], complete=False, truncated=True, status=StackStatus.CUT)])
    writer.write_processes([ProcessRow(1, None, comm="a"), ProcessRow(1, 5, parent=1, comm="b")])
    writer.write_processes([ProcessRow(1, 5, 9, 1, "b", "b\udcff \n'", "/b", b"\7", "/c", "d")])
    manifest = writer.close(status(9, 3))
    assert names(tmp_path / "r") == [
        "events-000001.parquet",
        "manifest.json",
        "processes.parquet",
        "stacks-000001.parquet",
    ]
    with open_recording(tmp_path / "r", me()) as recording:
        assert recording.manifest == manifest
        assert manifest.state is State.FINISHED and not recording.live
        rows = recording.table("select * from events order by timestamp").to_pylist()
        expected = [row for batch in batches for row in batch.to_pylist()]
        assert rows == sorted(expected, key=lambda row: int(row["timestamp"]))
        stacks = recording.table("select * from stacks order by id").to_pylist()
        assert [stack["status"] for stack in stacks] == ["cut", "complete"]
        assert (stacks[0]["frames"], stacks[0]["complete"], stacks[0]["truncated"]) == (
            [],
            False,
            True,
        )
        frames = stacks[1]["frames"]
        assert [frame["name"] for frame in frames] == ["leaf", "main", "main", "main"]
        assert frames[3] == {
            "name": "main",
            "address": 2**64 - 1,
            "offset": 3,
            "module": "/bin/é",
            "buildid": b"\1\2",
            "file": "main.c",
            "line": 2**32 - 1,
            "inlined": False,
        }
        samples = recording.table("select * from samples order by timestamp").to_pylist()
        assert [sample["ustack"] for sample in samples] == [frames] * 3 + [None, None]
        assert [sample["kstack"] for sample in samples] == [None] * 3 + [[], None]
        assert samples[3]["wstack"] == frames
        processes = recording.table("select * from processes order by start nulls first")
        assert processes.to_pylist() == [
            dict.fromkeys(processes.column_names) | {"tgid": 1, "comm": "a"},
            {
                "tgid": 1,
                "start": 5,
                "end": 9,
                "parent": 1,
                "comm": "b",
                "cmdline": "b\\xff \n'",
                "exe": "/b",
                "buildid": b"\7",
                "cgroup": "/c",
                "container": "d",
            },
        ]


def test_many_distinct_stacks_keep_their_own_frames(tmp_path: Path) -> None:
    writer = create(tmp_path / "r", StoreOptions())
    shared = [Frame(f"f{n}", n) for n in range(50)]
    for part in range(10):
        writer.write_stacks(
            [
                Stack(n + 1, [Frame(f"leaf{n}", n), *shared[: n % 50], shared[0]])
                for n in range(part * 2000, part * 2000 + 2000)
            ]
        )
    writer.close(status())
    with open_recording(tmp_path / "r", me()) as recording:
        table = recording.table(
            "select id, frames[1].name as leaf, frames[1].address as address,"
            " len(frames) as depth from stacks order by id"
        )
    assert table.column("id").to_pylist() == list(range(1, 20_001))
    assert table.column("leaf").to_pylist() == [f"leaf{n}" for n in range(20_000)]
    assert table.column("address").to_pylist() == list(range(20_000))
    assert table.column("depth").to_pylist() == [n % 50 + 2 for n in range(20_000)]


def test_a_stack_told_twice_does_not_double_its_events(tmp_path: Path) -> None:
    writer = create(tmp_path / "r")
    writer.write_events(events([1, 2], ustack=7))
    for _ in range(3):
        writer.write_stacks([Stack(7, [Frame("main")]), Stack(8, [Frame("other")])])
    for close in (False, True):
        if close:
            writer.close(status())
        with open_recording(tmp_path / "r", me()) as recording:
            assert recording.table("select id from samples").num_rows == 2
            assert recording.table("select id from stacks").num_rows == 2


def test_a_live_recording_is_read_as_it_is_and_not_touched(tmp_path: Path) -> None:
    writer = create(tmp_path / "r")
    for at in range(0, 130, 10):
        writer.write_events(events(range(at, at + 10)))
    writer.write_processes([ProcessRow(1)])
    writer.flush(status(130, 130))
    before = names(tmp_path / "r")
    with open_recording(tmp_path / "r", me()) as recording:
        assert recording.live and recording.manifest is not None
        assert recording.manifest.state is State.RECORDING
        got = recording.table("select id from events order by id").column("id").to_pylist()
        assert got == list(range(130))
        assert recording.table("select tgid from processes").num_rows == 1
    assert names(tmp_path / "r") == before
    assert "events-000003.journal" in before
    writer.write_events(events([200]))
    writer.close(status(200, 131))
    assert sorted(ids(tmp_path / "r")) == [*range(130), 200]


def test_a_killed_recorder_leaves_every_batch_it_was_given(tmp_path: Path) -> None:
    def record(writer: RecordingWriter) -> None:
        writer.flush(status(0, 5))
        for at in range(0, 175, 5):
            writer.write_events(events([at + 4, at, at + 2, at + 1, at + 3], ustack=1))
        writer.write_stacks([Stack(1, [Frame("main")])])
        writer.write_processes([ProcessRow(1, 5), ProcessRow(2)])
        writer.write_processes([ProcessRow(1, 5, 9)])

    killed(tmp_path / "r", record)
    left = names(tmp_path / "r")
    assert "events-000004.journal" in left and "events-000003.parquet" in left
    for _ in range(2):  # the second time there is nothing left to do
        with open_recording(tmp_path / "r", me()) as recording:
            table = recording.table("select id, ustack[1].name as leaf from samples order by id")
            assert table.column("id").to_pylist() == list(range(175))
            assert set(table.column("leaf").to_pylist()) == {"main"}
            processes = recording.table('select tgid, "end" from processes order by tgid')
            assert processes.to_pylist() == [{"tgid": 1, "end": 9}, {"tgid": 2, "end": None}]
            assert recording.manifest is not None and not recording.live
            assert recording.manifest.state is State.RECOVERED
            assert recording.manifest.status.end == EPOCH + 174
            assert recording.manifest.status.kinds["profile"].received == 175
        assert not [n for n in names(tmp_path / "r") if "journal" in n or "partial" in n]
    for name in names(tmp_path / "r"):
        if name.startswith("events"):
            times = pq.read_table(tmp_path / "r" / name).column("timestamp").to_pylist()
            assert times == sorted(times)


def test_killed_at_any_moment_each_taken_row_is_there_once(tmp_path: Path) -> None:
    """The child tells of each batch that was taken; the kill hits wherever it happens to be."""
    for attempt in range(12):
        path = tmp_path / str(attempt)
        told, tell = os.pipe()
        child = os.fork()
        if child == 0:
            writer = create(path, StoreOptions(rows_per_file=40, row_group_rows=8))
            for at in range(0, 10**9, 4):
                writer.write_events(events([at + 3, at, at + 1, at + 2]))
                os.write(tell, at.to_bytes(8, "little"))
        os.close(tell)
        for _ in range(20 + 7 * attempt):
            os.read(told, 8)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        taken = 20 + 7 * attempt
        while os.read(told, 8):
            taken += 1
        os.close(told)
        got = sorted(ids(path))
        assert got == list(range(len(got)))  # no gap, nothing twice
        assert len(got) in (4 * taken, 4 * taken + 4)  # the last one was perhaps not told of
        assert sorted(ids(path)) == got


def test_a_reader_beside_a_fast_recorder_sees_each_row_once(tmp_path: Path) -> None:
    path = tmp_path / "r"
    told, tell = os.pipe()
    child = os.fork()
    if child == 0:
        writer = create(path, StoreOptions(rows_per_file=8, row_group_rows=4))
        for at in range(0, 10**9, 4):
            writer.write_events(events(range(at, at + 4)))
            os.write(tell, b"x")
    try:
        os.close(tell)
        taken = len(os.read(told, 1))
        os.set_blocking(told, False)
        for _ in range(15):
            with contextlib.suppress(BlockingIOError):
                taken += len(os.read(told, 1 << 16))
            with open_recording(path, me()) as recording:
                assert recording.live
                got = recording.table("select id from events order by id")["id"].to_pylist()
            assert got == list(range(len(got)))
            assert len(got) >= 4 * taken
    finally:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        os.close(told)


def test_a_recording_of_more_files_than_may_be_open(tmp_path: Path) -> None:
    writer = create(tmp_path / "r", StoreOptions(rows_per_file=1))
    for at in range(150):
        writer.write_events(events([at]))
    writer.close(status())
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (128, limit[1]))
    try:
        assert sorted(ids(tmp_path / "r")) == list(range(150))
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, limit)


def test_writing_does_not_load_duckdb() -> None:
    code = "import sys, stacks_tui.store.writer; sys.exit('duckdb' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_killed_between_rename_and_removal_no_row_counts_twice(tmp_path: Path) -> None:
    def record(writer: RecordingWriter) -> None:
        writer.write_events(events(range(30)))
        shutil.copy(writer.path / "events-000001.journal", writer.path / "kept")
        writer.write_events(events(range(30, 50)))
        os.rename(writer.path / "kept", writer.path / "events-000001.journal")
        writer.write_events(events(range(50, 60)))

    killed(tmp_path / "r", record)
    assert {"events-000001.journal", "events-000001.parquet"} <= set(names(tmp_path / "r"))
    assert sorted(ids(tmp_path / "r")) == list(range(60))
    assert "events-000001.journal" not in names(tmp_path / "r")


def test_a_torn_journal_and_a_parquet_file_without_footer(tmp_path: Path) -> None:
    def record(writer: RecordingWriter) -> None:
        writer.write_events(events(range(20)))
        with open(writer.path / "events-000001.journal", "ab") as journal:
            journal.write(b"\xff\xff\xff\xff\x00\x01")
        (writer.path / "events-000000.parquet").write_bytes(b"PAR1 torn")

    killed(tmp_path / "r", record)
    assert sorted(ids(tmp_path / "r")) == list(range(20))
    assert "events-000000.parquet.damaged" in names(tmp_path / "r")


def test_a_journal_with_nothing_whole_leaves_no_file(tmp_path: Path) -> None:
    def record(writer: RecordingWriter) -> None:
        (writer.path / "events-000001.journal").write_bytes(b"x")

    killed(tmp_path / "r", record)
    assert ids(tmp_path / "r") == []
    assert names(tmp_path / "r") == ["manifest.json"]


def test_recovery_writes_through_no_link(tmp_path: Path) -> None:
    (tmp_path / "victim").write_text("secret")

    def record(writer: RecordingWriter) -> None:
        writer.write_events(events(range(20)))
        partial = writer.path / "events-000001.parquet.partial"
        partial.unlink(missing_ok=True)
        partial.symlink_to(tmp_path / "victim")

    killed(tmp_path / "r", record)
    assert sorted(ids(tmp_path / "r")) == list(range(20))
    assert (tmp_path / "victim").read_text() == "secret"


@needs_root
def test_another_users_killed_recording_is_read_and_left_alone(tmp_path: Path) -> None:
    killed(tmp_path / "r", lambda writer: writer.write_events(events(range(20))))
    for path in (tmp_path / "r", *(tmp_path / "r").iterdir()):
        os.chown(path, 1, 1)
    before = {path.name: path.stat().st_mtime_ns for path in (tmp_path / "r").iterdir()}
    with open_recording(tmp_path / "r", me()) as recording:
        assert recording.table("select id from events").num_rows == 20
        assert recording.manifest is not None
        assert recording.manifest.state is State.RECOVERED
        assert recording.manifest.status.end == EPOCH + 19
    assert before == {path.name: path.stat().st_mtime_ns for path in (tmp_path / "r").iterdir()}


@needs_root
def test_files_belong_to_the_invoking_user_also_after_recovery(tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    user = User(65534, 65534, Path("/nonexistent"), "nobody")

    def owners() -> set[tuple[int, int, int]]:
        stats = [path.stat() for path in (tmp_path / "r").iterdir()]
        return {(s.st_uid, s.st_gid, s.st_mode & 0o777) for s in stats}

    child = os.fork()
    if child == 0:
        writer = RecordingWriter.create(tmp_path / "r", user, header(), SMALL)
        writer.write_events(events(range(75)))
        writer.write_events(events(range(75, 80)))
        writer.write_stacks([Stack(1, [])])
        writer.write_processes([ProcessRow(1)])
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    assert len(names(tmp_path / "r")) == 5
    assert owners() == {(65534, 65534, 0o600)}
    with open_recording(tmp_path / "r", user) as recording:
        assert recording.table("select id from events").num_rows == 80
    assert not [name for name in names(tmp_path / "r") if "journal" in name]
    assert owners() == {(65534, 65534, 0o600)}


def test_a_file_size_limit_ends_in_one_line_and_loses_nothing_journalled(tmp_path: Path) -> None:
    writer = create(tmp_path / "r", StoreOptions())
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    taken = 0
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, limit[1]))
    try:
        with pytest.raises(DiskFullError, match=r"\A[^\n]*file size limit[^\n]*\Z"):
            for at in range(0, 100_000, 100):
                writer.write_events(events(range(at, at + 100)))
                taken += 100
        writer.close(status(), State.FAILED, "the disk is full")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
    assert taken
    assert sorted(ids(tmp_path / "r")) == list(range(taken))


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    path = tmp_path / "disk"
    path.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", "size=2m,mode=0700", "tmpfs", str(path)]
    if os.geteuid() != 0 or subprocess.run(command, capture_output=True).returncode:
        pytest.skip("needs root and mount(8): a small file system")
    yield path
    subprocess.run(["umount", "-l", str(path)], check=True)


def test_a_full_disk_keeps_what_was_taken(tiny_disk: Path) -> None:
    writer = create(tiny_disk / "r", StoreOptions(rows_per_file=5_000, row_group_rows=1_000))
    with pytest.raises(DiskFullError, match=r"\A[^\n]*the disk is full[^\n]*\Z"):
        for at in range(0, 10_000_000, 1_000):
            writer.write_events(events(range(at, at + 1_000)))
    taken = writer.events_written  # the last batch may be safe although finishing its file was not
    assert taken > 5_000
    try:
        writer.close(status(), State.FAILED, "the disk is full")
    except StacksError as error:
        assert "\n" not in str(error)
    # Now and with room to recover: exactly what was taken.
    assert sorted(ids(tiny_disk / "r")) == list(range(taken))
    subprocess.run(["mount", "-o", "remount,size=16m", str(tiny_disk)], check=True)
    assert sorted(ids(tiny_disk / "r")) == list(range(taken))
    assert not [name for name in names(tiny_disk / "r") if "journal" in name or "partial" in name]
    fd = os.open(tiny_disk / "r", os.O_RDONLY)
    assert read_manifest(fd).state in (State.FAILED, State.RECOVERED)
    os.close(fd)


def test_a_folder_in_use_is_not_taken_twice(tmp_path: Path) -> None:
    create(tmp_path / "r").close(status())
    with pytest.raises(UsageError, match="not empty"):
        create(tmp_path / "r")


@pytest.mark.parametrize(
    "options", [StoreOptions(0), StoreOptions(compression="x"), StoreOptions(row_group_rows=-1)]
)
def test_bad_options_make_no_folder(tmp_path: Path, options: StoreOptions) -> None:
    with pytest.raises(UsageError):
        create(tmp_path / "r", options)
    assert not (tmp_path / "r").exists()


def test_new_recordings_go_to_the_users_folder_and_the_last_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    with pytest.raises(UsageError, match="no recording"):
        last_recording(me())
    made = []
    for _ in range(3):  # mostly within one second
        writer = RecordingWriter.create(None, me(), header("job"))
        writer.close(status())
        made.append(writer.path)
    assert len(set(made)) == 3
    (tmp_path / "stacks-tui" / "99999999-no-manifest").mkdir()
    assert last_recording(me()) == made[-1]


def test_a_table_that_could_not_be_finished_is_never_called_finished(tmp_path: Path) -> None:
    for early in (True, False):
        path = tmp_path / str(early)
        writer = create(path)
        writer.write_events(events([1, 2]))
        (path / "events-000001.parquet.partial").symlink_to("victim")
        if early:
            with pytest.raises(StacksError, match="partial"):
                writer.finish_tables()
        with pytest.raises(StacksError, match="partial"):
            writer.close(status(2, 2))
        fd = os.open(path, os.O_RDONLY)
        manifest = read_manifest(fd)
        os.close(fd)
        assert manifest.state is State.FAILED and "partial" in str(manifest.reason)
        assert sorted(ids(path)) == [1, 2]
        assert not (path / "victim").exists()


def test_closing_twice_is_refused(tmp_path: Path) -> None:
    writer = create(tmp_path / "r")
    writer.close(status())
    with pytest.raises(StacksError, match="closed"):
        writer.close(status())


@pytest.mark.parametrize(
    ("text", "expected"), [("a\udcffb", "a\\xffb"), ("\ud800", "\\ud800"), ("é\0", "é\0")]
)
def test_text_that_is_not_unicode_is_made_so(text: str, expected: str) -> None:
    assert valid_text(text) == expected
