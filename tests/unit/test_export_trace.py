"""Traces: what each form holds is what the queries say, to the ns, by other readers than ours."""

from __future__ import annotations

import gzip
import html
import json
import os
import re
import shutil
from collections import defaultdict
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from browser import Shown, show
from export_fixture import HOSTILE, MS, write_fixture
from hypothesis import given
from hypothesis import strategies as st
from nested_parquet import write_nested
from store_rows import EPOCH, me
from trace_readers import ALL, Found, by_sql, made, ns, read_json, read_perfetto

from stacks_tui import text
from stacks_tui.cli import export as command
from stacks_tui.errors import StacksError, UsageError
from stacks_tui.export import trace_page, wire
from stacks_tui.export.formats import html as page_format
from stacks_tui.export.formats import trace as json_format
from stacks_tui.export.job import DEFAULT_QUERIES, Job
from stacks_tui.export.perfetto_proto import trace_class
from stacks_tui.export.questions import TRACES
from stacks_tui.export.registry import find_format
from stacks_tui.export.tracks import _nest
from stacks_tui.owner import User

WAITS = ("blocked: sleeping", "blocked: disk", "waits for a CPU")
MIXED = Path(__file__).resolve().parents[1] / "recordings" / "mixed"


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_fixture(tmp_path_factory.mktemp("trace") / "recording")


def same(found: Found, expected: Found) -> None:
    """Equal, and told part by part where not."""
    assert dict(found.slices) == dict(expected.slices)
    assert dict(found.instants) == dict(expected.instants)
    assert dict(found.counters) == dict(expected.counters)
    assert found.arrows == expected.arrows
    assert found.stacks == expected.stacks


@pytest.mark.parametrize("path", ["fixture", "real"])
def test_json_holds_what_the_queries_return(path: str, recording: Path, tmp_path: Path) -> None:
    source = recording if path == "fixture" else MIXED
    result = made(source, tmp_path / "x.json")
    found, trace = read_json(tmp_path / "x.json")
    expected = by_sql(source)
    same(found, expected)
    assert expected.arrows and expected.slices and expected.counters and expected.stacks
    events = [one for one in trace["traceEvents"] if one["ph"] in "XiC"]
    assert len(events) == result.rows


@pytest.mark.parametrize("path", ["fixture", "real"])
def test_perfetto_holds_what_the_queries_return(path: str, recording: Path, tmp_path: Path) -> None:
    source = recording if path == "fixture" else MIXED
    made(source, tmp_path / "x.pftrace", "perfetto")
    found, _ = read_perfetto(tmp_path / "x.pftrace")
    same(found, by_sql(source))


def test_slices_of_a_thread_nest(tmp_path: Path) -> None:
    made(MIXED, tmp_path / "x.json")
    _, trace = read_json(tmp_path / "x.json")
    by_thread = defaultdict(list)
    for one in trace["traceEvents"]:
        if one["ph"] == "X":
            by_thread[one["pid"], one["tid"]].append((ns(one["ts"]), -ns(one["dur"])))
    assert len(by_thread) > 5
    for slices in by_thread.values():
        ends: list[int] = []
        for begin, minus in sorted(slices):
            while ends and ends[-1] <= begin:
                ends.pop()
            assert not ends or begin - minus <= ends[-1]
            ends.append(begin - minus)


def test_arrows_begin_and_end_in_slices(tmp_path: Path) -> None:
    """Viewers bind an arrow to the slice around its end, and drop it where there is none."""
    made(MIXED, tmp_path / "x.json")
    events = read_json(tmp_path / "x.json")[1]["traceEvents"]
    slices = defaultdict(list)
    for one in events:
        if one["ph"] == "X":
            begin = ns(one["ts"])
            slices[one["pid"], one["tid"]].append((begin, begin + ns(one["dur"])))
    ends = [one for one in events if one["ph"] in "sf"]
    bound = [
        any(begin <= ns(one["ts"]) <= end for begin, end in slices[one["pid"], one["tid"]])
        for one in ends
    ]
    assert len(ends) > 1000 and sum(bound) > 0.99 * len(ends)


