"""Queries for profiles, traces and tables: what they declare, and answers one can add up."""

from __future__ import annotations

import io
from itertools import pairwise
from pathlib import Path
from typing import Any

import duckdb
import pytest
from export_fixture import (
    END,
    IN_KERNEL,
    KERNEL,
    MS,
    TOTALS,
    frame,
    names,
    samples_of,
    totals,
    write_fixture,
)
from nested_parquet import write_nested
from store_rows import EPOCH, Frame, Stack, events, header, me

from stacks_tui.errors import StacksError, UsageError
from stacks_tui.export.framing import is_list
from stacks_tui.export.model import COMPLETE, COUNTER, INSTANT, Trace
from stacks_tui.export.questions import (
    ALL_LABELS,
    STACKS,
    TABLES,
    TRACES,
    ask,
    find_question,
    questions,
    recorded,
    rows_of,
)
from stacks_tui.export.registry import find_format
from stacks_tui.export.selection import Selection
from stacks_tui.export.task import ExportOptions, Task
from stacks_tui.export.timeline import load_trace
from stacks_tui.python.shown import Shown
from stacks_tui.store.manifest import RecordingStatus
from stacks_tui.store.reader import open_recording
from stacks_tui.store.writer import RecordingWriter

EVERY = [(folder, one) for folder in (STACKS, TRACES, TABLES) for one in questions(folder)]
GIVEN = {*Selection().parameters(), "labels", "origin", "recorded_begin", "recorded_end"}


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_fixture(tmp_path_factory.mktemp("export") / "recording")


def rows(path: Path, name: str, folder: str = TABLES, **filters: Any) -> list[dict[str, Any]]:
    question = find_question(name, folder)
    with open_recording(path, me()) as opened:
        span = recorded(opened)
        relation = ask(opened, question, Selection(**filters), span, span.begin, Task())
        return list(rows_of(relation, question).to_pylist())


def trace(path: Path, *asked: str, options: ExportOptions | None = None, **filters: Any) -> Trace:
    with open_recording(path, me()) as opened:
        found = [find_question(name, TRACES) for name in asked]
        return load_trace([opened], found, Selection(**filters), Task(options or ExportOptions()))


@pytest.mark.parametrize(("folder", "one"), EVERY, ids=[f"{f}-{one.name}" for f, one in EVERY])
def test_a_query_says_what_it_answers_and_declares_its_parameters(
    folder: str, one: Any, recording: Path
) -> None:
    assert one.answers.endswith("?")
    with duckdb.connect() as connection:
        (statement,) = connection.extract_statements(one.sql)
    declared = {name for name, _ in one.parameters}
    assert statement.named_parameters - GIVEN == declared
    assert {"command", "buildid", "pid", "begin", "end"} <= statement.named_parameters
    with open_recording(recording, me()) as opened:
        span = recorded(opened)
        relation = ask(opened, one, Selection(), span, span.begin, Task())
        columns = relation.columns
    assert {name for name, _ in one.columns} <= set(columns)
    if folder == STACKS:
        assert columns[:2] == ["stack", "count"]


def test_python_stacks_are_merged_of_python_alone_or_native(tmp_path: Path) -> None:
    """Totals stay; a stack of which nothing is left says so."""
    path = tmp_path / "recording"
    loop = frame("_PyEval_EvalFrameDefault", 0x7000, module="/usr/bin/python3")
    handle = Frame("handle", 0x55550000, 6, "[python]", None, "h.py", 9)
    read, main = frame("read", 0x9000, 16, "/lib/libc.so"), frame("main", 0x3000)
    writer = RecordingWriter.create(path, me(), header())
    for stacks in ({"kstack": 3, "ustack": 1}, {"ustack": 2}, {"kstack": 3}, {}):
        given: dict[str, Any] = {"kind": "profile", "duration": 5, **stacks}
        writer.write_events(events([MS], **given))
    native = [read, loop, main]
    writer.write_stacks(
        [
            Stack(1, [read, handle, main], native=native),
            Stack(2, [main]),
            Stack(3, [frame("vfs_read", KERNEL, module="[kernel]")]),
        ]
    )
    writer.close(RecordingStatus(END))
    found = {}
    for shown in Shown:
        samples = samples_of(path, "cpu", options=ExportOptions(shown=shown))
        assert totals(samples) == {"count": 4, "cpu": 20}
        found[shown] = sorted(names(samples, at) for at in range(len(samples)))
    rest = [["[no stack]"], ["main"], ["vfs_read"]]
    assert found[Shown.MERGED] == [*rest, ["vfs_read", "read", "handle", "main"]]
    assert found[Shown.NATIVE] == [
        *rest, ["vfs_read", "read", "_PyEval_EvalFrameDefault", "main"],
    ]  # fmt: skip
    gone = ["[no Python frames]"]
    assert found[Shown.PYTHON] == [gone, ["[no stack]"], ["handle"]]  # two stacks are one now


