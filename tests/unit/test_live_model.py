"""The live model against sums made one event at a time."""

from __future__ import annotations

from collections import Counter
from typing import Any

import numpy as np
import pytest
from live_events import EPOCH_S, OFFSET, Story, batches, command, story, thread

from stacks_tui.kinds import Kind
from stacks_tui.live import buckets
from stacks_tui.live import model as model_module
from stacks_tui.live.answers import Answer, answer
from stacks_tui.live.filters import parse
from stacks_tui.live.model import LiveModel
from stacks_tui.live.snapshot import Graph, Histogram, Processes, Table, Timeline
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
from stacks_tui.tui.desk import drill

SECONDS = 130


@pytest.fixture(scope="module")
def told() -> Story:
    return story(40_000, SECONDS)


@pytest.fixture(scope="module")
def model(told: Story) -> LiveModel:
    return fed(told)


def fed(told: Story, batch: int = 3000) -> LiveModel:
    model = LiveModel()
    model.begin(OFFSET)
    arrow = batches()
    for at in range(0, len(told.events), batch):
        part = told.events[at : at + batch]
        model.events(part, arrow.arrow(part))
        if at == 6000:  # events before and after their stacks
            model.stacks(told.stacks)
    assert model.failure is None
    return model


def ask(model: LiveModel, view: View) -> Answer:
    return answer(model.view(), view, model.timeline)


def table(model: LiveModel, view: View) -> Table:
    rows = ask(model, view).rows
    assert isinstance(rows, Table)
    return rows


KINDS = {
    Tab.CPU: ("PROFILE",),
    Tab.SLICES: ("SWITCH",),
    Tab.BLOCKED: ("WAIT",),
    Tab.RUNNABLE: ("WAIT",),
    Tab.RSS: ("RSS",),
    Tab.BLOCK: ("BLK_READ", "BLK_WRITE"),
    Tab.VFS: ("VFS_READ", "VFS_WRITE"),
    Tab.NET: ("TCP_SEND", "TCP_RECV", "UDP_SEND", "UDP_RECV"),
}


def value(event: Any, tab: Tab) -> int:
    duration, amount = int(event["duration"]), int(event["amount"])
    if tab is Tab.BLOCKED:
        return duration - amount
    if tab is Tab.RSS:
        return int(np.uint64(event["word0"]).astype(np.int64))
    return duration if tab in (Tab.CPU, Tab.SLICES) else amount


def naive(told: Story, tab: Tab, begin: int = 0, end: int = SECONDS) -> list[Any]:
    codes = [Kind[name] for name in KINDS[tab]]
    return [
        event
        for event in told.events
        if event["kind"] in codes
        and begin <= int(event["time"]) // 10**9 < end
        and (value(event, tab) or tab not in (Tab.BLOCKED, Tab.RUNNABLE))
    ]


def paths(told: Story) -> dict[int, tuple[str, ...]]:
    return {one.id: tuple(frame.name for frame in one.frames) for one in told.stacks} | {0: ()}


@pytest.mark.parametrize("tab", list(KINDS))
def test_stacks_add_up_as_one_event_at_a_time(told: Story, model: LiveModel, tab: Tab) -> None:
    names = paths(told)
    own: Counter[tuple[str, ...]] = Counter()
    count: Counter[tuple[str, ...]] = Counter()
    for event in naive(told, tab):
        path = names[int(event["kstack"])] + names[int(event["ustack"])]
        own[path or ("[no stack]",)] += value(event, tab)
        count[path or ("[no stack]",)] += 1
    found = table(model, View(tab=tab, window=ALL, top=10_000, names=100))
    assert {row.names: row.own for row in found.rows} == dict(own)
    assert {row.names: row.count for row in found.rows} == dict(count)
    assert (found.total, found.rest, found.other) == (sum(own.values()), 0, 0)
    assert [row.own for row in found.rows] == sorted((row.own for row in found.rows), reverse=True)


@pytest.mark.parametrize(
    ("window", "begin", "end"),
    [
        (Window(10), SECONDS - 10, SECONDS),
        (Window(60), SECONDS - 60, SECONDS),
        (Window(600), 0, SECONDS),
        (Window(0, OFFSET + 100 * 10**9, OFFSET + 107 * 10**9), 100, 107),
        (Window(0, OFFSET + 20 * 10**9, OFFSET + 40 * 10**9), 20, 40),
    ],
)
def test_a_window_holds_its_seconds(
    told: Story, model: LiveModel, window: Window, begin: int, end: int
) -> None:
    found = ask(model, View(tab=Tab.CPU, window=window))
    assert isinstance(found.rows, Table)
    assert (found.begin - OFFSET, found.end - OFFSET) == (begin * 10**9, end * 10**9)
    assert found.rows.total == sum(int(e["duration"]) for e in naive(told, Tab.CPU, begin, end))