def test_processes_and_threads_have_names(recording: Path, tmp_path: Path) -> None:
    made(recording, tmp_path / "x.json")
    names: dict[str, dict[tuple[int, int], str]] = defaultdict(dict)
    for one in read_json(tmp_path / "x.json")[1]["traceEvents"]:
        if one["ph"] == "M" and one["name"].endswith("_name"):
            names[one["name"]][one["pid"], one["tid"]] = one["args"]["name"]
    assert names["process_name"] == {
        (0, 0): "the machine",
        (100, 0): "job",
        (200, 0): "other",
    }
    assert names["thread_name"][100, 101] == "worker"
    assert {"worker 101: spans", "worker 101: calls", "worker 101: block IO"} <= set(
        names["thread_name"].values()
    )
    made(recording, tmp_path / "x.pftrace", "perfetto")
    _, trace = read_perfetto(tmp_path / "x.pftrace")
    tracks = [one.track_descriptor for one in trace.packet if one.HasField("track_descriptor")]
    processes = {one.process.pid: one for one in tracks if one.HasField("process")}
    threads = {(one.thread.pid, one.thread.tid): one for one in tracks if one.HasField("thread")}
    assert processes[100].process.process_name == "job"
    assert threads[100, 101].thread.thread_name == "worker"
    calls = next(one for one in tracks if one.name == "calls")
    assert calls.parent_uuid == threads[100, 101].uuid
    rss = next(one for one in tracks if one.name == "rss")
    assert rss.parent_uuid == processes[100].uuid and rss.counter.unit == 3  # bytes
    assert len({one.uuid for one in tracks}) == len(tracks)


def test_details_are_there(recording: Path, tmp_path: Path) -> None:
    made(recording, tmp_path / "x.json")
    events = read_json(tmp_path / "x.json")[1]["traceEvents"]
    wait = next(one for one in events if one.get("cat") == "wait" and "waker" in one["args"])
    assert wait["args"]["state"] == "sleeping" and wait["args"]["waker"] == 200
    waits = [one["args"]["runnable_ns"] for one in events if one["name"] in WAITS]
    assert sorted(waits) == [0, 0, 100 * MS, 200 * MS]
    assert [one["args"] for one in events if one["ph"] == "C" and one["name"] == "rss"] == [
        {"bytes": (1 << 20)},
        {"bytes": (1 << 20) - 8192},
        {"bytes": 1 << 20},
    ]
    made(recording, tmp_path / "x.pftrace", "perfetto", "waits")
    _, trace = read_perfetto(tmp_path / "x.pftrace")
    names: dict[int, str] = {}
    texts: dict[int, str] = {}
    for packet in trace.packet:
        data = packet.interned_data
        names |= {one.iid: one.name for one in data.debug_annotation_names}
        texts |= {one.iid: one.str.decode() for one in data.debug_annotation_string_values}
    found = [
        {
            names[one.name_iid]: texts.get(one.string_value_iid, one.int_value)
            for one in packet.track_event.debug_annotations
        }
        for packet in trace.packet
        if packet.track_event.type == 1
    ]
    assert {"cpu": 1, "state": "preempted", "runnable_ns": 200 * MS, "waker": 0} not in found
    assert {"cpu": 1, "state": "preempted", "runnable_ns": 200 * MS} in found


def test_clocks_lead_to_the_time_of_day(recording: Path, tmp_path: Path) -> None:
    made(recording, tmp_path / "x.pftrace", "perfetto", "samples")
    _, trace = read_perfetto(tmp_path / "x.pftrace")
    clocks = {one.clock_id: one.timestamp for one in trace.packet[0].clock_snapshot.clocks}
    first = next(one.timestamp for one in trace.packet if one.HasField("perf_sample"))
    assert clocks[1] - clocks[6] + first == EPOCH + 100 * MS
    defaults = trace.packet[0].trace_packet_defaults
    assert defaults.perf_sample_defaults.timebase.period == 10 * MS


def test_a_stack_is_kept_whole_and_the_right_way_up(recording: Path, tmp_path: Path) -> None:
    made(recording, tmp_path / "x.json", "trace", "samples")
    found, trace = read_json(tmp_path / "x.json")
    recursive = ("leaf", "rec", "rec", "rec", "main")
    assert found.stacks["profile", recursive] == 3
    roots = {one["name"] for one in trace["stackFrames"].values() if "parent" not in one}
    assert roots == {"main", "[job+0x7777]"}


