"""Profiles for Firefox Profiler: their tables by hand, and read back by Mozilla's own reader."""

from __future__ import annotations

import contextlib
import gzip
import io
import json
import os
import re
import shutil
import signal
import subprocess
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from export_fixture import BUILDID, END, HOSTILE, MS, write_fixture
from store_rows import EPOCH, me

from stacks_tui import text
from stacks_tui.export.formats.firefox import write_firefox
from stacks_tui.export.model import COMPLETE, COUNTER, INSTANT, Trace
from stacks_tui.export.questions import TRACES, find_question
from stacks_tui.export.selection import Selection
from stacks_tui.export.task import CancelledError, Task
from stacks_tui.export.timeline import load_trace
from stacks_tui.store.reader import open_recording

QUERIES = ("samples", "switches", "waits", "spans", "io", "rss")


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_fixture(tmp_path_factory.mktemp("firefox") / "recording")


def trace_of(path: Path, *queries: str, **filters: Any) -> Trace:
    asked = [find_question(name, TRACES) for name in queries or QUERIES]
    with open_recording(path, me()) as recording:
        return load_trace([recording], asked, Selection(**filters), Task())


def written(trace: Trace, path: Path | None = None) -> dict[str, Any]:
    out = io.BytesIO()
    write_firefox(trace, out, Task())
    if path is not None:
        path.write_bytes(out.getvalue())
    assert out.getvalue()[4:8] == b"\0" * 4  # no time in the header: reproducible
    made: dict[str, Any] = json.loads(gzip.decompress(out.getvalue()))
    return made


def names_of(made: dict[str, Any], stack: int | None) -> tuple[str, ...]:
    """Leaf first."""
    shared, found = made["shared"], []
    while stack is not None:
        frame = shared["stackTable"]["frame"][stack]
        function = shared["frameTable"]["func"][frame]
        found.append(shared["stringArray"][shared["funcTable"]["name"][function]])
        stack = shared["stackTable"]["prefix"][stack]
    return tuple(found)


def expected_of(trace: Trace, event: int) -> tuple[str, ...]:
    at = trace.stack[event] if trace.stack[event] >= 0 else trace.end_stack[event]
    locations = trace.stacks.stack(int(at)) if at >= 0 else ()
    return tuple(text.printable(line.name) for one in locations for line in one.lines)


def test_tables_are_whole_and_point_into_each_other(recording: Path) -> None:
    made = written(trace_of(recording))
    shared = made["shared"]
    lengths = {name: table["length"] for name, table in shared.items() if name != "stringArray"}
    for name, table in shared.items():
        if name != "stringArray":
            columns = {key: column for key, column in table.items() if key != "length"}
            assert {len(column) for column in columns.values()} == {table["length"]}, name
    strings = len(shared["stringArray"])

    def within(column: list[int | None], limit: int, none: int | None = None) -> None:
        assert all(one == none or (one is not None and 0 <= one < limit) for one in column)

    within(shared["stackTable"]["frame"], lengths["frameTable"])
    for at, before in enumerate(shared["stackTable"]["prefix"]):
        assert before is None or before < at
    within(shared["frameTable"]["func"], lengths["funcTable"])
    within(shared["frameTable"]["nativeSymbol"], lengths["nativeSymbols"])
    within(shared["frameTable"]["category"], len(made["meta"]["categories"]))
    within(shared["funcTable"]["resource"], lengths["resourceTable"], -1)
    within(shared["funcTable"]["source"], lengths["sources"])
    within(shared["resourceTable"]["lib"], len(made["libs"]))
    for table in ("funcTable", "resourceTable", "nativeSymbols"):
        within(shared[table]["name"], strings)
    (job,) = (one for one in made["libs"] if one["path"] == "/bin/job")
    assert job["codeId"] == BUILDID.hex()
    assert job["breakpadId"] == "0302010005040706" + BUILDID[8:16].hex().upper() + "0"
    assert made["meta"]["categories"][0]["color"] == "grey"
    types = {one["name"] for one in made["meta"]["markerSchema"]}
    for thread in made["threads"]:
        for table in (thread["samples"], thread["markers"]):
            columns = {key: one for key, one in table.items() if isinstance(one, list)}
            assert {len(column) for column in columns.values()} == {table["length"]}
        within(thread["samples"]["stack"], lengths["stackTable"])
        assert thread["samples"]["time"] == sorted(thread["samples"]["time"])
        assert {data["type"] for data in thread["markers"]["data"]} <= types