def test_every_profile_query_has_known_totals() -> None:
    assert set(TOTALS) == {one.name for one in questions(STACKS)}


@pytest.mark.parametrize("name", TOTALS)
def test_totals_of_profiles(name: str, recording: Path) -> None:
    assert totals(samples_of(recording, name)) == TOTALS[name]


@pytest.mark.parametrize("name", TOTALS)
def test_windows_that_touch_add_up_to_the_whole(name: str, recording: Path) -> None:
    sums: dict[str, int] = dict.fromkeys(TOTALS[name], 0)
    edges = [EPOCH, *(EPOCH + ms * MS for ms in (500, 1500, 2400, 2701, 3050, 3100)), END + 1]
    for begin, end in pairwise(edges):
        for value, total in totals(samples_of(recording, name, begin=begin, end=end)).items():
            sums[value] += total
    assert sums == TOTALS[name]


@pytest.mark.parametrize("labels", [(), ALL_LABELS, ("cgroup",), ("thread", "span_id")])
def test_labels_change_no_total(labels: tuple[str, ...], recording: Path) -> None:
    for name, expected in TOTALS.items():
        samples = samples_of(recording, name, options=ExportOptions(labels=labels))
        assert totals(samples) == expected
    found = samples_of(recording, "cpu", options=ExportOptions(labels=labels))
    asked = {label.name for label in found.labels}
    assert asked <= set(labels)
    if "cgroup" in labels:
        column = next(label for label in found.labels if label.name == "cgroup")
        assert set(column.values.to_pylist()) == {"/a/b", "/ab"}


def test_blocked_and_runnable_are_all_of_off_cpu(recording: Path) -> None:
    parts = TOTALS["blocked"]["blocked"] + TOTALS["runnable"]["runnable"]
    assert parts == TOTALS["offcpu"]["offcpu"]


def test_kernel_frames_are_at_the_leaf_and_recursion_is_kept(recording: Path) -> None:
    samples = samples_of(recording, "cpu", options=ExportOptions(labels=()))
    stacks = {tuple(names(samples, at)) for at in range(len(samples))}
    assert ("leaf", "rec", "rec", "rec", "main") in stacks
    assert ("vfs_read", "entry", "read", "main") in stacks
    assert ("[no stack]",) in stacks  # viewers drop samples without any frame
    by_name = {one.lines[-1].name: one for one in samples.stacks.locations}
    assert by_name["vfs_read"].kernel and by_name["vfs_read"].address == KERNEL + 9
    assert by_name["leaf"].address == 0x1004  # it was executing there
    assert by_name["rec"].address == 0x2003  # in the call before its return address


def test_a_waker_and_a_reason_are_labels(recording: Path) -> None:
    samples = samples_of(recording, "wait_wakers", options=ExportOptions(labels=()))
    (waker,) = samples.labels
    assert waker.name == "waker"
    found = dict(zip(waker.values.to_pylist(), samples.values[:, 1].tolist(), strict=True))
    assert found == {"worker 200": 300 * MS, None: 400 * MS}
    samples = samples_of(recording, "wait_reasons", options=ExportOptions(labels=()))
    (reason,) = samples.labels
    sums: dict[str, int] = {}
    for state, value in zip(reason.values.to_pylist(), samples.values[:, 1].tolist(), strict=True):
        sums[state] = sums.get(state, 0) + value
    assert sums == {"other wait": 800 * MS, "preempted": 200 * MS}
    wakers = samples_of(recording, "wakers", options=ExportOptions(labels=()))
    assert names(wakers, 0) == ["try_to_wake_up", "unlock", "worker"]
    # where a waker's kernel part ends, its own next instruction is known
    unlock = next(one for one in wakers.stacks.locations if one.lines[0].name == "unlock")
    assert unlock.address == 0x4004