def test_times_before_the_recording_are_no_negative_ones(tmp_path: Path) -> None:
    """A wait that began before the recording did."""
    kernel = [("schedule", 2**63 + 1, 1)]
    base = {"tgid": 7, "pid": 8, "command": "job", "cpu": 1, "kstack": kernel}
    rows = [
        base | {"timestamp": EPOCH + 500, "kind": "switch", "duration": 900},
        base | {"timestamp": EPOCH + 700, "kind": "switch", "duration": 1},
    ]
    write_nested(tmp_path / "STACKS-1.parquet", rows)
    query = tmp_path / "mine.sql"
    query.write_text(
        "select 'complete' as event, 'x' as name, 1 as pid, -0.4 as start, 0.9 as duration"
    )
    made(tmp_path, tmp_path / "x.json", "trace", str(query))
    found, trace = read_json(tmp_path / "x.json")
    assert list(found.slices.values()) == [[(0, 900)]]
    assert next(one for one in trace["traceEvents"] if one["ph"] == "X")["ts"] == "0.000"
    made(tmp_path, tmp_path / "x.pftrace", "perfetto", "switches", "waits")
    found, _ = read_perfetto(tmp_path / "x.pftrace")
    assert found.slices["switch", "on CPU"] == [(0, 900), (1099, 1)]


def test_hostile_names_are_only_names(recording: Path, tmp_path: Path) -> None:
    made(recording, tmp_path / "x.json")
    raw = (tmp_path / "x.json").read_bytes()
    assert b"</script" not in raw and b"\x1b" not in raw and b"\0" not in raw
    found, _ = read_json(tmp_path / "x.json")
    assert (3180 * MS, 20 * MS) in found.slices["trace_exit", HOSTILE]
    made(recording, tmp_path / "x.pftrace", "perfetto")
    found, _ = read_perfetto(tmp_path / "x.pftrace")
    assert (3180 * MS, 20 * MS) in found.slices["trace_exit", HOSTILE]


def test_hostile_threads_and_processes_are_only_names(tmp_path: Path) -> None:
    base = {"tgid": 7, "pid": 8, "command": "</script>\x1b\n<b>", "cpu": 1}
    rows = [base | {"timestamp": EPOCH, "kind": "profile", "duration": 10}]
    write_nested(tmp_path / "STACKS-1.parquet", rows)
    made(tmp_path, tmp_path / "x.json", "trace", "samples")
    raw = (tmp_path / "x.json").read_bytes()
    assert b"<" not in raw and b"\x1b" not in raw
    names = {
        one["args"]["name"] for one in json.loads(raw)["traceEvents"] if "_name" in one["name"]
    }
    assert names == {base["command"]}
    made(tmp_path, tmp_path / "x.html", "html", "samples")
    shown = show(tmp_path / "x.html", "event=0")
    assert text.printable(str(base["command"])) in shown.text("event")
    assert not [line for line in shown.console if "Uncaught" in line]


def test_events_of_no_known_thread_are_their_processs(tmp_path: Path) -> None:
    row = {"tgid": 7, "pid": 0, "cpu": 0, "command": "job", "kind": "vfs_read", "amount": 5}
    write_nested(tmp_path / "STACKS-1.parquet", [row | {"timestamp": EPOCH, "duration": 0}])
    made(tmp_path, tmp_path / "x.json", "trace", "io")
    events = read_json(tmp_path / "x.json")[1]["traceEvents"]
    names = [one["args"]["name"] for one in events if one["name"].endswith("_name")]
    assert names == ["job", "process"]
    (read,) = (one for one in events if one["ph"] == "X")
    assert read["tid"] >= 1 << 22  # no thread's number
    made(tmp_path, tmp_path / "x.pftrace", "perfetto", "io")
    _, trace = read_perfetto(tmp_path / "x.pftrace")
    assert not any(one.track_descriptor.HasField("thread") for one in trace.packet)