def test_each_event_is_there_once_with_its_time_and_stack(recording: Path) -> None:
    trace = trace_of(recording)
    made = written(trace)
    kinds = trace.kind.to_pylist()
    samples: Counter[Any] = Counter()
    markers: Counter[Any] = Counter()
    for thread in made["threads"]:
        who = int(thread["pid"]), thread["tid"]
        for time, stack in zip(thread["samples"]["time"], thread["samples"]["stack"], strict=True):
            samples[*who, round(time * 1e6), names_of(made, stack)] += 1
        table = thread["markers"]
        for name, begin, end, phase, data in zip(
            *(table[key] for key in ("name", "startTime", "endTime", "phase", "data")), strict=True
        ):
            lasted = round(end * 1e6) - round(begin * 1e6) if phase == 1 else 0
            stack = names_of(made, data["cause"]["stack"]) if "cause" in data else ()
            named = made["shared"]["stringArray"][name]
            markers[*who, named, round(begin * 1e6), lasted, data["type"], stack] += 1
    for at, event in enumerate(trace.event.tolist()):
        who = int(trace.pid[at]), int(trace.tid[at])
        begin, stack = int(trace.start_ns[at]), expected_of(trace, at)
        if event == INSTANT and kinds[at] == "profile":
            samples[*who, begin, stack or ("[no stack]",)] -= 1
        elif event != COUNTER:
            lasted = int(trace.duration_ns[at]) if event == COMPLETE else 0
            named = text.printable(trace.name[at].as_py())
            markers[*who, named, begin, lasted, kinds[at], stack] -= 1
    assert not any(samples.values()) and not any(markers.values())
    counts = [thread["samples"]["length"] for thread in made["threads"]]
    assert sum(counts) == 6
    assert made["meta"]["startTime"] == EPOCH / 1e6 and made["meta"]["interval"] == 10
    assert made["meta"]["profilingEndTime"] == (END - EPOCH) / 1e6


def test_counters_add_up_to_what_they_were(recording: Path) -> None:
    (counter,) = written(trace_of(recording))["counters"]
    assert (counter["name"], counter["pid"]) == ("rss", "100")
    sums, now = [], 0
    for change in counter["samples"]["count"]:
        now += change
        sums.append(now)
    assert sums == [1 << 20, (1 << 20) - 8192, 1 << 20]
    assert counter["samples"]["time"] == [2000, 2100, 2200]
    assert counter["display"]["unit"] == "bytes"


def test_without_samples_what_lasts_has_weight(recording: Path) -> None:
    made = written(trace_of(recording, "waits"))
    weights: Counter[tuple[str, ...]] = Counter()
    for thread in made["threads"]:
        samples = thread["samples"]
        assert samples["weightType"] == "tracing-ms"
        for stack, weight in zip(samples["stack"], samples["weight"], strict=True):
            weights[names_of(made, stack)] += round(weight * 1e6)
    assert weights == {
        ("vfs_read", "entry", "read", "main"): 800 * MS,
        ("leaf", "rec", "rec", "rec", "main"): 200 * MS,
    }


def test_times_that_overlap_are_not_added_up(recording: Path) -> None:
    trace = trace_of(recording, "switches", "waits", "wakeups", "spans", "io")
    samples = [thread["samples"] for thread in written(trace)["threads"]]
    assert sum(round(weight * 1e6) for one in samples for weight in one["weight"]) == 1_200 * MS


def test_hostile_names_are_escapes(recording: Path) -> None:
    made = written(trace_of(recording))
    whole = json.dumps(made, ensure_ascii=False)
    assert text.printable(HOSTILE) in made["shared"]["stringArray"]
    assert all(char.isprintable() for char in whole)


def test_a_cancelled_export_stops(recording: Path) -> None:
    with pytest.raises(CancelledError):
        write_firefox(trace_of(recording), io.BytesIO(), Task(cancelled=lambda: True))