@pytest.mark.parametrize(
    ("filters", "samples"),
    [
        ({"command": "job"}, 5),
        ({"command": "o'; --"}, 0),
        ({"pids": (200, 7)}, 1),
        ({"thread": "reader"}, 1),
        ({"thread": "101"}, 5),
        ({"cgroup": "/a"}, 5),
        ({"cgroup": "/a/b/"}, 5),
        ({"cgroup": "/"}, 6),
        ({"buildid": bytes(range(20))}, 3),
        ({"begin": EPOCH + 300 * MS}, 4),
        ({"end": EPOCH + 300 * MS}, 2),
        ({"begin": EPOCH + 300 * MS, "command": "other"}, 1),
    ],
)
def test_filters(filters: dict[str, Any], samples: int, recording: Path) -> None:
    assert totals(samples_of(recording, "cpu", **filters))["count"] == samples


def test_spans_are_filtered_by_name_and_number(recording: Path) -> None:
    assert totals(samples_of(recording, "span_time", span="load"))["count"] == 3
    assert totals(samples_of(recording, "span_time", span="3"))["count"] == 1


def test_several_queries_are_values_of_the_same_samples(recording: Path) -> None:
    samples = samples_of(
        recording, "cpu", "offcpu", "vfs_read", options=ExportOptions(labels=("command",))
    )
    assert totals(samples) == {
        "cpu_count": 6,
        "cpu": 60 * MS,
        "offcpu_count": 4,
        "offcpu": 1_000 * MS,
        "vfs_read_count": 2,
        "vfs_read_read": 300,
        "vfs_read_read_time": 14,
    }
    assert samples.types[samples.main].name == "cpu"
    both = [at for at in range(len(samples)) if names(samples, at)[:1] == ["vfs_read"]]
    assert len(both) == 1  # one stack with all three
    assert samples.values[both[0], [1, 3, 5]].tolist() == [10 * MS, 800 * MS, 300]


def test_traces(recording: Path) -> None:
    found = trace(recording, "switches", "waits", "samples", "rss", "spans", "io", "run_queue")
    assert found.zero == EPOCH
    assert (found.start_ns[1:] >= found.start_ns[:-1]).all()
    named = list(zip(found.name.to_pylist(), found.event.tolist(), strict=True))
    assert named.count(("on CPU", COMPLETE)) == 2
    assert named.count(("sample", INSTANT)) == 6
    assert named.count(("rss", COUNTER)) == 3
    assert named.count(("waits for a CPU", COMPLETE)) == 1
    wait = named.index(("blocked: sleeping", COMPLETE))
    assert (found.start_ns[wait], found.duration_ns[wait]) == (800 * MS, 200 * MS)
    stack = found.stacks.stack(int(found.stack[wait]))
    assert [one.lines[0].name for one in stack] == ["vfs_read", "entry", "read", "main"]
    runnable, waker = found.detail("runnable"), found.detail("waker")
    assert runnable is not None and waker is not None and runnable.unit == "nanoseconds"
    assert sorted(value for value in runnable.values.to_pylist() if value) == [100 * MS, 200 * MS]
    assert waker.values.to_pylist()[wait] == 200
    assert found.processes[100] == "job" and found.threads[100, 101] in ("worker", "reader")
    queue = [at for at, (name, _) in enumerate(named) if name.startswith("run queue")]
    assert [(int(found.start_ns[at]), int(found.amount[at])) for at in queue] == [
        (1400 * MS, 1),
        (1500 * MS, 0),
        (1700 * MS, 1),
        (1900 * MS, 0),
    ]


def test_slow_and_stuck_spans(recording: Path) -> None:
    slow = trace(recording, "slow_spans", options=ExportOptions(minimum_ns=50 * MS))
    assert slow.duration_ns.tolist() == [50 * MS]
    assert (
        trace(recording, "slow_spans", options=ExportOptions(minimum_ns=51 * MS)).name is not None
    )
    assert len(trace(recording, "slow_spans")) == 4
    stuck = trace(recording, "stuck_spans")
    assert stuck.start_ns.tolist() == [3100 * MS, 3200 * MS]
    assert stuck.duration_ns.tolist() == [6_900 * MS, 6_800 * MS]