def test_an_old_window_goes_by_tens_and_says_so(told: Story, model: LiveModel) -> None:
    found = ask(model, View(window=Window(0, OFFSET + 23 * 10**9, OFFSET + 37 * 10**9)))
    assert isinstance(found.rows, Table)
    assert (found.begin - OFFSET, found.end - OFFSET) == (20 * 10**9, 40 * 10**9)
    assert found.rows.total == sum(int(e["duration"]) for e in naive(told, Tab.CPU, 20, 40))


@pytest.mark.parametrize("group", [Group.LEAF, Group.MODULE])
@pytest.mark.parametrize("part", list(StackPart))
def test_own_and_total_of_functions_and_modules(
    told: Story, model: LiveModel, group: Group, part: StackPart
) -> None:
    stacks = {one.id: one.frames for one in told.stacks} | {0: ()}
    own: Counter[str] = Counter()
    total: Counter[str] = Counter()
    for event in naive(told, Tab.SLICES):
        frames = () if part is StackPart.USER else stacks[int(event["kstack"])]
        frames += () if part is StackPart.KERNEL else stacks[int(event["ustack"])]
        names = [frame.name if group is Group.LEAF else str(frame.module) for frame in frames]
        names = names or ["[no stack]" if group is Group.LEAF else "[no module]"]
        own[names[0]] += int(event["duration"])
        for name in set(names):
            total[name] += int(event["duration"])
    rows = table(model, View(tab=Tab.SLICES, window=ALL, group=group, stack_part=part)).rows
    assert {row.label: row.own for row in rows if row.own} == {k: v for k, v in own.items() if v}
    assert {row.label: row.total for row in rows} == dict(total)


@pytest.mark.parametrize("shown", list(Shown))
def test_stacks_are_shown_merged_of_python_alone_or_native(
    told: Story, model: LiveModel, shown: Shown
) -> None:
    stacks = {one.id: one for one in told.stacks}
    naively: Counter[tuple[str, ...]] = Counter()
    for event in naive(told, Tab.SLICES):
        names: list[str] = []
        for field in ("kstack", "ustack"):
            one = stacks.get(int(event[field]))
            if one is not None:
                frames = one.native or one.frames if shown is Shown.NATIVE else one.frames
                kept = [frame for frame in frames if frame.module == "[python]"]
                names += [frame.name for frame in (kept if shown is Shown.PYTHON else frames)]
        taken = event["kstack"] or event["ustack"]
        left = "[no Python frames]" if taken and shown is Shown.PYTHON else "[no stack]"
        naively[tuple(names) or (left,)] += int(event["duration"])
    view = View(tab=Tab.SLICES, window=ALL, shown=shown, top=5000, names=50)
    found = table(model, view)
    assert {row.names: row.own for row in found.rows if row.own} == {
        names: value for names, value in naively.items() if value
    }
    assert found.total == naively.total()


def test_processes_threads_wakers_and_reasons(told: Story, model: LiveModel) -> None:
    waits = naive(told, Tab.BLOCKED)

    def summed(name: str) -> Counter[int]:
        found: Counter[int] = Counter()
        for event in waits:
            found[int(event[name])] += value(event, Tab.BLOCKED)
        return found

    view = View(tab=Tab.BLOCKED, window=ALL)
    by = {group: table(model, _with(view, group=group)).rows for group in Group}
    assert {row.tgid: row.own for row in by[Group.PROCESS]} == dict(summed("tgid"))
    assert {row.pid: row.own for row in by[Group.THREAD]} == dict(summed("pid"))
    assert all(row.label == command(row.tgid) for row in by[Group.PROCESS])
    assert all(row.label == thread(row.pid) for row in by[Group.THREAD])
    wakers: Counter[int] = Counter()
    for row in by[Group.WAKER]:
        wakers[row.pid] += row.own
    assert wakers == summed("waker")
    reasons = {row.label: row.own for row in by[Group.REASON]}
    futex = sum(
        value(event, Tab.BLOCKED)
        for event in waits
        if int(event["kstack"]) == 9000 and not event["flags"]
    )
    assert reasons["futex (lock or condition)"] == futex
    assert sum(reasons.values()) == sum(wakers.values())
    assert [row.label for row in by[Group.SPAN]] == ["[no span]"]


