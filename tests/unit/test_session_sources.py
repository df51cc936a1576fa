"""The queues between screen and collector, and a recording as a source."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from live_events import OFFSET, batches, story
from store_rows import header, me
from test_session_protocol import ROWS, snapshot

from stacks_tui.live.snapshot import Collecting, Snapshot, Table
from stacks_tui.live.view import ALL, Group, Panel, Tab, View
from stacks_tui.session.outbox import MOST_WAITING, Outbox
from stacks_tui.session.playback import RecordingSource
from stacks_tui.session.program_output import ProgramOutput
from stacks_tui.session.protocol import (
    DropProgram,
    Ended,
    Frame,
    FrameReader,
    LogLine,
    Note,
    Opened,
    Phase,
    SetView,
    Stop,
)
from stacks_tui.session.supervisor import FrameQueue
from stacks_tui.store.manifest import KindCounts, RecordingStatus
from stacks_tui.store.writer import RecordingWriter


def number(of: int) -> Snapshot:
    return replace(snapshot(ROWS[1]), number=of)


def test_only_the_newest_snapshot_waits_for_a_reader_who_stands_still() -> None:
    read, write = os.pipe()
    outbox = Outbox(write)
    outbox.send(Phase("x" * 300_000))  # more than the pipe holds
    for at in range(100):
        outbox.send(number(at))
        outbox.send(LogLine(str(at)))
    outbox.send(Ended("/r"))
    closing = threading.Thread(target=outbox.close)
    closing.start()
    reader = FrameReader()
    found: list[Frame] = []
    while data := os.read(read, 1 << 16):
        found += reader.feed(data)
    closing.join()
    os.close(read)
    assert isinstance(found[0], Phase)
    snapshots = [frame.number for frame in found if isinstance(frame, Snapshot)]
    assert snapshots == [99]
    assert [frame.text for frame in found if isinstance(frame, LogLine)] == list(
        map(str, range(100))
    )
    assert found[-1] == Ended("/r")


def test_log_lines_give_way_before_what_matters() -> None:
    read, write = os.pipe()
    outbox = Outbox(write)
    outbox.send(Phase("x" * 300_000))
    outbox.send(Note("kept"))
    for at in range(2 * MOST_WAITING):
        outbox.send(LogLine(str(at)))
    threading.Thread(target=outbox.close, daemon=True).start()
    reader = FrameReader()
    found: list[Frame] = []
    while data := os.read(read, 1 << 16):
        found += reader.feed(data)
    os.close(read)
    assert Note("kept") in found
    assert len(found) <= MOST_WAITING + 2
    assert found[-1] == LogLine(str(2 * MOST_WAITING - 1))


def test_a_reader_who_is_gone_is_noticed() -> None:
    read, write = os.pipe()
    outbox = Outbox(write)
    os.close(read)
    outbox.send(Phase("a"))
    outbox.close()
    assert outbox.broken


def test_frames_are_taken_in_turn_up_to_the_end() -> None:
    frames = FrameQueue()
    assert frames.take(0) is None
    for frame in (Phase("a"), number(1), number(2), Note("b"), number(3), Ended(), Note("late")):
        frames.put(frame)
    assert list(frames.all()) == [Phase("a"), number(2), Note("b"), number(3), Ended()]
    assert frames.take() is None


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("sources") / "r"
    told = story(5000, 30)
    head = replace(header(), begin=OFFSET, programs=("profile:u:99", "vfs:u", "odd:thing"))
    writer = RecordingWriter.create(path, me(), head)
    writer.write_events(batches().arrow(told.events))
    writer.write_stacks(told.stacks)
    writer.finish_tables()
    kinds = {"vfs_read": KindCounts(received=500, lost=3, gaps=((OFFSET, OFFSET + 9),))}
    writer.close(RecordingStatus(OFFSET + 30 * 10**9 - 1, kinds))
    return path


@pytest.fixture
def source(recording: Path) -> Iterator[RecordingSource]:
    opened = RecordingSource(recording, View(tab=Tab.VFS, window=ALL))
    yield opened
    opened.close()


def snapshots(source: RecordingSource) -> Iterator[Snapshot]:
    for frame in source.frames():
        if isinstance(frame, Snapshot):
            yield frame


def test_a_recording_answers_views_and_ends(source: RecordingSource, recording: Path) -> None:
    assert source.poll(30) == Phase("opening")
    assert source.poll(30) == Opened(str(recording), live=False)
    first = next(snapshots(source))
    assert isinstance(first.rows, Table) and first.rows.total > 0 and not first.live
    seen = first
    while not seen.gauges:
        seen = next(snapshots(source))
    assert seen.rows == first.rows
    assert seen.trust.lost == 3 and seen.trust.losses[0].kind == "vfs_read"
    assert seen.trust.complete is not None and 0 < seen.trust.complete < 1
    assert (seen.processes, seen.threads) == (6, 24)
    states = {one.program: one for one in seen.programs}
    assert states["profile"].state is Collecting.ON
    assert states["vfs"].spec == "vfs:u"
    assert {one.name for one in seen.gauges} >= {"cpu", "blocked", "runnable", "rss", "read"}
    source.post(DropProgram("vfs"))
    wanted = View(tab=Tab.BLOCKED, group=Group.THREAD, window=ALL)
    source.post(SetView(View(panel=Panel.TIMELINE)))
    source.post(SetView(wanted))
    frames: list[Frame] = []
    while not frames or not (isinstance(frames[-1], Snapshot) and frames[-1].view == wanted):
        frame = source.poll(30)
        assert frame is not None
        frames.append(frame)
    assert any(isinstance(frame, Note) for frame in frames)
    source.post(Stop())
    *_, ended = source.frames()
    assert ended == Ended(str(recording))
    assert source.poll(0) is None


def test_a_wrong_filter_is_a_note_and_the_next_view_is_answered(source: RecordingSource) -> None:
    source.post(SetView(View(filter="/(/")))
    found = next(one for one in snapshots(source) if one.view.filter)
    assert found.rows is None and "/(/" in found.note
    source.post(SetView(View(window=ALL, filter="poll_loop")))
    found = next(one for one in snapshots(source) if one.view.filter == "poll_loop")
    assert found.rows is not None and not found.note


def test_what_cannot_be_opened_is_told(tmp_path: Path) -> None:
    source = RecordingSource(tmp_path / "none")
    *_, ended = source.frames()
    source.close()
    assert isinstance(ended, Ended)
    assert (ended.exit_code, ended.crashed) == (2, False)
    assert "none" in ended.failure


def test_a_damaged_comparison_is_a_note(source: RecordingSource, tmp_path: Path) -> None:
    from stacks_tui.live.view import Side

    gone = str(tmp_path / "gone")
    source.post(SetView(View(a=Side(ALL), b=Side(ALL, recording=gone))))
    found = next(one for one in snapshots(source) if one.view.compares)
    assert found.rows is None and gone in found.note


def test_the_output_of_a_program_lands_in_the_recording(tmp_path: Path) -> None:
    directory = tmp_path / "r"
    with ProgramOutput(directory, me()) as output:
        with output.as_standard_streams():
            os.write(1, b"out")
            os.write(2, b"err")
            assert os.read(0, 1) == b""
        directory.mkdir()
        assert output.put_into(directory) == str(directory)
    assert (directory / "program.out").read_bytes() == b"out"
    assert (directory / "program.err").read_bytes() == b"err"
    assert (directory / "program.out").stat().st_mode & 0o777 == 0o600


def test_where_files_can_t_be_the_output_goes_nowhere(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with ProgramOutput(tmp_path / "file" / "r", me()) as output:
        with output.as_standard_streams():
            os.write(1, b"nowhere")
        assert output.put_into(tmp_path) == os.devnull
