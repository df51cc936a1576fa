"""The SQL of a view gives the numbers that the view shows, for every view, window and filter."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from hashlib import blake2b
from typing import Any

import pytest
from live_events import OFFSET, story, write_story
from store_rows import me

from stacks_tui.enrich.processes import ProcessRow
from stacks_tui.kinds import Kind
from stacks_tui.live.answers import answer
from stacks_tui.live.measures import TABS as TABS_KINDS
from stacks_tui.live.measures import kind_value
from stacks_tui.live.recorded import RecordedTotals
from stacks_tui.live.snapshot import Graph, Histogram, Processes, Table, Timeline
from stacks_tui.live.view import ALL, Group, Measure, Panel, Side, StackPart, Tab, View, Window
from stacks_tui.python.shown import Shown
from stacks_tui.store.reader import Recording, open_recording
from stacks_tui.tui.view_sql import sql_of

SECONDS = 45
TABS = [tab for tab in Tab if tab is not Tab.SPANS]
BRUSHED = Window(0, OFFSET + 20 * 10**9, OFFSET + 31 * 10**9)
EVERY = 10**6
FILTERS = (
    "futex",
    "!futex",
    "frame:/^js::|^メ/ !process:job0 thread:worker",
    "reason:epoll",
    "!reason:/futex|asleep/",
    "process=job1 !frame=main",
    'thread="worker 3"',
    "module:kernel",
    "1002",
    "process=1003",
    "cgroup:/b",
    "!cgroup:/b",
    "span:[no",
    "frame=[red]x",
    "frame:WRITE",
)


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Recording]:
    processes = (
        ProcessRow(1000, OFFSET, None, 1, "job1", "job --one", "/usr/bin/job", None, "/a", "box"),
        ProcessRow(1001, OFFSET, None, 1000, "job2", "job --two", None, None, "/a/b"),
        ProcessRow(1002, OFFSET, None, 1000, "job2", "job --two", None, None, "/a/b"),
    )
    told = story(6000, SECONDS, seed=5)
    path = write_story(tmp_path_factory.mktemp("sql") / "r", told, SECONDS, processes)
    with open_recording(path, me()) as opened:
        yield opened


@pytest.fixture(scope="module")
def totals(recording: Recording) -> RecordedTotals:
    return RecordedTotals(recording)


def key_of(path: list[dict[str, str]]) -> str:
    digest = blake2b(digest_size=8)
    for frame in path:
        for text in (frame["name"], frame["module"]):
            digest.update(text.encode() + b"\0")
    return digest.hexdigest()


def both(recording: Recording, totals: RecordedTotals, view: View) -> tuple[Any, list[Any]]:
    view = replace(view, top=EVERY)
    found = answer(totals, view, lambda: totals.timeline(view))
    assert not found.note
    return found.rows, recording.table(sql_of(view, found.begin, found.end)).to_pylist()


def same_rows(recording: Recording, totals: RecordedTotals, view: View) -> int:
    """How many rows were compared."""
    table, asked = both(recording, totals, view)
    assert isinstance(table, Table)
    key: Callable[[Any], Any] = {
        Group.STACK: lambda row: key_of(row["path"]),
        Group.LEAF: lambda row: key_of([row["f"]]),
        Group.PROCESS: lambda row: (row["label"], row["tgid"]),
        Group.THREAD: lambda row: (row["label"], row["pid"]),
        Group.WAKER: lambda row: (
            row["label"], row["waker"], tuple(one["name"] for one in row["wakers_stack"] or ())
        ),
    }.get(view.group, lambda row: row["label"])  # fmt: skip
    mine: Callable[[Any], Any] = {
        Group.STACK: lambda row: row.key,
        Group.LEAF: lambda row: row.key,
        Group.PROCESS: lambda row: (row.label, row.tgid),
        Group.THREAD: lambda row: (row.label, row.pid),
        Group.WAKER: lambda row: (row.label, row.pid, row.names),
    }.get(view.group, lambda row: row.label)
    functions = view.group in (Group.LEAF, Group.MODULE)
    told = {
        key(row): (row["value"], row["total"] if functions else row["value"], row["events"])
        for row in asked
    }
    shown = {mine(row): (row.own, row.total, row.count) for row in table.rows}
    if functions:  # whose events are counted is where they are the leaf
        told = {name: values[:2] for name, values in told.items()}  # type: ignore[misc]
        shown = {name: values[:2] for name, values in shown.items()}  # type: ignore[misc]
    assert told == shown
    return len(shown)


@pytest.mark.parametrize("tab", TABS)
@pytest.mark.parametrize("group", list(Group))
def test_tables(recording: Recording, totals: RecordedTotals, tab: Tab, group: Group) -> None:
    view = View(tab=tab, group=group, names=EVERY)
    for window in (ALL, BRUSHED):
        assert same_rows(recording, totals, replace(view, window=window))


@pytest.mark.parametrize("terms", FILTERS)
def test_filters(recording: Recording, totals: RecordedTotals, terms: str) -> None:
    view = View(filter=terms, window=ALL, names=EVERY)
    rows = [
        same_rows(recording, totals, replace(view, tab=tab, group=group))
        for tab in (Tab.CPU, Tab.BLOCKED, Tab.VFS)
        for group in (Group.STACK, Group.REASON)
    ]
    assert sum(rows)


@pytest.mark.parametrize("shown", list(Shown))
@pytest.mark.parametrize("part", list(StackPart))
def test_parts_of_stacks(
    recording: Recording, totals: RecordedTotals, shown: Shown, part: StackPart
) -> None:
    for group in (Group.STACK, Group.LEAF, Group.MODULE):
        view = View(tab=Tab.SLICES, group=group, shown=shown, stack_part=part, filter="!read")
        assert same_rows(recording, totals, view)


@pytest.mark.parametrize(
    "view",
    [
        View(tab=Tab.VFS, measure=Measure.DURATION, kinds=("vfs_read",)),
        View(tab=Tab.NET, measure=Measure.COUNT),
        View(tab=Tab.BLOCKED, tgid=1002, pid=10021),
        View(tab=Tab.BLOCKED, measure=Measure.COUNT, group=Group.REASON),
    ],
)
def test_measures_kinds_and_processes(
    recording: Recording, totals: RecordedTotals, view: View
) -> None:
    assert same_rows(recording, totals, view)


@pytest.mark.parametrize("inverted", [False, True])
@pytest.mark.parametrize("tab", [Tab.CPU, Tab.BLOCKED])
def test_trees_and_flames(
    recording: Recording, totals: RecordedTotals, tab: Tab, inverted: bool
) -> None:
    view = View(tab=tab, panel=Panel.FLAME, inverted=inverted, window=BRUSHED, filter="!メイン")
    graph, asked = both(recording, totals, view)
    assert isinstance(graph, Graph)
    ways: list[tuple[str, ...]] = [()]
    for node in graph.nodes[1:]:
        ways.append((*ways[node.parent], node.name))
    shown = sorted(
        (way, node.own, node.total, node.count)
        for way, node in zip(ways[1:], graph.nodes[1:], strict=True)
    )
    told = sorted(
        (tuple(one["name"] for one in row["way"]), row["value"], row["total"], row["events"])
        for row in asked
    )
    assert told == shown


@pytest.mark.parametrize("by_thread", [False, True])
@pytest.mark.parametrize("terms", ["", "!futex process:job1"])
def test_processes(
    recording: Recording, totals: RecordedTotals, by_thread: bool, terms: str
) -> None:
    view = View(panel=Panel.PROCESSES, by_thread=by_thread, filter=terms, sort="write")
    found, asked = both(recording, totals, view)
    assert isinstance(found, Processes)
    names = [name for name in asked[0] if name != "name"]
    shown = {(row.name, *(getattr(row, name) for name in names)) for row in found.rows}
    assert {(row["name"], *(row[name] for name in names)) for row in asked} == shown
    assert [row["write"] for row in asked] == [row.write for row in found.rows]


@pytest.mark.parametrize("tab", TABS)
def test_distributions(recording: Recording, totals: RecordedTotals, tab: Tab) -> None:
    found, asked = both(recording, totals, View(tab=tab, panel=Panel.HISTOGRAM, window=ALL))
    assert isinstance(found, Histogram)
    shown = {1 << at: count for at, count in enumerate(found.counts) if count}
    if found.by:
        assert {row["at_least"]: row["events"] for row in asked} == shown


@pytest.mark.parametrize("group", [Group.STACK, Group.LEAF, Group.PROCESS, Group.REASON])
def test_comparisons(recording: Recording, totals: RecordedTotals, group: Group) -> None:
    before, after = Side(Window(10), tgid=1001), Side(BRUSHED, tgid=1002)
    view = View(tab=Tab.BLOCKED, group=group, a=before, b=after, filter="!main")
    table, asked = both(recording, totals, view)
    assert isinstance(table, Table)
    told = sorted((row["value"], row["b_value"]) for row in asked)
    assert told == sorted((row.own, row.b_own) for row in table.rows)
    assert sum(row["b_value"] for row in asked) == table.b_total > 0


def strips_of(totals: RecordedTotals, view: View) -> dict[tuple[int, str], tuple[int, int]]:
    """(second, kind) → (events, value), where there were events."""
    found = answer(totals, view, lambda: totals.timeline(view)).rows
    assert isinstance(found, Timeline) and found.step_s == 1
    return {
        (found.begin // 10**9 + at, strip.kind): (count, value)
        for strip in found.strips
        for at, (count, value) in enumerate(zip(strip.counts, strip.values, strict=True))
        if count
    }


@pytest.mark.parametrize(
    "view",
    [
        View(),
        View(tgid=1002),
        View(tgid=1002, pid=10021, filter="!read"),
        View(shown=Shown.NATIVE, filter="frame:EvalFrame"),
        *(View(filter=terms) for terms in FILTERS),
    ],
)
def test_timelines(recording: Recording, totals: RecordedTotals, view: View) -> None:
    view = replace(view, panel=Panel.TIMELINE)
    _, asked = both(recording, totals, view)
    told = {}
    for row in asked:
        kind = next(kind for kind in Kind if kind.label == row["kind"])
        amount = int((row["delta"] if kind is Kind.RSS else row["amount"]) or 0)
        told[int(row["second"]), row["kind"]] = (
            row["events"],
            kind_value(kind, int(row["duration_ns"]), amount),
        )
    assert strips_of(totals, view) == told
    assert told


@pytest.mark.parametrize(
    "view", [View(tgid=1002, pid=10021, filter="!read"), *(View(filter=terms) for terms in FILTERS)]
)
def test_a_timeline_counts_the_events_that_the_table_counts(
    totals: RecordedTotals, view: View
) -> None:
    counted: dict[str, int] = {}
    for (_, label), (count, _) in strips_of(totals, replace(view, panel=Panel.TIMELINE)).items():
        counted[label] = counted.get(label, 0) + count
    for tab in TABS:
        for kind in TABS_KINDS[tab].kinds:
            asked = replace(
                view, tab=tab, measure=Measure.COUNT, kinds=(kind.label,), window=ALL, top=EVERY
            )
            table = answer(totals, asked, totals.timeline).rows
            assert isinstance(table, Table)
            assert sum(row.count for row in table.rows) == counted.get(kind.label, 0)
    assert sum(counted.values())


def test_a_wrong_filter_is_told_in_place_of_the_timeline(totals: RecordedTotals) -> None:
    view = View(panel=Panel.TIMELINE, filter="/(/")
    found = answer(totals, view, lambda: totals.timeline(view))
    assert found.rows is None
    assert "no regular expression" in found.note


def test_recursion_counts_once_and_nothing_is_cut(
    recording: Recording, totals: RecordedTotals
) -> None:
    view = View(tab=Tab.CPU, group=Group.LEAF, window=ALL)
    _, asked = both(recording, totals, view)
    (row,) = recording.sql("select sum(duration) from events where kind = 'profile'").fetchall()
    assert sum(one["value"] for one in asked) == row[0]