def test_tables(recording: Path) -> None:
    processes = {row["command"]: row for row in rows(recording, "top_processes")}
    assert processes["job"]["cpu_ns"] == 200 * MS  # its slices
    assert processes["other"]["cpu_ns"] == 10 * MS  # no slice was recorded of it: its samples
    assert processes["job"]["blocked_ns"] == 700 * MS and processes["job"]["growth_bytes"] == 8192
    assert {row["cgroup"]: row["cpu_ns"] for row in rows(recording, "top_cgroups")} == {
        "/a/b": 200 * MS,
        "/ab": 10 * MS,
    }
    (queue,) = rows(recording, "run_queue")
    assert (queue["waits"], queue["runnable_ns"], queue["longest_ns"]) == (2, 300 * MS, 200 * MS)
    sizes = {(row["kind"], row["from_bytes"]): row for row in rows(recording, "io_sizes")}
    assert sizes["vfs_write", 2**40]["below_bytes"] == 2**41
    assert (sizes["vfs_read", 128]["count"], sizes["vfs_read", 128]["bytes"]) == (2, 300)
    latency = {
        (row["kind"], row["from_ns"]): row["total_ns"] for row in rows(recording, "io_latency")
    }
    assert latency["blk_write", 16] == 40
    seconds = {(row["second"], row["kind"]): row for row in rows(recording, "per_second")}
    assert seconds[2, "rss"]["delta_bytes"] == 8192
    assert (seconds[2, "tcp_recv"]["count"], seconds[2, "tcp_recv"]["amount"]) == (2, 30)
    assert len(rows(recording, "events")) == 30
    assert rows(recording, "events", begin=END)[0]["kstack"] == IN_KERNEL


NESTED = [("leaf", 16, 1), ("rec", 32, 2), ("rec", 32, 2), ("main", 48, 3)]


def test_the_nested_layout_answers_the_same_queries(tmp_path: Path) -> None:
    base = {"tgid": 7, "pid": 8, "command": "job", "cpu": 1, "buildid": b"\xaa" * 20}
    kernel = [("schedule", KERNEL, 1)]
    switch = base | {"kind": "switch", "kstack": kernel, "ustack": NESTED}
    write_nested(
        tmp_path / "STACKS-1.parquet",
        [
            base | {"timestamp": EPOCH, "kind": "profile", "duration": 10, "ustack": NESTED},
            switch | {"timestamp": EPOCH + 100, "duration": 50},
            switch | {"timestamp": EPOCH + 400, "duration": 100},
            switch | {"timestamp": EPOCH + 450, "duration": 50, "kstack": [], "ustack": []},
            switch | {"timestamp": EPOCH + 900, "duration": 50},
            base | {"timestamp": EPOCH + 901, "kind": "rss", "amount": 8192, "ustack": NESTED},
            base | {"timestamp": EPOCH + 902, "kind": "rss", "amount": 4096, "ustack": NESTED},
        ],
    )
    cpu = samples_of(tmp_path, "cpu")
    assert totals(cpu) == {"count": 1, "cpu": 10}
    assert names(cpu, 0) == ["leaf", "rec", "rec", "main"]
    off = samples_of(tmp_path, "offcpu", options=ExportOptions(labels=()))
    # 100 → 300, 400 → 400 (nothing between), 450 → 850: also where no stack was taken
    assert totals(off) == {"count": 2, "offcpu": 600}
    assert sorted(len(names(off, at)) for at in range(len(off))) == [1, 5]
    assert totals(samples_of(tmp_path, "blocked")) == {"count": 0, "blocked": 0}  # not known there
    assert totals(samples_of(tmp_path, "rss")) == {"count": 2, "growth": -4096}
    assert len(trace(tmp_path, "waits", "switches")) == 6
    for name in TOTALS:
        samples_of(tmp_path, name)
    for one in questions(TABLES):
        rows(tmp_path, one.name)
    for one in questions(TRACES):
        trace(tmp_path, one.name)
    for form in ("pprof", "flamegraph", "speedscope", "folded"):
        find_format(form).write(cpu, io.BytesIO(), Task())
    find_format("firefox").write(trace(tmp_path, "waits", "rss"), io.BytesIO(), Task())


def own(tmp_path: Path, text: str) -> str:
    path = tmp_path / "mine.sql"
    path.write_text(text)
    return str(path)