def _with(view: View, **changes: Any) -> View:
    from dataclasses import replace

    return replace(view, **changes)


@pytest.mark.parametrize("inverted", [False, True])
def test_a_graph_holds_every_path(told: Story, model: LiveModel, inverted: bool) -> None:
    rows = ask(
        model,
        View(tab=Tab.CPU, panel=Panel.FLAME, window=ALL, top=10_000, inverted=inverted),
    ).rows
    assert isinstance(rows, Graph)
    names = paths(told)
    wanted: Counter[tuple[str, ...]] = Counter()
    for event in naive(told, Tab.CPU):
        path = (names[int(event["kstack"])] + names[int(event["ustack"])]) or ("[no stack]",)
        path = path if inverted else path[::-1]
        for end in range(len(path) + 1):
            wanted[path[:end]] += int(event["duration"])
    found = {}
    places: list[tuple[str, ...]] = [()]
    for at, node in enumerate(rows.nodes):
        if at:
            assert node.parent < at
            places.append((*places[node.parent], node.name))
        found[places[at]] = node.total
    assert found == dict(wanted.items())
    for at, node in enumerate(rows.nodes):
        children = sum(one.total for one in rows.nodes if one.parent == at)
        assert node.own == node.total - children


def test_a_zoomed_graph_has_the_way_and_what_is_below(model: LiveModel) -> None:
    view = View(tab=Tab.CPU, panel=Panel.FLAME, window=ALL, top=10_000)
    whole = ask(model, view).rows
    assert isinstance(whole, Graph)
    first = whole.nodes[1]
    child = next(node for node in whole.nodes if node.parent == 1)
    zoomed = ask(model, _with(view, zoom=(first.key, child.key))).rows
    assert isinstance(zoomed, Graph)
    assert zoomed.nodes[0].total == whole.nodes[0].total
    assert (zoomed.nodes[1].total, zoomed.nodes[1].name) == (first.total, first.name)
    assert (zoomed.nodes[2].total, zoomed.nodes[2].name) == (child.total, child.name)


def test_small_nodes_are_left_out_and_their_values_kept(model: LiveModel) -> None:
    view = View(tab=Tab.CPU, panel=Panel.TREE, window=ALL, minimum_share=0.02)
    rows = ask(model, view).rows
    assert isinstance(rows, Graph)
    assert rows.cut > 0
    assert sum(node.own for node in rows.nodes) == rows.nodes[0].total
    few = ask(model, _with(view, minimum_share=0.0, top=1)).rows
    assert isinstance(few, Graph)
    assert len(few.nodes) <= 21
    assert sum(node.own for node in few.nodes) == rows.nodes[0].total


def test_what_is_not_sent_is_summed(model: LiveModel) -> None:
    whole = table(model, View(tab=Tab.VFS, window=ALL, top=10_000))
    cut = table(model, View(tab=Tab.VFS, window=ALL, top=5))
    assert cut.rows == whole.rows[:5]
    assert cut.rest == sum(row.own for row in whole.rows[5:])
    assert cut.rest_rows == len(whole.rows) - 5
    share = table(model, View(tab=Tab.VFS, window=ALL, minimum_share=0.01))
    assert all(row.share >= 0.01 for row in share.rows)
    assert share.rest + sum(row.own for row in share.rows) == whole.total


@pytest.mark.parametrize(
    ("text", "passes"),
    [
        ("js::Interpret", lambda path, event: "js::Interpret" in path),
        ("!frame:/^poll_/", lambda path, event: not any(n.startswith("poll_") for n in path)),
        ("process:job1", lambda path, event: command(int(event["tgid"])) == "job1"),
        ('thread:"WORKER 3"', lambda path, event: thread(int(event["pid"])) == "worker 3"),
        (
            "process:1003 !module:kernel",
            lambda path, event: event["tgid"] == 1003 and event["kstack"] == 0,
        ),
        ("[red]", lambda path, event: "[red]x" in path),
        ("thread:/^worker [12]$/", lambda path, event: int(event["pid"]) % 5 in (1, 2)),
    ],
)
def test_a_filter_holds_for_every_event(
    told: Story, model: LiveModel, text: str, passes: Any
) -> None:
    names = paths(told)
    wanted = sum(
        int(event["duration"])
        for event in naive(told, Tab.CPU)
        if passes(names[int(event["kstack"])] + names[int(event["ustack"])], event)
    )
    assert wanted > 0
    assert table(model, View(window=ALL, filter=text)).total == wanted


