"""The ledger in SQL: views of span instances and the queries over them, added up by eye."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from export_fixture import samples_of, totals
from span_fixture import DEADLOCK, END, END_MS, MS, write_spans
from store_rows import EPOCH, Frame, Stack, events, header, me
from test_export_queries import rows, trace

from stacks_tui.store.manifest import RecordingStatus
from stacks_tui.store.reader import open_recording
from stacks_tui.store.writer import RecordingWriter


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_spans(tmp_path_factory.mktemp("spans") / "recording")


def asked(path: Path, sql: str) -> list[dict[str, Any]]:
    with open_recording(path, me()) as opened:
        return list(opened.table(sql).to_pylist())


def by(found: list[dict[str, Any]], *names: str) -> dict[Any, dict[str, Any]]:
    return {tuple(row[name] for name in names): row for row in found}


def ms(row: dict[str, Any], *names: str) -> tuple[float | None, ...]:
    return tuple(None if row[name] is None else row[name] / MS for name in names)


def test_spans_is_a_row_per_instance(recording: Path) -> None:
    found = by(asked(recording, "select * from spans"), "tgid", "span_id", "use")
    assert len(found) == 25
    request = found[100, 1, 0]
    assert (request["begin"], request["end"]) == (EPOCH + 100 * MS, EPOCH + 600 * MS)
    assert ms(request, "duration", "busy", "idle") == (500, 200, 300)
    assert (request["name"], request["id"], request["amount"], request["enters"]) == (
        "request", 7001, 2, 2,
    )  # fmt: skip
    assert not request["open"] and not request["since_seen"] and request["parent_id"] is None
    assert found[100, 4, 0]["since_seen"] and found[100, 3, 0]["parent_id"] == 2
    assert ms(found[200, 1, 0], "duration", "busy") == (1000, 1000)
    job, thread = found[100, 5, 0], found[100, 6, 0]
    assert job["open"] and job["end"] is None
    assert ms(job, "duration", "busy", "idle") == (8000, 50, 7950)
    assert (job["last_seen"], job["last_pid"], job["last_stack"]) == (EPOCH + 2050 * MS, 101, 2)
    assert ms(thread, "duration", "busy") == (7000, 7000)
    assert (thread["last_seen"], thread["last_stack"]) == (EPOCH + 3500 * MS, None)


def test_an_id_that_is_used_again_is_another_instance(recording: Path) -> None:
    found = by(asked(recording, "select * from spans where tgid = 500"), "use")
    assert [ms(found[use,], "duration", "busy") for use in range(3)] == [
        (100, 90), (150, 140), (200, 190),
    ]  # fmt: skip
    costs = by(asked(recording, "select * from span_costs where tgid = 500"), "use")
    assert [costs[use,]["samples"] for use in range(3)] == [1, 1, 2]
    # it ended in the second use, and was issued in the first
    assert [costs[use,]["blk_read_bytes"] for use in range(3)] == [64, 0, 0]


def test_costs_are_an_instance_s_own(recording: Path) -> None:
    found = by(asked(recording, "select * from span_costs"), "tgid", "span_id", "use")
    request = found[100, 1, 0]
    assert ms(request, "cpu_ns", "blocked_ns", "runnable_ns") == (10, 30, 10)
    numbers = {
        "samples": 1, "read_bytes": 100, "written_bytes": 50, "blk_read_bytes": 4096,
        "blk_written_bytes": 0, "sent_bytes": 8, "received_bytes": 9, "growth_bytes": 8192,
    }  # fmt: skip
    assert {name: request[name] for name in numbers} == numbers
    assert found[100, 2, 0]["blk_written_bytes"] == 512
    assert (found[200, 1, 0]["samples"], found[200, 1, 0]["read_bytes"]) == (1, 0)


def test_costs_with_children(recording: Path) -> None:
    found = by(asked(recording, "select * from span_costs_with_children"), "tgid", "span_id", "use")
    request = found[100, 1, 0]
    assert (request["samples"], request["children"], request["blk_written_bytes"]) == (4, 2, 512)
    assert (found[100, 2, 0]["samples"], found[100, 3, 0]["samples"]) == (3, 1)
    assert found[200, 1, 0]["samples"] == 1  # no child of the other process's span 1
    # each is the other's parent: both are in both, once
    assert found[300, 1, 0]["samples"] == found[300, 2, 0]["samples"] == 2


def test_a_long_chain_and_a_long_circle_of_parents_end(tmp_path: Path) -> None:
    writer = RecordingWriter.create(tmp_path / "r", me(), header())
    size = 5000
    for number in range(1, size + 1):
        columns: dict[str, Any] = {
            "tgid": 1,
            "span_id": number,
            "trace_name": "s",
            "busy": 1,
            "enters": 1,
        }
        for tgid, parent in ((1, number - 1 or None), (2, number % size + 1)):
            more = columns | {"tgid": tgid, "parent_id": parent, "duration": 10**6 + number}
            writer.write_events(events([10**7 + number], kind="trace_close", **more))
    writer.close(RecordingStatus(END, {}))
    found = asked(
        tmp_path / "r",
        "select tgid, count(*) as lines, max(depth) as depth from span_ancestors group by all",
    )
    assert {row["depth"] for row in found} == {64}


def test_the_ledger_by_name(recording: Path) -> None:
    found = by(rows(recording, "spans"), "span")
    request = found["request",]
    assert (request["count"], request["open"], request["since_seen"]) == (3, 0, 1)
    assert ms(request, "total_ns", "busy_ns", "idle_ns") == (1600, 1300, 300)
    assert ms(request, "p50_ns", "p90_ns", "p99_ns", "max_ns") == (500, 1000, 1000, 1000)
    assert ms(request, "cpu_ns", "blocked_ns", "runnable_ns") == (20, 30, 10)
    assert (request["sent_bytes"], request["growth_bytes"], request["samples"]) == (8, 8192, 2)
    assert (found["job",]["count"], found["job",]["open"]) == (0, 1)
    assert ms(found["job",], "busy_ns", "idle_ns", "max_ns") == (50, 7950, None)
    assert ms(found["thread job",], "blocked_ns") == (6600,)
    shop = by(rows(recording, "spans", command="shop"), "span")
    assert shop["request",]["count"] == 2
    early = by(rows(recording, "spans", end=EPOCH + 700 * MS), "span")
    late = by(rows(recording, "spans", begin=EPOCH + 700 * MS), "span")
    assert early["request",]["count"] + late["request",]["count"] == 3
    assert early["request",]["samples"] + late["request",]["samples"] == 2


def test_the_ledger_with_children(recording: Path) -> None:
    found = by(rows(recording, "spans_with_children"), "span")
    # 1, 4 and the other process's; in 1 lie two named db
    request = found["request",]
    assert (request["count"], request["children"], request["samples"]) == (3, 2, 5)
    assert ms(request, "total_ns") == (1600,)
    # the inner db lies in the outer one: it counts once
    db = found["db",]
    assert (db["count"], db["children"], db["samples"]) == (2, 0, 3)
    assert ms(db, "total_ns") == (200,)
    assert found["ring a",]["samples"] == found["ring b",]["samples"] == 2


def test_histogram_and_slowest(recording: Path) -> None:
    bins = [row for row in rows(recording, "span_histogram") if row["span"] == "request"]
    assert [(row["from_ns"], row["count"]) for row in bins] == [
        (1 << 26, 1), (1 << 28, 1), (1 << 29, 1),
    ]  # fmt: skip
    slowest = [row for row in rows(recording, "slowest_spans") if row["span"] == "request"]
    assert [(row["tgid"], row["span_id"]) for row in slowest] == [(200, 1), (100, 1), (100, 4)]
    first = slowest[1]
    assert ms(first, "begin_ns", "duration_ns", "busy_ns", "idle_ns") == (100, 500, 200, 300)
    assert (first["file_bytes"], first["socket_bytes"], first["block_bytes"]) == (150, 17, 4096)
    db = by(rows(recording, "slowest_spans"), "tgid", "span_id")[100, 2]
    assert (db["parent"], db["id"]) == ("request", 7001)


def test_stacks_of_a_span(recording: Path) -> None:
    found = by(rows(recording, "span_stacks"), "span", "cost")
    assert found["request", "cpu"]["stack"] == ["work", "main"]
    assert found["request", "blocked"]["value"] == 30 * MS
    assert found["request", "runnable"]["value"] == 10 * MS
    assert found["request", "blocked"]["stack"] == ["futex_wait", "entry", "lock", "main"]
    assert found["request", "growth"]["value"] == 8192


def test_stuck_spans_in_a_table(recording: Path) -> None:
    found = by(rows(recording, "stuck_spans", command="shop"), "span")
    assert set(found) == {("job",), ("thread job",)}
    job, thread = found["job",], found["thread job",]
    assert ms(job, "open_ns", "quiet_ns") == (8000, 7950)
    assert job["stack"] == ["first", "Lock.acquire"] and job["waker"] is None
    assert ms(thread, "open_ns", "quiet_ns") == (7000, 6500)
    assert thread["stack"] == ["futex_wait", "entry", "lock", "main"]
    assert (thread["waker"], thread["waker_span"]) == ("waking 102", "job")
    assert thread["last_pid"] == 105


def test_a_deadlock_is_named_and_taking_turns_is_none(recording: Path) -> None:
    (found,) = rows(recording, "deadlocks")
    assert found["says"] == DEADLOCK
    assert found["cycle"] == ["first", "second", "first"]
    assert (found["tgid"], found["waits"]) == (400, 2)
    assert found["since_ns"] == (END_MS - 5200) * MS


@pytest.mark.parametrize("size", [1, 3, 70])
def test_circles_of_any_size_are_found_once(size: int, tmp_path: Path) -> None:
    writer = RecordingWriter.create(tmp_path / "r", me(), header())

    def still(number: int, name: str, parent: int, lock: int) -> None:
        columns: dict[str, Any] = {
            "span_id": number,
            "trace_name": name,
            "parent_id": parent,
            "id": lock,
        }
        more: dict[str, Any] = {"open": True, "duration": 100, "busy": 1, "enters": 1}
        writer.write_events(events([1000], kind="trace_close", **columns, **more))

    for one in range(size):
        still(1 + one, "worker", 0, 0)
        still(1001 + one, "lock.hold", 1 + one, 0xA0 + one)
        still(2001 + one, "lock.wait", 1 + one, 0xA0 + (one + 1) % size)
    still(500, "outside", 0, 0)
    still(3000, "lock.wait", 500, 0xA0)  # waits for one in the circle, and is in none
    for one in (4000, 4001):  # a semaphore that both hold: who waits for it is in no circle
        still(one, "lock.hold", one - 3000, 0xF00)
    still(4002, "lock.wait", 1, 0xF00)
    writer.close(RecordingStatus(END, {}))
    (found,) = rows(tmp_path / "r", "deadlocks")
    assert found["waits"] == size
    if size == 3:
        assert found["says"] == (
            "worker #1 waits for lock 0xa1 held by worker #2; "
            "worker #2 waits for lock 0xa2 held by worker #3; "
            "worker #3 waits for lock 0xa0 held by worker #1; "
            "cycle: worker #1 -> worker #2 -> worker #3 -> worker #1"
        )


def test_locks(recording: Path) -> None:
    found = by(rows(recording, "locks"), "lock")
    turns = found["0x7f00000b000",]
    assert (turns["holds"], turns["waits"], turns["held_now"]) == (3, 2, "left")
    assert turns["waiting_now"] == ["right"]
    assert ms(turns, "held_ns", "waited_ns", "longest_hold_ns") == (5040, 4915, 5000)
    assert turns["longest_holder"] == "left" and turns["longest_waiter"] == "right"


def test_who_kept_whom_waiting(recording: Path) -> None:
    found = by(rows(recording, "span_blockers"), "span", "waker_span")
    request = found["request", "request"]  # of the other process, whose span has the same id
    assert (request["waker"], request["waits"]) == ("worker", 1)
    assert ms(request, "blocked_ns") == (30,) and request["waker_stack"] == ["unlock", "main"]
    assert ms(found["thread job", "job"], "blocked_ns") == (100,)


def test_span_wait_is_exact(recording: Path) -> None:
    """The truth by hand: between leaving and the next entering, the closing, or the end."""
    found = samples_of(recording, "span_wait", command="shop")
    # request: 200 → 500, and left when it was closed; db: 260 → 410; inner, late: at once; job
    assert totals(found) == {"count": 6, "wait": (300 + 0 + 150 + 0 + 0 + 7950) * MS}
    ended = next(label for label in found.labels if label.name == "ended").values.to_pylist()
    waits: dict[str, int] = {}
    for how, wait in zip(ended, found.values[:, 1].tolist(), strict=True):
        waits[how] = waits.get(how, 0) + wait // MS
    assert waits == {"entered": 300, "closed": 150, "open": 7950}
    # an id that is used again: left 10 ms before each closing, never from one use to the next
    assert totals(samples_of(recording, "span_wait", command="rusty")) == {
        "count": 3, "wait": 30 * MS,
    }  # fmt: skip


def test_span_wait_is_idle_time(recording: Path) -> None:
    (idle,) = asked(recording, "select sum(idle)::bigint as ns from spans")
    assert totals(samples_of(recording, "span_wait"))["wait"] == idle["ns"]


def test_one_that_was_entered_again_and_not_left_waited_only_before(tmp_path: Path) -> None:
    writer = RecordingWriter.create(tmp_path / "r", me(), header())
    span: dict[str, Any] = {"span_id": 1, "trace_name": "s"}
    exit_: dict[str, Any] = {"kind": "trace_exit", "duration": 100 * MS}
    writer.write_events(events([1100 * MS], **exit_, **span))
    more: dict[str, Any] = {"open": True, "enters": 2, "busy": 4100 * MS, "duration": 9000 * MS}
    writer.write_events(events([END_MS * MS], kind="trace_close", **more, **span))
    writer.close(RecordingStatus(END, {}))
    found = samples_of(tmp_path / "r", "span_wait")
    assert totals(found) == {"count": 1, "wait": 4900 * MS}  # 1100 → 6000
    (label,) = [one for one in found.labels if one.name == "ended"]
    assert label.values.to_pylist() == ["entered"]
    stuck = trace(tmp_path / "r", "stuck_spans")
    assert (stuck.start_ns.tolist(), stuck.duration_ns.tolist()) == ([6000 * MS], [4000 * MS])


def test_stuck_spans_in_a_trace(recording: Path) -> None:
    found = trace(recording, "stuck_spans", command="shop")
    at = {name: place for place, name in enumerate(found.name.to_pylist())}
    assert set(at) == {"job", "thread job"}
    state = found.detail("state")
    assert state is not None
    job, thread = at["job"], at["thread job"]
    assert (found.start_ns[job], found.duration_ns[job]) == (2050 * MS, 7950 * MS)
    assert (found.start_ns[thread], found.duration_ns[thread]) == (3000 * MS, 7000 * MS)
    assert [state.values.to_pylist()[one] for one in (job, thread)] == ["left", "entered"]


def test_slow_spans_are_those_that_kept_a_cpu_busy(recording: Path) -> None:
    found = trace(recording, "slow_spans", command="shop")
    oncpu = found.detail("oncpu")
    assert oncpu is not None
    told = sorted(zip(found.start_ns.tolist(), oncpu.values.to_pylist(), strict=True))
    assert (100 * MS, 60 * MS) in told  # 100 ms, 40 of which it waited
    assert all(value >= 10 * MS for _, value in told)


def test_spans_in_a_trace(recording: Path) -> None:
    names = trace(recording, "spans", command="shop").name.to_pylist()
    assert names.count("request") == 3 and names.count("request closed") == 2
    assert names.count("job still open") == 1


def test_spans_are_labels_of_every_kind(recording: Path) -> None:
    for query in ("cpu", "offcpu", "vfs_read", "tcp", "rss", "block"):
        found = samples_of(recording, query, command="shop", span="request")
        label = next(one for one in found.labels if one.name == "span_name")
        assert set(label.values.to_pylist()) == {"request"}, query


@pytest.mark.parametrize("how", ["cut short", "older"])
def test_what_nobody_told_of_is_open(how: str, tmp_path: Path) -> None:
    """A recorder that was killed wrote no rows of open spans; older ones had fewer columns."""
    path = write_spans(tmp_path / "r", told_open=False, cut=how == "older")
    if how == "older":
        for file in path.glob("events-*.parquet"):
            table = pq.read_table(file)
            old = table.drop_columns(["busy", "enters", "waker_span", "since_seen"])
            pq.write_table(old, file)
    found = by(rows(path, "spans", command="shop"), "span")
    assert (found["job",]["open"], found["thread job",]["open"]) == (1, 1)
    assert ms(found["request",], "busy_ns") == (300,)
    (deadlock,) = rows(path, "deadlocks")
    assert deadlock["says"] == DEADLOCK
    stuck = by(rows(path, "stuck_spans", command="shop"), "span")
    assert ms(stuck["job",], "quiet_ns") == (7950,)


def test_a_recording_without_spans_answers_with_nothing(tmp_path: Path) -> None:
    writer = RecordingWriter.create(tmp_path / "r", me(), header())
    writer.write_events(events([100], ustack=1))
    writer.write_stacks([Stack(1, [Frame("main")])])
    writer.close(RecordingStatus(END, {}))
    for name in ("spans", "spans_with_children", "slowest_spans", "stuck_spans", "deadlocks",
                 "locks", "span_blockers", "span_stacks", "span_histogram"):  # fmt: skip
        assert rows(tmp_path / "r", name) == [], name