Ask = Callable[..., dict[str, Any]]


@pytest.fixture
def reader(tmp_path: Path) -> Iterator[Callable[[Path], Ask]]:
    """Loads a profile in Mozilla's profiler-cli, and asks it."""
    command = shutil.which("profiler-cli")
    if command is None:
        pytest.skip("no profiler-cli (npm install -g @firefox-devtools/profiler-cli, Node.js 24)")
    environ = {**os.environ, "PROFILER_CLI_SESSION_DIR": str(tmp_path / "sessions")}

    def run(*arguments: str) -> str:
        for _ in range(10):
            done = subprocess.run(
                [command, *arguments], capture_output=True, text=True, env=environ, timeout=60
            )
            # it gives its own daemon half a second to start, and says to try again
            late = re.search(r"still be running as pid (\d+)", done.stderr)
            if late is None:
                break
            with contextlib.suppress(ProcessLookupError):
                os.kill(int(late[1]), signal.SIGTERM)
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    def load(path: Path) -> Ask:
        run("load", str(path))

        def ask(*arguments: str) -> dict[str, Any]:
            found: dict[str, Any] = json.loads(run(*arguments, "--json"))
            return found

        return ask

    yield load
    subprocess.run([command, "stop", "--all"], env=environ, capture_output=True, check=False)


def test_mozillas_reader_opens_a_profile_of_nothing(
    recording: Path, tmp_path: Path, reader: Callable[[Path], Ask]
) -> None:
    path = tmp_path / "nothing.json.gz"
    written(trace_of(recording, "stuck_spans", command="nobody"), path)
    assert reader(path)("profile", "info")["threadCount"] == 1


def test_mozillas_reader_finds_the_same(
    recording: Path, tmp_path: Path, reader: Callable[[Path], Ask]
) -> None:
    path = tmp_path / "profile.json.gz"
    written(trace_of(recording), path)
    ask = reader(path)
    meta = ask("profile", "meta")
    assert meta["symbolicated"] and meta["durationMs"] == 10_000 and meta["interval"] == 10
    processes = {one["pid"]: one for one in ask("profile", "info", "--all")["processes"]}
    assert {pid: one["name"] for pid, one in processes.items()} == {"100": "job", "200": "other"}
    (counter,) = processes["100"]["counters"]
    assert counter["rangeSampleCount"] == 3 and counter["stats"][0]["value"] == 8192
    totals: Counter[str] = Counter()
    own: Counter[str] = Counter()
    for process in processes.values():
        for thread in process["threads"]:
            found = ask("thread", "samples", "--include-idle", "--thread", thread["threadHandle"])
            for one in found["topFunctionsByTotal"]:
                name = one["name"].partition("!")[2] or one["name"]
                totals[name] += one["totalSamples"]
                own[name] += one["selfSamples"]
    assert totals["main"] == 4 and totals["rec"] == 3 and own["rec"] == 0
    assert (own["leaf"], own["vfs_read"], totals["entry"]) == (3, 1, 1)
    assert own[text.printable(HOSTILE)] == 1 and own["[no stack]"] == 1
    assert sum(own.values()) == 6
    handle = next(
        thread["threadHandle"]
        for thread in processes["100"]["threads"]
        if (thread["name"], thread["tid"]) == ("worker", 101)
    )
    markers = ask("thread", "markers", "--thread", handle)
    counts = {one["markerName"]: one["count"] for one in markers["byType"]}
    assert counts["blocked: sleeping"] == 2 and counts["load"] == 2 and counts["vfs_read"] == 2
    (blocked,) = (one for one in markers["byType"] if one["markerName"] == "blocked: sleeping")
    info = ask("marker", "info", blocked["topMarkers"][0]["handle"])
    assert (info["start"], info["duration"]) == (800, 200)
    assert [one["name"] for one in info["stack"]["frames"]] == [
        "vfs_read", "entry", "read", "main",
    ]  # fmt: skip
    fields = {one["key"]: one["value"] for one in info["fields"]}
    assert fields["state"] == "sleeping" and fields["waker"] == 200