def test_a_query_of_ones_own(recording: Path, tmp_path: Path) -> None:
    query = tmp_path / "mine.sql"
    query.write_text(
        "select 'complete' as event, 'a' as name, 7 as pid, 8 as tid, 1.5 as start, 2.25 as "
        "duration, 'k' as kind, null as flow_in, 5 as flow_out, 'it''s' as note, ustack as stack "
        "from (select ustack from events where kind = 'profile' limit 1) union all "
        "select 'complete', 'b', 9, 9, 3.001, 1, 'k', 5, null, null, null"
    )
    made(recording, tmp_path / "x.json", "trace", str(query))
    found, trace = read_json(tmp_path / "x.json")
    assert found.slices == {("k", "a"): [(1500, 2250)], ("k", "b"): [(3001, 1000)]}
    assert found.arrows == {(1500, 3001)}
    first = next(one for one in trace["traceEvents"] if one["ph"] == "X")
    assert first["args"]["note"] == "it's" and first["tid"] == 8
    made(recording, tmp_path / "x.pftrace", "perfetto", str(query))
    same(read_perfetto(tmp_path / "x.pftrace")[0], found)


@pytest.mark.parametrize("form", ["trace", "perfetto", "html"])
@pytest.mark.parametrize(
    ("sql", "says"),
    [
        ("select 1 as pid, 2 as name", "no column 'event'"),
        ("select 'slice' as event, 'x' as name, 1 as pid, 1 as start", "is no event"),
        ("select 'instant' as event, 'x' as name, 1 as pid, 1 as start, 1.5 as stack", "stack"),
    ],
)
def test_a_wrong_query_leaves_no_file(
    form: str, sql: str, says: str, recording: Path, tmp_path: Path
) -> None:
    (tmp_path / "mine.sql").write_text(sql)
    with pytest.raises(UsageError, match=says):
        made(recording, tmp_path / "out", form, str(tmp_path / "mine.sql"))
    assert os.listdir(tmp_path) == ["mine.sql"]


@pytest.mark.parametrize("form", ["trace", "perfetto", "html"])
def test_nothing_found_is_an_empty_trace(form: str, recording: Path, tmp_path: Path) -> None:
    result = made(recording, tmp_path / "out", form, command="nobody")
    assert result.rows == 0
    if form == "trace":
        found, trace = read_json(tmp_path / "out")
        assert trace["traceEvents"] == [] and trace["stackFrames"] == {}
    elif form == "perfetto":
        found, _ = read_perfetto(tmp_path / "out")
        assert found == Found()
    else:
        shutil.move(tmp_path / "out", tmp_path / "out.html")
        shown = opened(tmp_path / "out.html")
        assert "Nothing in the recording answers this" in shown.dom


def test_a_name_that_ends_with_gz_is_packed(recording: Path, tmp_path: Path) -> None:
    made(recording, tmp_path / "x.json.gz")
    made(recording, tmp_path / "x.json")
    assert (
        gzip.decompress((tmp_path / "x.json.gz").read_bytes()) == (tmp_path / "x.json").read_bytes()
    )


