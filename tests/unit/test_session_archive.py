"""Questions about a recording that is still written: its answers, their bounds, and the end."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TypeVar

import pytest
from store_rows import EPOCH, Frame, Stack, events, header, me

from stacks_tui.errors import StacksError
from stacks_tui.live import recorded
from stacks_tui.live.answers import answer
from stacks_tui.live.recorded import RecordedTotals
from stacks_tui.live.snapshot import Table, Timeline
from stacks_tui.live.view import Group, Instance, Panel, Tab, View
from stacks_tui.session import archive as archives
from stacks_tui.session.archive import READING, READING_STRIPS, WRITTEN_NS, Archive
from stacks_tui.store import reader
from stacks_tui.store.manifest import RecordingStatus
from stacks_tui.store.queries import Query, load_query
from stacks_tui.store.reader import open_recording
from stacks_tui.store.writer import RecordingWriter, StoreOptions

S = 10**9
PATIENCE_S = 60
MINE = View(panel=Panel.TIMELINE, filter="thread:mine")
T = TypeVar("T")


class Growing:
    """A recording; in each second there are two samples of `mine`, and one of `other`."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.seconds = 0
        self._closed = False
        self._writer = RecordingWriter.create(
            directory, me(), header(), StoreOptions(rows_per_file=20)
        )

    def grow(self, seconds: int, *, span_id: int | None = None) -> None:
        begin, self.seconds = self.seconds, self.seconds + seconds
        for at in range(begin, self.seconds):
            times = [at * S + 1, at * S + S // 2]
            name = None if span_id is None else "work"
            self._writer.write_events(
                events(times, thread="mine", ustack=1, span_id=span_id, trace_name=name)
            )
            self._writer.write_events(events([at * S + 2], thread="other", pid=102, ustack=1))
        self._writer.write_stacks([Stack(1, (Frame("leaf"), Frame("main")))] * (begin == 0))
        self._writer.flush(RecordingStatus(EPOCH + self.seconds * S))

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._writer.close(RecordingStatus(EPOCH + self.seconds * S))


@pytest.fixture
def growing(tmp_path: Path) -> Iterator[Growing]:
    found = Growing(tmp_path / "r")
    yield found
    found.close()


@pytest.fixture
def archive(growing: Growing) -> Iterator[Archive]:
    found = Archive(growing.directory)
    yield found
    found.close()


@pytest.fixture
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """An answer is old as soon as it is given."""
    monkeypatch.setattr(archives, "AGAIN_S", 0.0)
    monkeypatch.setattr(archives, "SHARE", 0)


@contextmanager
def slow(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A query of strips that begins now goes on for hours."""

    def hours(name: str) -> Query:
        return replace(
            load_query(name),
            sql="select 0::bigint as step, 'profile' as kind, sum(a.range + b.range)::bigint"
            " as count, 0::bigint as duration, 0::bigint as amount"
            " from range(100000000000) a, range(1000) b where a.range % 7 = 3",
        )

    with monkeypatch.context() as patched:
        patched.setattr(recorded, "load_query", hours)
        yield


def until(what: Callable[[], T | None]) -> T:
    """What it is once it is so."""
    end = time.monotonic() + PATIENCE_S
    while not (found := what()):
        assert time.monotonic() < end, "it never came"
        time.sleep(0.01)
    return found


def told(archive: Archive, view: View) -> Timeline | str:
    """The strips, or why there are none."""
    try:
        return archive.timeline(view)
    except StacksError as error:
        return str(error)


def strips(archive: Archive, view: View, second: int = 0) -> Timeline:
    """The strips up to this second."""

    def found() -> Timeline | None:
        now = told(archive, view)
        assert isinstance(now, Timeline) or now == READING_STRIPS
        ready = isinstance(now, Timeline) and now.until == (EPOCH + second * S) * bool(second)
        return now if ready and isinstance(now, Timeline) else None

    return until(found)


def test_strips_grow_with_the_recording_as_far_as_all_is_written(
    growing: Growing, archive: Archive, at_once: None
) -> None:
    growing.grow(10)
    lag = WRITTEN_NS // S
    assert told(archive, MINE) == READING_STRIPS  # nobody waits for it
    for _ in range(3):
        end = growing.seconds - lag
        found = strips(archive, MINE, end)
        (strip,) = found.strips
        assert (found.begin, found.step_s) == (EPOCH, 1)
        assert (strip.kind, strip.counts) == ("profile", (2,) * end)
        assert strip.values == (20,) * end
        growing.grow(7)
    growing.close()
    whole = strips(archive, MINE)
    assert whole.strips[0].counts == (*(2,) * growing.seconds, 0)  # the second in which it ended
    with open_recording(growing.directory, me()) as recording:
        assert whole == RecordedTotals(recording).timeline(MINE)


@pytest.mark.parametrize(
    ("view", "each"),
    [
        (View(filter="!thread:mine"), 1),
        (View(filter="frame:leaf"), 3),
        (View(tgid=100), 3),
        (View(tgid=100, pid=102), 1),
        (View(tgid=99), 0),
    ],
)
def test_strips_are_of_what_passes(
    growing: Growing, archive: Archive, view: View, each: int
) -> None:
    growing.grow(9)
    found = strips(archive, view, 6)
    assert [strip.counts for strip in found.strips] == [(each,) * 6] * bool(each)


def test_what_does_not_narrow_is_no_other_question(
    growing: Growing, archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = []

    def counted(*args: object, **more: object) -> object:
        asked.append(args)
        return open_recording(*args, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(reader, "open_recording", counted)
    monkeypatch.setattr(archives, "AGAIN_S", 3600.0)
    growing.grow(9)
    first = strips(archive, MINE, 6)
    for view in (replace(MINE, tab=Tab.RSS), replace(MINE, selected="r1", sort="label")):
        assert told(archive, view) is first
    time.sleep(0.2)
    assert len(asked) == 1


def test_a_wrong_filter_is_told_and_the_next_is_answered(
    growing: Growing, archive: Archive
) -> None:
    growing.grow(5)
    wrong = replace(MINE, filter="/(/")
    assert "no regular expression" in str(until(lambda: told(archive, wrong) != READING_STRIPS
                                                and told(archive, wrong)))  # fmt: skip
    assert strips(archive, MINE, 2).strips


def test_what_needs_too_much_memory_says_so(
    growing: Growing, monkeypatch: pytest.MonkeyPatch
) -> None:
    growing.grow(5)
    held = "select max(len(a))::bigint as step, 'profile' as kind, 1::bigint as count, 0::bigint as"
    held += " duration, 0::bigint as amount from (select list(range) as a from range(50000000))"
    with monkeypatch.context() as patched:
        patched.setattr(recorded, "load_query", lambda name: replace(load_query(name), sql=held))
        archive = Archive(growing.directory, 64 << 20)
        said = until(lambda: (now := told(archive, MINE)) != READING_STRIPS and now)
        assert isinstance(said, str)
        assert "memory" in said.lower()
    other = replace(MINE, filter="thread:other")
    assert strips(archive, other, 2).strips[0].counts == (1, 1)
    archive.close()


def test_a_newer_question_takes_the_place_of_one_that_runs(
    growing: Growing, archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    growing.grow(9)
    with slow(monkeypatch):
        assert told(archive, MINE) == READING_STRIPS
        until(lambda: archive._recording)
        time.sleep(0.2)
    other = replace(MINE, filter="thread:other")
    assert strips(archive, other, 6).strips[0].counts == (1,) * 6
    assert strips(archive, MINE, 6).strips[0].counts == (2,) * 6  # not what was broken off


def test_closing_while_it_works_ends_the_thread_and_closes_the_files(
    growing: Growing, archive: Archive, monkeypatch: pytest.MonkeyPatch
) -> None:
    growing.grow(9)
    before = len(os.listdir("/proc/self/fd"))
    with slow(monkeypatch):
        told(archive, MINE)
        until(lambda: archive._recording)
        time.sleep(0.2)
        archive.close()
    thread = archive._thread
    assert thread is not None
    until(lambda: not thread.is_alive())
    assert len(os.listdir("/proc/self/fd")) == before


def test_it_works_behind_everything_else(growing: Growing, archive: Archive) -> None:
    growing.grow(5)
    strips(archive, MINE, 2)
    thread = archive._thread
    assert thread is not None
    assert thread.native_id is not None
    assert os.getpriority(os.PRIO_PROCESS, thread.native_id) >= 10


def test_a_span_that_is_open_gains_and_one_that_is_over_is_asked_once(
    growing: Growing, archive: Archive, at_once: None
) -> None:
    growing.grow(4)
    growing.grow(5, span_id=7)
    one = Instance(100, 7, EPOCH + 4 * S, 0, "work")
    view = View(tab=Tab.CPU, group=Group.THREAD, instance=one)
    assert archive.answer(view)[1].note == READING

    def counted(number: int) -> Callable[[], bool]:
        def seen() -> bool:
            rows = archive.answer(view)[1].rows
            return isinstance(rows, Table) and [row.count for row in rows.rows] == [number]

        return seen

    until(counted(10))
    growing.grow(2, span_id=7)
    until(counted(14))
    growing.grow(2)
    view = replace(view, instance=replace(one, until=EPOCH + 11 * S))
    until(counted(14))
    found = archive.answer(view)
    growing.close()
    time.sleep(0.1)
    assert archive.answer(view) is found
    with open_recording(growing.directory, me()) as recording:
        totals = RecordedTotals(recording)
        assert answer(totals, view, totals.timeline).rows == found[1].rows


def test_what_is_no_recording_is_told(tmp_path: Path) -> None:
    archive = Archive(tmp_path / "nothing")
    said = until(lambda: (now := told(archive, MINE)) != READING_STRIPS and now)
    assert "can't open" in str(said)
    archive.close()