@pytest.mark.parametrize(
    "group", [Group.REASON, Group.CGROUP, Group.LEAF, Group.MODULE, Group.SPAN]
)
def test_what_a_row_opens_adds_up_to_the_row(model: LiveModel, group: Group) -> None:
    view = View(tab=Tab.BLOCKED, group=group, window=ALL)
    rows = [row for row in table(model, view).rows if not row.label.startswith("[no ")]
    rows = rows if group is not Group.SPAN else list(table(model, view).rows)
    assert rows or group is Group.CGROUP
    for row in rows:
        opened = drill(view, row.label, row.tgid, row.pid)
        assert opened is not None
        assert table(model, _with(view, **opened)).total == row.total, row.label
        (term,) = parse(opened["filter"])
        without = _with(view, filter=f"!{opened['filter']}")
        assert table(model, without).total == table(model, view).total - row.total
        assert term.field in ("reason", "cgroup", "frame", "module", "span")


def test_a_bad_filter_is_told(model: LiveModel) -> None:
    found = ask(model, View(filter="/(/"))
    assert found.rows is None
    assert "/(/" in found.note and "regular expression" in found.note


def test_only_a_process_or_a_thread(told: Story, model: LiveModel) -> None:
    events = naive(told, Tab.CPU)
    of_process = sum(int(e["duration"]) for e in events if e["tgid"] == 1002)
    of_thread = sum(int(e["duration"]) for e in events if e["pid"] == 10021)
    assert table(model, View(window=ALL, tgid=1002)).total == of_process
    assert table(model, View(window=ALL, pid=10021)).total == of_thread


def test_the_histogram_counts_by_powers_of_two(told: Story, model: LiveModel) -> None:
    for tab, measure, column in (
        (Tab.VFS, Measure.MAIN, "amount"),
        (Tab.VFS, Measure.DURATION, "duration"),
        (Tab.SLICES, Measure.MAIN, "duration"),
        (Tab.RUNNABLE, Measure.MAIN, "amount"),
    ):
        wanted: Counter[int] = Counter()
        for event in naive(told, tab):
            wanted[max(int(event[column]).bit_length() - 1, 0)] += 1
        found = ask(model, View(tab=tab, measure=measure, panel=Panel.HISTOGRAM, window=ALL)).rows
        assert isinstance(found, Histogram)
        assert {at: n for at, n in enumerate(found.counts) if n} == dict(wanted)
    assert ask(model, View(tab=Tab.CPU, panel=Panel.HISTOGRAM)).rows == Histogram("ns", ())


def test_processes_have_all_their_numbers(told: Story, model: LiveModel) -> None:
    rows = ask(model, View(panel=Panel.PROCESSES, window=ALL)).rows
    assert isinstance(rows, Processes)
    assert rows.seconds == SECONDS
    events = told.events
    for row in rows.rows:
        of = events[events["tgid"] == row.tgid]

        def total(name: str, *kinds: Kind, of: Any = of) -> int:
            return int(of[name][np.isin(of["kind"], kinds)].sum())

        assert row.cpu_ns == total("duration", Kind.SWITCH)
        assert row.runnable_ns == total("amount", Kind.WAIT)
        assert row.blocked_ns == total("duration", Kind.WAIT) - row.runnable_ns
        assert row.read == total("amount", Kind.VFS_READ)
        assert row.sent == total("amount", Kind.TCP_SEND, Kind.UDP_SEND)
        assert row.rss == int(of["amount"][of["kind"] == Kind.RSS][-1])
        assert (row.events, row.threads, row.name) == (len(of), 4, command(row.tgid))
    assert [row.cpu_ns for row in rows.rows] == sorted((r.cpu_ns for r in rows.rows), reverse=True)
    threads = ask(model, View(panel=Panel.PROCESSES, window=ALL, by_thread=True)).rows
    assert isinstance(threads, Processes)
    assert sum(row.cpu_ns for row in threads.rows) == sum(row.cpu_ns for row in rows.rows)


