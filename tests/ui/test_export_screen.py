"""From the screen to a flame graph's page: what is shown, and a comparison, with equal totals."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import pytest
from pilots import WIDE, on_screen, until
from test_recorded import app_of, settle
from textual.pilot import Pilot

from stacks_tui.export.registry import all_formats, find_format
from stacks_tui.live.snapshot import Graph
from stacks_tui.live.view import ALL, Side, View, Window
from stacks_tui.tui.app import Left, StacksApp
from stacks_tui.tui.screens.export import plan
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
    assert (selection.pids, selection.span) == ((7,), "load")
    assert "the last 10.0 s in recording → span load; pid 7" in made.says and not made.lacks
    other = plan("/here", view, None, find_format("folded"), Path("x.folded"))
    assert other.job.before is None and other.lacks == "the comparison"
