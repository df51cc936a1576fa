"""From the screen to files: what is shown, what is to be expected, and what a cancel leaves."""

from __future__ import annotations

import json
import re
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
from pilots import WIDE, on_screen, text_of, until
from test_recorded import RECORDING, app_of, settle
from textual.pilot import Pilot

from stacks_tui import text
from stacks_tui.export.job import DEFAULT_QUERIES, Job
from stacks_tui.export.job import export as export_job
from stacks_tui.export.questions import TRACES
from stacks_tui.export.registry import all_formats, find_format
from stacks_tui.export.selection import Selection
from stacks_tui.live.filter_sql import narrowing
from stacks_tui.live.snapshot import Graph
from stacks_tui.live.view import ALL, Side, Tab, View, Window
from stacks_tui.tui.app import StacksApp
from stacks_tui.tui.export_plan import plan
from stacks_tui.tui.wanted import Left
from stacks_tui.tui.widgets.table import Table


def totals_of(page: Path) -> tuple[dict[str, str], dict[str, str | None]]:
    """Of the page: each value, and the same before."""
    (found,) = re.findall(r'id="data">(.*?)</script>', page.read_text(), re.DOTALL)
    types: list[dict[str, Any]] = json.loads(found)["types"]
    now = {one["name"]: one["total"] for one in types}
    return now, {one["name"]: one["before"] for one in types}


async def export(pilot: Pilot[Left], app: StacksApp, name: str, path: Path) -> None:
    """Write what is shown in this format."""
    await pilot.press("e")
    await until(pilot, lambda: app.screen.query("#formats"))
    table = app.screen.query_one("#formats", Table)
    await until(pilot, lambda: table.line is not None)
    for _ in all_formats():
        if table.line is not None and table.line.key == name:
            break
        await pilot.press("down")
        await pilot.pause()
    await pilot.press("enter")
    await until(pilot, path.exists)
    await pilot.press("escape")
    await until(pilot, lambda: app.screen is app.main)


def test_a_flame_graph_is_exported_as_it_is_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    app = app_of()

    async def steps(pilot: Pilot[Left]) -> None:
        await pilot.press("f")
        await settle(pilot, app)
        await export(pilot, app, "flamegraph", tmp_path / "mixed-cpu.html")

    on_screen(app, steps, WIDE)
    snap = app.main.shown
    assert snap is not None and isinstance(snap.rows, Graph)
    now, before = totals_of(tmp_path / "mixed-cpu.html")
    assert now["cpu"] == str(snap.rows.nodes[0].total)
    assert set(before.values()) == {None}