def test_the_timeline_has_every_second_that_is_over(told: Story, model: LiveModel) -> None:
    found = model.timeline()
    assert isinstance(found, Timeline)
    assert (found.begin, found.step_s) == (OFFSET, 1)
    strip = next(one for one in found.strips if one.kind == "tcp_send")
    of = told.events[told.events["kind"] == Kind.TCP_SEND]
    seconds = (of["time"] // 10**9).astype(int)
    assert list(strip.counts) == np.bincount(seconds, minlength=SECONDS)[: SECONDS - 1].tolist()


def test_two_windows_are_compared(told: Story, model: LiveModel) -> None:
    sides = [Window(0, OFFSET + a * 10**9, OFFSET + b * 10**9) for a, b in ((70, 100), (100, 130))]
    view = View(window=ALL, a=Side(sides[0]), b=Side(sides[1]), top=10_000, sort="change")
    found = table(model, view)
    apart = [table(model, View(window=window, top=10_000)) for window in sides]
    assert (found.total, found.b_total) == (apart[0].total, apart[1].total)
    first, second = ({row.key: row for row in one.rows} for one in apart)
    for row in found.rows:
        assert row.own == (first[row.key].own if row.key in first else 0)
        assert row.b_own == (second[row.key].own if row.key in second else 0)
    changes = [row.change for row in found.rows]
    assert changes == sorted(changes, reverse=True) and changes[0] > 0 > changes[-1]
    graph = ask(model, _with(view, panel=Panel.FLAME)).rows
    assert isinstance(graph, Graph)
    assert (graph.nodes[0].total, graph.nodes[0].b_total) == (found.total, found.b_total)
    assert sum(node.b_own for node in graph.nodes) == found.b_total


def test_the_chosen_row_is_told_with_its_past(told: Story, model: LiveModel) -> None:
    view = View(tab=Tab.CPU, group=Group.LEAF, window=Window(60))
    top = table(model, view).rows[0]
    detail = ask(model, _with(view, selected=top.key)).detail
    assert detail is not None
    assert top.label in [frame.name for frame in detail.frames]
    assert top.total == sum(detail.past)
    assert (len(detail.past), detail.step_s) == (60, 1)
    assert {frame.file for frame in detail.frames} == {"job.c", "handle.py", "serve.py"}
    long = ask(model, _with(view, window=Window(600), selected=top.key)).detail
    assert long is not None and long.step_s == 10


def test_memory_is_bounded_and_nothing_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    for name, most in (("MOST_IN_SECOND", 200), ("MOST_IN_TEN", 300), ("MOST_KEYS", 2000)):
        monkeypatch.setattr(buckets, name, most)
    told = story(60_000, 90, seed=7, stacks=500)
    model = fed(told)
    assert len(model._keys) < 60_000 / 4
    for tab in KINDS:
        for window in (ALL, Window(60)):
            begin = 0 if window is ALL else 30
            events = naive(told, tab, begin, 90)
            found = table(model, View(tab=tab, window=window, top=50))
            assert found.total == sum(value(event, tab) for event in events)
            sent = sum(row.own for row in found.rows)
            assert sent + found.rest + found.other == found.total
    assert table(model, View(tab=Tab.VFS, window=ALL)).other > 0
    per_process: Counter[int] = Counter()
    for event in naive(told, Tab.VFS):
        per_process[int(event["tgid"])] += int(event["amount"])
    rows = table(model, View(tab=Tab.VFS, window=ALL, group=Group.PROCESS)).rows
    assert {row.tgid: row.own for row in rows} == dict(per_process)


def test_a_flood_of_different_stacks_is_told_coarser(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(model_module, "DEAR_NS", 0)
    monkeypatch.setattr(model_module, "CHEAP_NS", 0)
    monkeypatch.setattr(model_module, "MOST_OF_LITTLE", 10)
    told = story(20_000, 20, seed=9)
    model = fed(told)
    assert model._keys.level == model_module.MOST_LEFT_OUT
    for tab in KINDS:
        found = table(model, View(tab=tab, window=ALL))
        assert found.total == sum(value(event, tab) for event in naive(told, tab))
        assert found.other != 0
        processes = table(model, View(tab=tab, window=ALL, group=Group.PROCESS))
        assert processes.other == 0 and sum(row.own for row in processes.rows) == found.total


def test_what_comes_late_is_not_lost() -> None:
    told = story(5000, 30, seed=3)
    events = told.events.copy()
    later = events[2000:2100].copy()
    mixed = [events[:2000], events[2100:4000], later, events[4000:]]
    model = LiveModel()
    model.begin(OFFSET)
    arrow = batches()
    for part in mixed:
        model.events(part, arrow.arrow(part))
    assert model.failure is None
    for window in (ALL, Window(25)):
        begin = 0 if window is ALL else 5
        wanted = sum(int(e["duration"]) for e in naive(told, Tab.CPU, begin, 30))
        assert table(model, View(window=window)).total == wanted
    assert model.now == EPOCH_S + 29