@pytest.mark.parametrize(
    ("sql", "stack"),
    [
        ("select ustack, count(*) from events where ustack = 1 group by all", 5),
        (
            "select ustack, count(*), max(duration) as t from events where ustack = 1 group by 1",
            5,
        ),
        ("select ustack, 3::hugeint as n, 'x' as l from samples where ustack[1].name = 'leaf'", 5),
        ("select [kstack, null, ustack], 1::double from events where kind = 'vfs_read'", 4),
        ("select null, 1 from events limit 1", 1),
        ("select []::ubigint[], 1", 1),
        (
            "select list_transform(ustack, lambda f: struct_pack(name := f.name, "
            'address := f.address, "offset" := f."offset")) as s, 1::ubigint as n from samples '
            "where kind = 'profile' and ustack[1].name = 'leaf'",
            5,
        ),
        ("select 12345::ubigint, 1", 1),  # an id that is not in the recording
    ],
)
def test_own_queries(sql: str, stack: int, recording: Path, tmp_path: Path) -> None:
    samples = samples_of(recording, own(tmp_path, sql))
    assert len(samples) == 1
    assert len(names(samples, 0)) == stack
    assert samples.types[0].name == "count" and int(samples.values[0, 0]) > 0


@pytest.mark.parametrize(
    ("sql", "says"),
    [
        ("select\n  1,\n  ustack frm events", "line 3"),
        ("select 1,\n  nothing\nfrom events", "line 2: nothing"),
        ("select 1,\n  2,\n  no_function(1)", "line 3: no_function(1)"),
        ("select 1", "a stack and a count"),
        ("select 'x', 1", "type string"),
        ("select ustack, 'x' from events", "second column"),
        ("select ustack, 0.5 from events", "whole numbers"),
        ("select ustack, 18446744073709551615::ubigint from events", "whole numbers"),
        ("select [1.5], 1", "type list"),
        ("select [struct_pack(a := 1)], 1", "no name and address"),
        ("copy events to 'x'", "one SELECT"),
        ("select ustack, 1 / 0 from events; drop table events", "one SELECT"),
        ("select error('no'), 1 from events", "no"),
    ],
)
def test_broken_queries_are_told_in_one_line(
    sql: str, says: str, recording: Path, tmp_path: Path
) -> None:
    with pytest.raises(StacksError) as caught:
        samples_of(recording, own(tmp_path, sql))
    assert says in str(caught.value) and "mine" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_filter_that_an_own_query_ignores_is_refused(recording: Path, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"\$pid"):
        samples_of(recording, own(tmp_path, "select ustack, 1 from events"), pids=(1,))
    sql = (
        "select ustack, count(*) from chosen($labels, $command, $buildid, $pid, $thread, $cgroup, "
        "$span, $begin, $end) where kind = 'profile' group by all"
    )
    assert totals(samples_of(recording, own(tmp_path, sql), pids=(200,)))["count"] == 1


@pytest.mark.parametrize(
    ("name", "says"),
    [
        ("cpuu", "'cpu'"),
        ("switches", "for traces"),
        ("/no/such.sql", "can't read"),
        ("/dev/null/x.sql", "can't read"),
        ("\0.sql", "can't read"),
    ],
)
def test_unknown_queries(name: str, says: str) -> None:
    with pytest.raises(UsageError, match=says):
        find_question(name, STACKS)


@pytest.mark.parametrize(
    ("sql", "says"),
    [
        ("select 1 as pid", "no column 'event'"),
        ("select 'complete' as event, 'x' as name, 1 as pid", "neither 'start' nor 'timestamp'"),
        ("select 'begin' as event, 'x' as name, 1 as pid, 1 as start", "'begin' is no event"),
        ("select 'instant' as event, 'x' as name, 1 as pid, 'x' as start", "is no time"),
        ("select 'instant' as event, 'x' as name, 'x' as pid, 1 as start", "whole numbers"),
    ],
)
def test_own_queries_that_are_no_traces(
    sql: str, says: str, recording: Path, tmp_path: Path
) -> None:
    with pytest.raises(UsageError, match=says):
        trace(recording, own(tmp_path, sql))


def test_times_since_the_epoch_are_understood(recording: Path, tmp_path: Path) -> None:
    sql = (
        "select 'complete' as event, 'x' as name, tgid as pid, timestamp // 1000 as start, "
        "7 as duration from events where kind = 'profile'"
    )
    found = trace(recording, own(tmp_path, sql))
    assert found.start_ns.tolist() == [ms * MS for ms in (100, 200, 300, 400, 500, 600)]
    assert set(found.duration_ns.tolist()) == {7000}


def test_lists_are_told_from_other_types(recording: Path) -> None:
    with open_recording(recording, me()) as opened:
        table = opened.table("select [1] as a, 1 as b")
    assert is_list(table.schema.field("a").type) and not is_list(table.schema.field("b").type)
