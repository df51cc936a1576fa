"""The ledger live and reopened: equal rows; bounded memory; deadlocks in words."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from live_events import OFFSET
from live_spans import NAMES, Labelled, with_spans
from span_fixture import DEADLOCK, write_spans
from store_rows import header, me

from stacks_tui.enrich.spans import SPAN, Opened
from stacks_tui.export.questions import TABLES, ask, find_question, recorded, rows_of
from stacks_tui.export.selection import Selection
from stacks_tui.export.task import Task
from stacks_tui.kinds import Kind
from stacks_tui.live import book as book_module
from stacks_tui.live.answers import Answer, answer
from stacks_tui.live.book import Book
from stacks_tui.live.deadlocks import deadlocks
from stacks_tui.live.filters import parse, passing_spans
from stacks_tui.live.instances import (
    INSTANCE,
    added,
    bins_of,
    durations_of,
    longest,
    middle_of,
    no_durations,
)
from stacks_tui.live.model import MOST_SPAN_NAMES, OTHER_SPANS, LiveModel
from stacks_tui.live.names import Names
from stacks_tui.live.recorded import RecordedTotals
from stacks_tui.live.snapshot import Ledger, Snapshot, Table
from stacks_tui.live.terms import span_term
from stacks_tui.live.view import ALL, Group, Instance, Panel, Side, Tab, View, Window
from stacks_tui.records import EVENT, EventFlag
from stacks_tui.session.protocol import FrameReader, encode
from stacks_tui.store.manifest import RecordingStatus
from stacks_tui.store.reader import Recording, open_recording
from stacks_tui.store.writer import RecordingWriter, StoreOptions

SECONDS = 95
S = 10**9


@pytest.fixture(scope="module")
def told() -> Labelled:
    return with_spans(20_000, SECONDS)


@pytest.fixture(scope="module")
def live(told: Labelled) -> LiveModel:
    model = LiveModel()
    model.begin(OFFSET)
    model.stacks(told.stacks)  # type: ignore[arg-type]
    for at in range(0, len(told.events), 1700):
        part = told.events[at : at + 1700]
        model.opened(told.opened(part), OFFSET)
        model.events(part, told.rows(part))
    assert model.failure is None
    return model


@pytest.fixture(scope="module")
def recording(told: Labelled, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Recording]:
    path = tmp_path_factory.mktemp("recorded") / "r"
    head = replace(header(), begin=OFFSET, clock_offset=OFFSET)
    writer = RecordingWriter.create(path, me(), head, StoreOptions(rows_per_file=7000))
    for at in range(0, len(told.events), 1700):
        writer.write_events(told.rows(told.events[at : at + 1700]))
    writer.write_stacks(told.stacks)  # type: ignore[arg-type]
    writer.finish_tables()
    writer.close(RecordingStatus(OFFSET + SECONDS * S - 1))
    with open_recording(path, me()) as opened:
        yield opened


@pytest.fixture(scope="module")
def reopened(recording: Recording) -> RecordedTotals:
    return RecordedTotals(recording)


def ledgers(live: LiveModel, reopened: RecordedTotals, view: View) -> tuple[Ledger, Ledger]:
    first = answer(live.view(), view, live.timeline)
    second = answer(reopened, view, reopened.timeline)
    assert (first.begin, first.end, first.note) == (second.begin, second.end, second.note)
    assert isinstance(first.rows, Ledger) and isinstance(second.rows, Ledger), first.note
    assert first.detail == second.detail
    return first.rows, second.rows


BY_NAME = View(tab=Tab.SPANS, panel=Panel.LEDGER, window=ALL)


@pytest.mark.parametrize("window", [ALL, Window(10), Window(60)])
@pytest.mark.parametrize("narrowed", ["", "span=query", "process:job1", "!span=query", "GET"])
@pytest.mark.parametrize("instances", [False, True])
def test_rows_are_equal(
    live: LiveModel, reopened: RecordedTotals, window: Window, narrowed: str, instances: bool
) -> None:
    for sort in ("usual", "p99_ns", "name", "open", "busy_ns"):
        view = replace(BY_NAME, window=window, filter=narrowed, instances=instances, sort=sort)
        first, second = ledgers(live, reopened, view)
        assert first == second
        assert window != ALL or (first.instances if instances else first.rows)


def test_details_are_equal(live: LiveModel, reopened: RecordedTotals) -> None:
    for instances in (False, True):
        view = replace(BY_NAME, instances=instances)
        rows, _ = ledgers(live, reopened, view)
        keys = [row.key for row in rows.rows] + [row.key for row in rows.instances[:20]]
        for key in keys:
            ledgers(live, reopened, replace(view, selected=key))


def test_numbers_are_those_of_the_events(told: Labelled, live: LiveModel) -> None:
    events = told.events
    found = answer(live.view(), BY_NAME, live.timeline).rows
    assert isinstance(found, Ledger)
    named = np.array([
        told.spans[key][0] if key in told.spans and key[1] else ""
        for key in zip(events["tgid"].tolist(), events["span_id"].tolist(), strict=True)
    ])  # fmt: skip
    kind, is_open = events["kind"], events["flags"] & 1 != 0
    assert {row.name for row in found.rows} == set(NAMES)
    for row in found.rows:
        mine = named == row.name
        closed = mine & (kind == Kind.TRACE_CLOSE) & ~is_open
        took = np.sort(events["duration"][closed].astype(np.int64))
        assert row.count == len(took)
        assert row.open == np.count_nonzero(mine & (kind == Kind.TRACE_CLOSE) & is_open)
        assert row.total_ns == took.sum() and row.max_ns == took[-1]
        for share, value in ((0.5, row.p50_ns), (0.9, row.p90_ns), (0.99, row.p99_ns)):
            exact = took[int(np.ceil(share * len(took))) - 1]
            assert abs(value - exact) <= 0.032 * exact
        assert row.samples == np.count_nonzero(mine & (kind == Kind.PROFILE))
        waits = events[mine & (kind == Kind.WAIT)]
        assert row.runnable_ns == waits["amount"].sum()
        assert row.blocked_ns == (waits["duration"] - waits["amount"]).sum()
        files = mine & np.isin(kind, [Kind.VFS_READ, Kind.VFS_WRITE])
        assert row.file_bytes == events["amount"][files].sum()
        assert sum(row.bins) == row.count


@pytest.mark.parametrize("window", [ALL, Window(10), Window(60)])
@pytest.mark.parametrize("narrowed", ["", "span=query", "process:job1", "GET"])
def test_costs_with_children_are_equal(
    live: LiveModel, reopened: RecordedTotals, window: Window, narrowed: str
) -> None:
    view = replace(BY_NAME, window=window, filter=narrowed, children=True)
    first, second = ledgers(live, reopened, view)
    assert first == second and (first.rows or narrowed) and not first.astray
    own, _ = ledgers(live, reopened, replace(view, children=False))
    assert {row.name for row in own.rows} == {row.name for row in first.rows}
    if not narrowed and window == ALL:
        before = {row.name: row for row in own.rows}
        assert any(row.samples > before[row.name].samples for row in first.rows)
        assert all(row.samples >= before[row.name].samples for row in first.rows)


def test_costs_with_children_are_those_of_the_query(
    told: Labelled, live: LiveModel, recording: Recording
) -> None:
    span = recorded(recording)
    question = find_question("spans_with_children", TABLES)
    relation = ask(recording, question, Selection(), span, span.begin, Task())
    rows = {row["span"]: row for row in rows_of(relation, question).to_pylist()}
    found = answer(live.view(), replace(BY_NAME, children=True), live.timeline).rows
    assert isinstance(found, Ledger) and {row.name for row in found.rows} == rows.keys()
    for row in found.rows:
        wanted = rows[row.name]
        assert (row.count + row.open, row.children) == (wanted["count"], wanted["children"])
        for name in ("samples", "cpu_ns", "blocked_ns", "runnable_ns"):
            assert getattr(row, name) == wanted[name], (row.name, name)
        assert row.file_bytes == wanted["read_bytes"] + wanted["written_bytes"]
        assert row.block_bytes == wanted["blk_read_bytes"] + wanted["blk_written_bytes"]
        assert row.socket_bytes == wanted["sent_bytes"] + wanted["received_bytes"]
        assert row.growth == wanted["growth_bytes"]
        assert row.samples > 0 or row.name not in ("GET /", "GET /items")


COSTS_BY_TAB = {
    Tab.CPU: "cpu_ns",
    Tab.BLOCKED: "blocked_ns",
    Tab.RUNNABLE: "runnable_ns",
    Tab.RSS: "growth",
    Tab.BLOCK: "block_bytes",
    Tab.VFS: "file_bytes",
    Tab.NET: "socket_bytes",
}


def test_the_stacks_of_an_instance_are_those_of_its_events(
    reopened: RecordedTotals, tmp_path: Path
) -> None:
    with open_recording(write_spans(tmp_path / "r"), me()) as opened:
        small = RecordedTotals(opened)
        assert len(cost_of_instances(small)) == 25  # those of an id that is used again are apart
        assert 0 < len(cost_of_instances(reopened, every=9)) < 100


def cost_of_instances(totals: RecordedTotals, every: int = 1) -> set[str]:
    """Compare what an instance costs with the sums of its stacks; which ones were compared."""
    view = replace(BY_NAME, instances=True)
    found = answer(totals, view, totals.timeline).rows
    assert isinstance(found, Ledger)
    for row in found.instances[::every]:
        until = 0 if row.open else row.begin + row.duration_ns
        one = Instance(row.tgid, row.span_id, row.begin, until)
        for tab, field in COSTS_BY_TAB.items():
            asked = View(tab=tab, instance=one, filter=span_term(row.name))
            told = answer(totals, asked, totals.timeline)
            assert isinstance(told.rows, Table), told.note
            assert told.rows.total == getattr(row, field), (row, tab)
            if told.rows.rows:
                key = told.rows.rows[0].key
                detail = answer(totals, replace(asked, selected=key), totals.timeline).detail
                assert detail is not None and sum(detail.past) == told.rows.rows[0].own
    return {row.key for row in found.instances[::every]}


def test_spans_group_filter_and_compare(live: LiveModel, reopened: RecordedTotals) -> None:
    for view in (
        View(group=Group.SPAN, window=ALL),
        View(tab=Tab.BLOCKED, filter=span_term("GET /"), window=ALL),
        View(tab=Tab.VFS, group=Group.SPAN, window=Window(10)),
        View(a=Side(ALL, span="GET /"), b=Side(ALL, span="GET /items"), window=ALL),
        View(tab=Tab.SPANS, panel=Panel.HISTOGRAM, window=ALL),
    ):
        first = answer(live.view(), view, live.timeline)
        second = answer(reopened, view, reopened.timeline)
        assert first.rows == second.rows and first.rows is not None
    one = answer(live.view(), View(filter=span_term("GET /"), group=Group.SPAN, window=ALL),
                 live.timeline).rows  # fmt: skip
    assert [row.label for row in one.rows] == ["GET /"]  # type: ignore[union-attr]  # not /items


def test_a_filter_that_spans_don_t_have_is_told(live: LiveModel) -> None:
    found = answer(live.view(), replace(BY_NAME, filter="frame:main"), live.timeline)
    assert found.rows is None and "not by frame:" in found.note


def test_the_whole_of_a_name() -> None:
    for name in ("GET /", 'say "x"', "a.b(c)/d", "[/] evil\x1b", "x y", "/", "\\", 'a\n"\0/'):
        terms = parse(f"!process:other {span_term(name)}")
        names = Names(spans=[name, f"{name}s", f"x{name}"])
        tgids, spans = np.ones(3, np.uint32), np.arange(3)
        assert passing_spans(tgids, spans, terms, names).tolist() == [True, False, False], name


def test_a_ledger_crosses_the_process_border(live: LiveModel) -> None:
    for instances in (False, True):
        view = replace(BY_NAME, instances=instances)
        found: Answer = answer(live.view(), view, live.timeline)
        from stacks_tui.live.snapshot import Trust

        snap = Snapshot(
            1, view, 0, 0, 0, 0, True, 0.0, 0, 0, 0, (), (), Trust(), found.rows, found.detail
        )
        (back,) = FrameReader().feed(encode(snap))
        assert back == snap


def test_quantiles_are_within_three_percent() -> None:
    values = np.unique(np.geomspace(1, 10**13, 5000).astype(np.int64))
    for value, place in zip(values.tolist(), bins_of(values).tolist(), strict=True):
        assert abs(middle_of(place) - value) <= max(1, 0.032 * value)


def test_the_book_is_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(book_module, "MOST_OPEN", 1000)
    told = Labelled(np.zeros(0, EVENT), ())
    book = Book()
    for turn in range(30):
        events = np.zeros(500, EVENT)
        events["time"] = turn * S + np.arange(500)
        events["span_id"] = 1 + turn * 500 + np.arange(500)
        events["kind"] = Kind.PROFILE
        book.advance(turn + 1)
        book.add(0, events, told.rows(events), None, S)
    found = book.slice(0, 100, whole=True)
    assert found is not None
    assert len(found.open) <= 1000 and found.evicted == 15_000 - len(found.open)
    assert found.open["span_id"].max() == 15_000  # the oldest gave way
    closed = np.zeros(5000, INSTANCE)
    closed["name"], closed["until"] = np.arange(5000) % 40, np.arange(5000) + 1
    assert len(longest(closed, 512)) <= 512
    assert longest(closed, 512)["until"].max() == 5000


def test_late_tales_of_a_closed_span_open_nothing() -> None:
    told = Labelled(np.zeros(0, EVENT), ())
    book = Book()
    book.advance(1)
    close = np.zeros(1, EVENT)
    close["time"], close["span_id"], close["kind"], close["duration"] = 5, 7, Kind.TRACE_CLOSE, 4
    late = np.zeros(2, EVENT)
    late["time"], late["kind"] = (4, 9), (Kind.PROFILE, Kind.BLK_READ)
    late["span_id"] = (7, 8)  # 8: a request that ended after its span
    for events in (late[:1], close, late):
        book.add(0, events, told.rows(events), None, S)
    found = book.slice(0, 100, whole=True)
    assert found is not None and len(found.open) == 0 and len(found.closed) == 1


def opening(*spans: tuple[int, int, int, str]) -> Opened:
    """Spans of process 1: when, id, parent, name."""
    found = np.zeros(len(spans), SPAN)
    for name, place in (("first", 0), ("born", 0), ("span_id", 1), ("parent_id", 2)):
        found[name] = [one[place] for one in spans]
    found["tgid"], found["pid"] = 1, 1
    return Opened(found, pa.array([one[3] for one in spans]).dictionary_encode())


def event(
    kind: Kind, time: int, span: int, born: int, **values: int
) -> np.ndarray[tuple[int], np.dtype[np.void]]:
    found = np.zeros(1, EVENT)
    found["kind"], found["time"], found["span_id"], found["span_born"] = kind, time, span, born
    found["tgid"], found["pid"] = 1, 1
    for name, value in values.items():
        found[name] = value
    return found


def test_an_open_span_shows_what_it_spent_up_to_now() -> None:
    model = LiveModel()
    model.begin(S)
    # 7 is entered at 1 s, 8 in it at 2 s; neither is ever left
    model.opened(opening((S, 7, 0, "outer"), (2 * S, 8, 7, "inner")), 0)
    told = Labelled(np.zeros(0, EVENT), (), {(1, 8): ("inner", 7, 0, False)})
    sample = event(Kind.PROFILE, 3 * S, 8, 2 * S, duration=5)
    model.events(sample, told.rows(sample))
    state = {"flags": EventFlag.OPEN, "state": 1}
    now = [
        event(Kind.TRACE_CLOSE, 9 * S, 7, S, duration=8 * S, word0=8 * S, **state),
        event(Kind.TRACE_CLOSE, 9 * S, 8, 2 * S, duration=7 * S, word0=7 * S, **state),
        event(Kind.WAIT, 9 * S, 8, 2 * S, duration=5 * S, amount=S, flags=EventFlag.OPEN, ustack=3),
    ]
    model.open_now(np.concatenate(now), 0)
    model.advance(9 * S)
    view = replace(BY_NAME, sort="name")
    found = answer(model.view(), view, model.timeline).rows
    assert isinstance(found, Ledger)
    inner, outer = found.rows
    assert (outer.open, outer.busy_ns, outer.cpu_ns, outer.blocked_ns) == (1, 8 * S, 0, 0)
    assert (inner.open, inner.busy_ns, inner.cpu_ns) == (1, 7 * S, 5)
    assert (inner.blocked_ns, inner.runnable_ns) == (4 * S, S)
    found = answer(model.view(), replace(view, children=True), model.timeline).rows
    assert isinstance(found, Ledger)
    inner, outer = found.rows
    assert (outer.blocked_ns, outer.cpu_ns, outer.busy_ns) == (4 * S, 5, 8 * S)
    assert (outer.children, inner.children) == (1, 0)
    found = answer(model.view(), replace(view, instances=True), model.timeline).rows
    assert isinstance(found, Ledger)
    assert [(row.open, row.busy_ns, row.blocked_ns) for row in found.instances] == [
        (True, 7 * S, 4 * S), (True, 8 * S, 0),
    ]  # fmt: skip
    found = answer(model.view(), replace(view, window=Window(3)), model.timeline).rows
    assert isinstance(found, Ledger)  # seconds 7 to 9: what is told of them ends at 9
    assert [(row.busy_ns, row.blocked_ns) for row in found.rows] == [(2 * S, 3 * S), (2 * S, 0)]
    # then both are closed: what the events say counts
    ends = np.concatenate([
        event(Kind.TRACE_EXIT, 10 * S, 8, 2 * S, duration=8 * S),
        event(Kind.TRACE_CLOSE, 10 * S, 8, 2 * S, duration=8 * S, word0=8 * S, state=1),
    ])  # fmt: skip
    model.events(ends, told.rows(ends))
    found = answer(model.view(), view, model.timeline).rows
    assert isinstance(found, Ledger)
    inner, outer = found.rows
    assert (inner.open, inner.count, inner.busy_ns, inner.blocked_ns) == (0, 1, 8 * S, 0)
    assert (outer.open, outer.busy_ns) == (1, 8 * S)
    assert model.failure is None


def test_a_span_is_not_shown_as_open_that_its_batch_closes() -> None:
    model = LiveModel()
    model.begin(S)
    model.opened(opening((S, 7, 0, "brief")), 0)
    assert answer(model.view(), BY_NAME, model.timeline).rows == Ledger()
    told = Labelled(np.zeros(0, EVENT), (), {(1, 7): ("brief", 0, 0, False)})
    close = event(Kind.TRACE_CLOSE, S + 5, 7, S, duration=5, word0=5, state=1)
    model.events(close, told.rows(close))
    model.opened(opening((S, 7, 0, "brief")), 0)  # told again, late
    model.open_now(np.zeros(0, EVENT), 0)
    found = answer(model.view(), BY_NAME, model.timeline).rows
    assert isinstance(found, Ledger)
    assert [(row.count, row.open) for row in found.rows] == [(1, 0)]


def test_names_of_spans_are_bounded() -> None:
    model = LiveModel()
    model.begin(OFFSET)
    for turn in range(3):
        count = MOST_SPAN_NAMES // 2
        events = np.zeros(count, EVENT)
        events["time"], events["kind"] = turn * S + np.arange(count), Kind.PROFILE
        events["tgid"], events["pid"] = 1, 1
        events["span_id"] = 1 + turn * count + np.arange(count)
        spans = {(1, n): (f"request {n}", 0, 0, False) for n in events["span_id"].tolist()}
        model.events(events, Labelled(events, (), spans).rows(events))
    assert model.failure is None
    names = model.view().names.spans
    assert len(names) <= MOST_SPAN_NAMES + 1 and OTHER_SPANS in names


def test_deadlocks_are_named_as_the_query_names_them(
    tmp_path_factory: pytest.TempPathFactory,
) -> None:
    path = write_spans(tmp_path_factory.mktemp("spans") / "recording")
    with open_recording(path, me()) as opened:
        totals = RecordedTotals(opened)
        view = replace(BY_NAME, selected="sfirst")
        found = answer(totals, view, totals.timeline)
        assert isinstance(found.rows, Ledger) and found.detail is not None
        assert found.rows.deadlocks == (DEADLOCK,)
        assert f"deadlock: {DEADLOCK}" in found.detail.notes
        every = answer(totals, replace(view, instances=True), totals.timeline).rows
        assert isinstance(every, Ledger)
        wait = next(row for row in every.instances if row.span_id == 23)
        detail = answer(
            totals, replace(view, instances=True, selected=wait.key), totals.timeline
        ).detail
        assert detail is not None and f"deadlock: {DEADLOCK}" in detail.notes
        assert [one.name for one in detail.frames] == ["first", "Lock.acquire"]
        turns = next(row for row in every.instances if row.span_id == 26)
        detail = answer(
            totals, replace(view, instances=True, selected=turns.key), totals.timeline
        ).detail
        assert detail is not None and not any("deadlock" in note for note in detail.notes)
        thread = next(row for row in every.instances if row.name == "thread job")
        assert thread.stuck and thread.quiet_ns == 6500 * 10**6


def test_a_wait_that_only_began_is_no_deadlock_yet() -> None:
    names = ["lock.wait", "lock.hold", "a", "b"]
    found = np.zeros(6, INSTANCE)
    found["tgid"] = 1
    found["span_id"] = np.arange(1, 7)
    found["name"] = (2, 3, 1, 1, 0, 0)
    found["parent_id"] = (0, 0, 1, 2, 1, 2)
    found["id"] = (0, 0, 0xA, 0xB, 0xB, 0xA)
    found["begin"] = 10 * S
    assert deadlocks(found, names, 10 * S + 5) == ()
    (one,) = deadlocks(found, names, 12 * S)
    assert one.spans == (1, 2) and "cycle: a -> b -> a" in one.says
    assert deadlocks(found[:5], names, 12 * S) == ()
    other = found[2:3].copy()  # another that holds what the second waits for: a semaphore
    other["span_id"], other["parent_id"] = 7, 9
    assert deadlocks(np.concatenate([found, other]), names, 12 * S) == ()


def test_time_goes_on_where_nothing_happens() -> None:
    told = Labelled(np.zeros(0, EVENT), ())
    book = Book()
    book.advance(1)
    events = np.zeros(1, EVENT)
    events["time"], events["span_id"], events["kind"] = 5, 7, Kind.TRACE_EXIT
    book.add(0, events, told.rows(events), None, S)
    book.advance(9)
    found = book.slice(0, 100, whole=True)
    assert found is not None and found.end == 9 * S


def test_nothing_adds_up_to_nothing() -> None:
    assert len(added([])) == len(no_durations()) == len(durations_of(np.zeros(0, INSTANCE))) == 0