def test_too_much_text_of_stacks_is_left_out_and_told(
    recording: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(json_format, "_MOST_TEXT", 10)
    result = made(recording, tmp_path / "x.json", "trace", "samples")
    trace = json.loads((tmp_path / "x.json").read_text())
    samples = [one for one in trace["traceEvents"] if one["ph"] == "i"]
    assert all("stack" not in one["args"] for one in samples)
    assert sum("sf" in one for one in samples) == 5
    assert any("--format perfetto" in note for note in result.notes)


def test_the_usual_queries_are_there() -> None:
    assert set(DEFAULT_QUERIES[TRACES]) <= set(ALL)


def opened(path: Path) -> Shown:
    shown = show(path)
    assert not [line for line in shown.console if "Uncaught" in line or "Refused" in line]
    assert 'id="failed"' not in shown.dom
    return shown


def sums_of(shown: Shown) -> dict[str, tuple[int, int]]:
    """Name: events and ns, as the page adds them up."""
    found = re.findall(r'<tr data-count="(\d+)" data-ns="(\d+)"><td>(.*?)</td>', shown.dom)
    assert found
    return {
        html.unescape(re.sub("<[^>]*>", "", name)): (int(count), int(total))
        for count, total, name in found
    }


@pytest.mark.parametrize("path", ["fixture", "real"])
def test_a_browser_adds_up_what_the_queries_say(path: str, recording: Path, tmp_path: Path) -> None:
    source = recording if path == "fixture" else MIXED
    made(source, tmp_path / "x.html", "html")
    shown = opened(tmp_path / "x.html")
    expected: dict[str, list[int]] = defaultdict(lambda: [0, 0])
    answer = by_sql(source)
    for (_, name), slices in answer.slices.items():
        expected[text.printable(name)][0] += len(slices)
        expected[text.printable(name)][1] += sum(duration for _, duration in slices)
    for (_, name), times in answer.instants.items():
        expected[text.printable(name)][0] += len(times)
    assert sums_of(shown) == {name: (count, total) for name, (count, total) in expected.items()}
    assert 'data-ready="1"' in shown.dom


def test_the_page_shows_an_event_with_its_stack(recording: Path, tmp_path: Path) -> None:
    made(recording, tmp_path / "x.html", "html", "samples")
    shown = show(tmp_path / "x.html", "event=0&search=REC")
    panel = shown.text("event")
    assert "sample" in panel and "worker, thread 101 of job 100" in panel
    assert re.sub(r"\s+", " ", panel).count("rec /bin/job") == 3
    assert shown.text("found") == "3 events"


def test_the_page_is_drawn(tmp_path: Path) -> None:
    made(MIXED, tmp_path / "x.html", "html")
    show(tmp_path / "x.html", picture=tmp_path / "x.png")
    show(tmp_path / "x.html", "event=-1&search=nothing", picture=tmp_path / "dim.png")
    drawn = (tmp_path / "x.png").read_bytes()
    assert len(drawn) > 25_000  # an empty page packs into less than half of it
    assert drawn != (tmp_path / "dim.png").read_bytes()


def test_hostile_names_do_nothing_in_the_page(recording: Path, tmp_path: Path) -> None:
    made(recording, tmp_path / "x.html", "html")
    raw = (tmp_path / "x.html").read_text()
    assert raw.count("</script>") == 2 and "http" not in raw.replace("http-equiv", "")
    shown = opened(tmp_path / "x.html")
    assert text.printable(HOSTILE) in sums_of(shown)


def test_a_page_of_too_many_events_says_what_it_left_out(
    recording: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(page_format, "_MOST", 10)
    result = made(recording, tmp_path / "x.html", "html")
    (note,) = result.notes
    assert "shows 10 of" in note and "slices of up to" in note and "evenly thinned" in note
    shown = opened(tmp_path / "x.html")
    assert html.unescape(shown.text("left-out")) == note
    assert sum(count for count, _ in sums_of(shown).values()) <= 10


def go_tree() -> Path:
    found = trace_page._go_viewer()
    if found is None:
        pytest.skip("no Go tree with a trace viewer on this machine")
    return found


def job_of(recording: Path, path: Path) -> Job:
    return Job((recording,), find_format("trace"), ALL, path=path)


def test_the_viewer_of_a_go_tree_shows_the_trace(recording: Path, tmp_path: Path) -> None:
    go_tree()
    made(recording, tmp_path / "x.json")
    page = trace_page.make_page(job_of(recording, tmp_path / "x.json"), tmp_path / "x.json", me())
    assert page.path == tmp_path / "x.html" and "Go" in page.by
    shown = show(page.path)
    assert not [line for line in shown.console if "Uncaught" in line]
    for name in ("job (pid 100)", "other (pid 200)", "worker 101: calls", "worker 101: block IO"):
        assert name in shown.dom  # drawn: the file itself has it in base64


def test_without_other_viewers_the_page_is_ours(
    recording: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(trace_page, "_go_viewer", lambda: None)
    monkeypatch.setenv("PATH", "/nonexistent")
    made(recording, tmp_path / "x.json.gz")
    job = job_of(recording, tmp_path / "x.json.gz")
    page = trace_page.make_page(job, tmp_path / "x.json.gz", me())
    assert page.by == "stacks-tui's own timeline" and page.path == tmp_path / "x.html"
    monkeypatch.undo()
    assert sums_of(opened(page.path))["on CPU"] == (2, 200 * MS)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to give it up")
def test_trace2html_runs_as_the_user_and_never_as_root(
    recording: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    nobody = User(65534, 65534, Path("/nonexistent"), "nobody")
    for folder in (tmp_path, *tmp_path.parents):
        if str(folder).startswith("/tmp/pytest"):
            folder.chmod(0o777)
    program = tmp_path / "bin" / "trace2html"
    program.parent.mkdir(mode=0o755)
    program.write_text('#!/bin/sh\n(id -u; echo "$1 $2") > "$3"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    path = tmp_path / "a b;c.json"
    path.write_text("{}")
    page = trace_page.make_page(job_of(recording, path), path, nobody)
    assert page.by == "trace2html"
    assert page.path.read_text() == f"65534\n{path} --output\n"
    page.path.unlink()
    root = User(0, 0, Path("/root"), "root")
    assert trace_page.make_page(job_of(recording, path), path, root).by != "trace2html"


@given(
    st.lists(
        st.tuples(
            st.integers(0, 2**64 - 1), st.integers(0, 2**31 - 1), st.booleans(), st.booleans()
        ),
        min_size=1,
        max_size=20,
    )
)
def test_columns_are_encoded_as_protobuf_does(rows: list[tuple[int, int, bool, bool]]) -> None:
    times, ids = (np.array([row[at] for row in rows], np.uint64) for at in (0, 1))
    there, whole = (np.array([row[at] for row in rows]) for at in (2, 3))
    piece = wire.message(
        1,
        wire.integer(8, times),
        wire.integer(10, ids, there),
        rows=whole,
    )
    expected = trace_class()()
    for time, number, shown, kept in rows:
        if kept:
            packet = expected.packet.add(timestamp=time)
            if shown:
                packet.trusted_packet_sequence_id = number
    assert wire.to_bytes(piece) == expected.SerializeToString()


@given(
    st.lists(
        st.tuples(st.integers(0, 2), st.integers(0, 12), st.integers(0, 6)), min_size=1, max_size=14
    )
)
def test_on_its_lane_every_slice_nests(slices: list[tuple[int, int, int]]) -> None:
    key, start, length = (np.array(column, np.int64) for column in zip(*slices, strict=True))
    lane, depth = _nest(key, start, start + length)
    by_lane: dict[Any, list[tuple[int, int, int]]] = defaultdict(list)
    for at in range(len(key)):
        by_lane[int(key[at]), int(lane[at])].append(
            (int(start[at]), -int(length[at]), int(depth[at]))
        )
    for placed in by_lane.values():
        for begin, minus, deep in placed:
            # no other one of its depth overlaps it for any time
            others = [one for one in placed if one[2] == deep and one != (begin, minus, deep)]
            for other, other_minus, _ in others:
                assert other - other_minus <= begin or begin - minus <= other


def test_the_command_says_who_made_the_page(
    recording: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = str(tmp_path / "x.json")
    assert command.main(["trace", "-r", str(recording), "-o", path, "--page"]) == 0
    told = capfd.readouterr().out
    assert re.search(rf"page: {tmp_path}/x\.html, by \S", told) and (tmp_path / "x.html").exists()
    (tmp_path / "x.html").unlink()
    assert command.main(["trace", "-r", str(recording), "-o", path, "--format", "perfetto"]) == 0
    told = capfd.readouterr().out
    assert "ui.perfetto.dev opens it" in told and os.listdir(tmp_path) == ["x.json"]


@pytest.mark.parametrize("form", ["perfetto", "html"])
def test_options_of_another_form_are_refused(
    form: str, recording: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    option = "--page" if form == "perfetto" else "--perfetto-ui"
    out = str(tmp_path / "x")
    wrong = ["trace", "-r", str(recording), "-o", out, "--format", form, option]
    assert command.main(wrong) == 2
    assert option in capfd.readouterr().err and os.listdir(tmp_path) == []


def test_errors_are_ours(recording: Path, tmp_path: Path) -> None:
    path = tmp_path / "no" / "x.json"
    with pytest.raises(StacksError):
        trace_page.make_page(job_of(recording, path), path, me())
