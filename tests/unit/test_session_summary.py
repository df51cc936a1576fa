"""A recording summed up: shares of the right whole, losses, and how it ended."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import store_rows as rows

from stacks_tui.kinds import Kind
from stacks_tui.session.status import TopStack
from stacks_tui.session.summary import bytes_on_disk, summarize
from stacks_tui.store.manifest import KindCounts, RecordingStatus, State, Totals
from stacks_tui.store.writer import RecordingWriter


def recording(path: Path, state: State = State.FINISHED) -> None:
    header = replace(rows.header(), programs=("profile:u:99", "rss:u:29"))
    writer = RecordingWriter.create(path, rows.me(), header)
    stacks = [
        rows.Stack(1, [rows.Frame("leaf"), rows.Frame("main")]),
        rows.Stack(2, [rows.Frame("[0x1234]")], complete=False, truncated=True),
        rows.Stack(3, [rows.Frame("leaf", address=1), rows.Frame("main")]),
    ]
    writer.write_stacks(stacks)
    writer.write_events(rows.events([10, 20], ustack=1))
    writer.write_events(rows.events([30], ustack=3))
    writer.write_events(rows.events([40], ustack=2))
    writer.write_events(rows.events([50, 60], kind="vfs_read", amount=512))
    status = RecordingStatus(
        rows.EPOCH + 2 * 10**9,
        {
            "profile": KindCounts(received=4, lost=3),
            "vfs_read": KindCounts(received=2),
            "tcp_send": KindCounts(lost=9),
        },
        Totals(stacks=2, stacks_lost=5),
    )
    writer.close(status, state, "no space left" if state is State.FAILED else None)


def test_counts_shares_and_stacks(tmp_path: Path) -> None:
    recording(tmp_path / "r")
    outcome = summarize(tmp_path / "r")
    profile, rss, vfs, tcp = outcome.kinds
    assert (profile.kind, profile.events, profile.lost) == (Kind.PROFILE, 4, 3)
    assert (profile.truncated, profile.unresolved, profile.incomplete) == (0.25, 0.25, 0.25)
    assert profile.top == (
        TopStack(30, "ns", ("leaf", "main")),  # two addresses in leaf, one path
        TopStack(10, "ns", ("[0x1234]",)),
    )
    # a kind that was asked for is named though nothing happened
    assert (rss.kind, rss.events, rss.lost, rss.truncated) == (Kind.RSS, 0, 0, None)
    # no stack was taken: no share, and no list of stacks
    assert (vfs.kind, vfs.events, vfs.truncated, vfs.top) == (Kind.VFS_READ, 2, None, ())
    # a kind of which everything was lost is still named
    assert (tcp.kind, tcp.events, tcp.lost) == (Kind.TCP_SEND, 0, 9)
    assert outcome.elapsed_s == 2.0
    assert outcome.bytes_on_disk == bytes_on_disk(tmp_path / "r") > 0
    assert any("5 stacks were lost" in note for note in outcome.notes)


def test_a_recorder_that_failed_is_noted(tmp_path: Path) -> None:
    recording(tmp_path / "r", State.FAILED)
    notes = summarize(tmp_path / "r").notes
    assert "its recorder stopped early: no space left" in notes


def test_the_last_recording_is_the_default(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    monkeypatch.delenv("SUDO_UID", raising=False)
    for name in ("20250101-000000-a", "20250102-000000-b"):
        recording(tmp_path / "stacks-tui" / name)
    assert summarize().directory.name == "20250102-000000-b"
