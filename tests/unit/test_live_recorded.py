"""One session, live and reopened: every panel of every view has equal rows."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import pyarrow as pa
import pytest
from live_events import OFFSET, Story, batches, story, write_story
from store_rows import me

from stacks_tui.enrich.processes import ProcessRow
from stacks_tui.kinds import Kind
from stacks_tui.live.answers import answer
from stacks_tui.live.model import LiveModel
from stacks_tui.live.recorded import RecordedTotals
from stacks_tui.live.snapshot import Panels, Table, Timeline
from stacks_tui.live.view import (
    ALL,
    Group,
    Measure,
    Panel,
    Side,
    StackPart,
    Tab,
    View,
    Window,
)
from stacks_tui.python.shown import Shown
from stacks_tui.store.queries import load_query, query_names
from stacks_tui.store.reader import Recording, open_recording

SECONDS = 95
PROCESSES = (
    ProcessRow(1000, OFFSET, None, 1, "job1", "job --one", "/usr/bin/job", None, "/a", "box"),
    ProcessRow(1001, OFFSET, OFFSET + 50 * 10**9, 1000, "job2", "job --two", None, None, "/a/b"),
)


@pytest.fixture(scope="module")
def told() -> Story:
    return story(20_000, SECONDS, seed=11)


@pytest.fixture(scope="module")
def live(told: Story) -> LiveModel:
    model = LiveModel()
    model.begin(OFFSET)
    arrow = batches()
    model.stacks(told.stacks)
    for at in range(0, len(told.events), 1700):
        part = told.events[at : at + 1700]
        model.events(part, arrow.arrow(part))
    model.set_processes(PROCESSES)
    assert model.failure is None
    return model


@pytest.fixture(scope="module")
def recording(told: Story, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Recording]:
    path = write_story(tmp_path_factory.mktemp("recorded") / "r", told, SECONDS, PROCESSES)
    with open_recording(path, me()) as opened:
        yield opened


@pytest.fixture(scope="module")
def reopened(recording: Recording) -> RecordedTotals:
    return RecordedTotals(recording)


def both(live: LiveModel, reopened: RecordedTotals, view: View) -> tuple[Panels, Panels]:
    first = answer(live.view(), view, live.timeline)
    second = answer(reopened, view, reopened.timeline)
    assert (first.begin, first.end, first.note) == (second.begin, second.end, second.note)
    assert first.rows is not None and second.rows is not None
    return first.rows, second.rows


WINDOWS = (
    ALL,
    Window(10),
    Window(60),
    Window(0, OFFSET + 40 * 10**9, OFFSET + 55 * 10**9),
)
TABS = [tab for tab in Tab if tab is not Tab.SPANS]


@pytest.mark.parametrize("tab", TABS)
@pytest.mark.parametrize("group", list(Group))
def test_tables_are_equal(
    live: LiveModel, reopened: RecordedTotals, tab: Tab, group: Group
) -> None:
    for window in WINDOWS:
        first, second = both(live, reopened, View(tab=tab, group=group, window=window, top=40))
        assert first == second
        assert isinstance(first, Table) and first.rows


@pytest.mark.parametrize(
    "view",
    [
        View(panel=Panel.FLAME),
        View(panel=Panel.TREE, inverted=True, tab=Tab.BLOCKED),
        View(panel=Panel.FLAME, tab=Tab.RSS, minimum_share=0.01),
        View(panel=Panel.PROCESSES),
        View(panel=Panel.PROCESSES, by_thread=True, sort="runnable_ns", reverse=True),
        View(panel=Panel.HISTOGRAM, tab=Tab.BLOCKED),
        View(panel=Panel.HISTOGRAM, tab=Tab.RUNNABLE),
        View(panel=Panel.HISTOGRAM, tab=Tab.BLOCK, measure=Measure.DURATION),
        View(panel=Panel.HISTOGRAM, tab=Tab.NET),
        View(tab=Tab.VFS, kinds=("vfs_write",), measure=Measure.COUNT, sort="count"),
        View(filter="frame:/^js/ !process:job0 thread:worker", sort="label"),
        View(tab=Tab.BLOCKED, filter="futex", stack_part=StackPart.KERNEL, sort="total"),
        View(tgid=1002, pid=10021, group=Group.LEAF, sort="total", reverse=True),
        View(group=Group.LEAF, sort="change", a=Side(Window(10)), b=Side(Window(60), tgid=1001)),
        View(panel=Panel.FLAME, a=Side(ALL, tgid=1000), b=Side(ALL, tgid=1003)),
        View(group=Group.PROCESS, a=Side(Window(60)), b=Side(ALL)),
        View(shown=Shown.PYTHON),
        View(shown=Shown.NATIVE, filter="frame:EvalFrame"),
        View(shown=Shown.PYTHON, group=Group.LEAF, tab=Tab.BLOCKED, filter="futex"),
        View(shown=Shown.NATIVE, group=Group.MODULE, stack_part=StackPart.USER),
        View(shown=Shown.PYTHON, group=Group.WAKER, tab=Tab.BLOCKED),
        View(shown=Shown.PYTHON, panel=Panel.FLAME),
        View(shown=Shown.NATIVE, panel=Panel.TREE, inverted=True),
    ],
)
def test_panels_filters_and_comparisons_are_equal(
    live: LiveModel, reopened: RecordedTotals, view: View
) -> None:
    for window in WINDOWS:
        first, second = both(live, reopened, replace(view, window=window))
        assert first == second


def test_the_timeline_is_equal_but_for_the_running_second(
    live: LiveModel, reopened: RecordedTotals
) -> None:
    first, second = live.timeline(), reopened.timeline()
    assert isinstance(second, Timeline)
    assert (first.begin, first.step_s) == (second.begin, second.step_s)
    for mine, theirs in zip(first.strips, second.strips, strict=True):
        assert (mine.kind, mine.unit) == (theirs.kind, theirs.unit)
        assert mine.values == theirs.values[: len(mine.values)]
        assert mine.counts == theirs.counts[: len(mine.counts)]
        assert len(mine.counts) == SECONDS - 1


def test_details_are_equal(live: LiveModel, reopened: RecordedTotals) -> None:
    view = View(tab=Tab.BLOCKED, group=Group.STACK, window=Window(60))
    for shown in Shown:
        view = replace(view, shown=shown, selected="")
        rows, _ = both(live, reopened, view)
        assert isinstance(rows, Table)
        view = replace(view, selected=rows.rows[1].key)
        first = answer(live.view(), view, live.timeline).detail
        second = answer(reopened, view, reopened.timeline).detail
        assert first is not None
        assert first == second
        if shown is Shown.PYTHON:
            assert {frame.module for frame in first.frames} <= {"[python]"}


def test_shares_are_equal(live: LiveModel, recording: Recording) -> None:
    rows = recording.ask("screen/shares").to_pylist()
    sums = {name: sum(row[name] for row in rows) for name in rows[0] if name != "kind"}
    shares = live.shares()
    assert shares.truncated == sums["truncated"] / sums["stacked"]
    assert shares.unresolved == sums["unresolved"] / sums["stacked"]
    assert shares.complete == sums["complete"] / sums["user_stacked"]
    assert sums["count"] == 20_000
    assert 0 < sums["truncated"] < sums["stacked"]


def test_two_recordings_are_compared(recording: Recording, reopened: RecordedTotals) -> None:
    view = View(window=ALL, a=Side(ALL), b=Side(ALL, recording="other"), top=1000)
    with open_recording(recording.path, me()) as again:
        other = RecordedTotals(again, reopened.stacks)
        found = answer(reopened, view, reopened.timeline, lambda path: other).rows
    assert isinstance(found, Table)
    assert found.rows
    assert all((row.own, row.count) == (row.b_own, row.b_count) for row in found.rows)
    assert found.total == found.b_total > 0


def test_live_sessions_refuse_other_recordings(live: LiveModel) -> None:
    view = View(a=Side(ALL), b=Side(ALL, recording="/r"))
    found = answer(live.view(), view, live.timeline)
    assert found.rows is None
    assert "recording" in found.note


@pytest.mark.parametrize("name", query_names("screen"))
def test_the_heads_of_queries_declare_what_they_use(name: str, recording: Recording) -> None:
    query = load_query(name)
    values: dict[str, object] = {
        "every": False, "begin": OFFSET, "end": OFFSET + 10**10, "step": 10**9, "ids": [100],
        "kept": 1, "most": 1, "tgid": None, "span": None, "since": 0, "until": 0,
        **{f"kind_{letter}": Kind.WAIT.label for letter in "abcd"},
    }  # fmt: skip
    declared = {parameter for parameter, _ in query.parameters}
    found = recording.ask(name, **{key: values[key] for key in declared})  # type: ignore[arg-type]
    assert tuple(found.column_names) == tuple(column for column, _ in query.columns)
    assert isinstance(found, pa.Table)
    assert found.num_rows or name.startswith("screen/span_")  # the story has no spans