def test_a_comparison_is_exported_with_both_totals(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    app = app_of()

    async def steps(pilot: Pilot[Left]) -> None:
        await pilot.press("f")
        await settle(pilot, app)
        await pilot.press("M")
        await until(pilot, lambda: app.screen.query("#options"))
        await pilot.press("down", "enter")  # first half and second half
        await until(pilot, lambda: app.main.desk.view.compares)
        await settle(pilot, app)
        await export(pilot, app, "flamegraph", tmp_path / "mixed-cpu.html")

    on_screen(app, steps, WIDE)
    snap = app.main.shown
    assert snap is not None and isinstance(snap.rows, Graph)
    root = snap.rows.nodes[0]
    now, before = totals_of(tmp_path / "mixed-cpu.html")
    assert root.b_total > 0 and root.total > 0
    assert (now["cpu"], before["cpu"]) == (str(root.b_total), str(root.total))


def test_what_a_comparison_takes_along() -> None:
    view = View(
        window=ALL,
        a=Side(Window(), recording="/other/recording"),
        b=Side(Window(0, 10, 20), tgid=7, span="load"),
    )
    made = plan("/here", view, None, find_format("flamegraph"), Path("x.html"))
    before = made.job.before
    assert before is not None and before.recordings == (Path("/other/recording"),)
    assert (before.last_ns, before.selection.pids) == (10 * 10**9, ())
    selection = made.job.selection
    assert (selection.begin, selection.end) == (10, 20)
    assert (selection.pids, selection.filter) == ((7,), "span=load")
    assert selection.narrowing == narrowing(View(filter="span=load", tgid=7), kinds=False)
    assert "the last 10.0 s in recording → pid 7; filter span=load" in made.says and not made.lacks
    other = plan("/here", view, None, find_format("folded"), Path("x.folded"))
    assert other.job.before is None and other.job.selection == selection
    assert other.lacks == "A of the comparison (the last 10.0 s in recording)"


def test_a_trace_takes_what_the_view_shows(tmp_path: Path) -> None:
    def asked(view: View) -> tuple[tuple[str, ...], Selection]:
        made = plan("/here", view, None, find_format("trace"), tmp_path / "x.json")
        assert not made.lacks
        return made.job.queries, made.job.selection

    usual = DEFAULT_QUERIES[TRACES]
    assert asked(View(window=ALL)) == (usual, Selection())
    queries, _ = asked(View(window=ALL, tab=Tab.RUNNABLE))
    assert queries == (*usual, "run_queue")
    _, selection = asked(View(window=ALL, tab=Tab.SPANS, filter="span=load", tgid=7, pid=8))
    assert (selection.pids, selection.thread, selection.filter) == ((7,), "8", "span=load")
    view = View(window=ALL, a=Side(Window(0, 1, 5)), b=Side(Window(0, 10, 20)))
    made = plan("/here", view, None, find_format("trace"), tmp_path / "x.json")
    assert (made.job.selection.begin, made.job.selection.end) == (10, 20)
    assert made.lacks.startswith("A of the comparison")


def test_the_screen_offers_every_format_and_tells_what_to_expect(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    app = app_of()
    seen: list[str] = []

    async def steps(pilot: Pilot[Left]) -> None:
        await settle(pilot, app)
        await pilot.press("e")
        await until(pilot, lambda: "expected: about" in text_of(app))
        table = app.screen.query_one("#formats", Table)
        names = [str(line.key) for line in table.lines]
        assert {one.name for one in all_formats() if not one.hidden} <= set(names)
        assert {"trace: perfetto", "trace: html"} <= set(names)
        assert "mixed-cpu.pb.gz" in text_of(app)  # the name that it will have
        seen.append(text_of(app))
        table.move_to("trace: perfetto")
        await until(pilot, lambda: "mixed-trace.pftrace" in text_of(app))
        await until(pilot, lambda: "29,381 events" in text_of(app))
        seen.append(text_of(app))
        await pilot.press("escape")
        await until(pilot, lambda: app.screen is app.main)

    on_screen(app, steps, WIDE)
    job = Job((RECORDING,), find_format("pprof"), ("cpu",), path=tmp_path / "x")
    made = export_job(job)
    (cpu,) = (total for kind, total in made.totals if kind.name == "cpu")
    assert f"cpu {text.quantity(cpu, 'ns')}" in seen[0] and text.size(made.bytes) in seen[0]
    made = export_job(Job((RECORDING,), find_format("perfetto"), path=tmp_path / "y"))
    assert f"about {text.size(made.bytes)}, 29,381 events, {made.stacks} stacks" in seen[1]
    assert sorted(one.name for one in tmp_path.iterdir()) == ["x", "y"]


def test_a_trace_at_once_by_its_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    app = app_of()

    async def steps(pilot: Pilot[Left]) -> None:
        await settle(pilot, app)
        await pilot.press("T")
        await until(pilot, (tmp_path / "mixed-trace.json").exists)
        await until(pilot, lambda: app.screen is app.main)

    on_screen(app, steps)
    trace = json.loads((tmp_path / "mixed-trace.json").read_text())
    assert sum(one["ph"] in "XiC" for one in trace["traceEvents"]) == 29_381


def test_a_brushed_window_is_the_traces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    app = app_of()
    window: list[tuple[int, int]] = []

    async def steps(pilot: Pilot[Left]) -> None:
        await settle(pilot, app)
        snap = app.main.shown
        assert snap is not None
        second = (snap.begin // 10**9 + 2) * 10**9
        app.main.desk.go(window=Window(0, second, second + 10**9))
        app.main.ask()
        await settle(pilot, app)
        snap = app.main.shown
        assert snap is not None
        window.append((snap.begin, snap.end))
        await pilot.press("T")
        await until(pilot, (tmp_path / "mixed-trace.json").exists)
        await until(pilot, lambda: app.screen is app.main)

    on_screen(app, steps)
    ((begin, end),) = window
    assert end - begin == 10**9
    trace = json.loads((tmp_path / "mixed-trace.json").read_text(), parse_float=str)
    zero = int(trace["otherData"]["zero_ns_since_epoch"])
    ends = [
        zero + round(Decimal(one["ts"]) * 1000) + round(Decimal(one["dur"]) * 1000)
        for one in trace["traceEvents"]
        if one.get("cat") == "switch"
    ]
    assert ends and all(begin <= one < end for one in ends)


def test_a_cancelled_export_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("stacks_tui.export.formats.trace._ROWS", 20)  # so that it takes long
    app = app_of()

    async def steps(pilot: Pilot[Left]) -> None:
        await settle(pilot, app)
        await pilot.press("e")
        await until(pilot, lambda: app.screen.query("#formats"))
        app.screen.query_one("#formats", Table).move_to("trace")
        await pilot.pause()
        await pilot.press("enter")
        await until(pilot, lambda: [one for one in tmp_path.iterdir() if ".part" in one.name])
        await pilot.press("escape")
        await until(pilot, lambda: "the export was stopped" in text_of(app))
        assert list(tmp_path.iterdir()) == []
        await pilot.press("escape")
        await until(pilot, lambda: app.screen is app.main)

    on_screen(app, steps)
