"""The ledger on the screen, over a recording of spans: rows, drilling down, deadlocks."""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pilots import NARROW, NORMAL, WIDE, Size, on_screen, panel_of, text_of, until
from textual.pilot import Pilot

sys.path.insert(0, str(Path(__file__).resolve().parents[1] / "unit"))

from span_fixture import write_spans
from store_rows import events, header, me

from stacks_tui.config import Config
from stacks_tui.live.snapshot import Ledger, Table
from stacks_tui.live.view import Panel, Tab
from stacks_tui.session.playback import RecordingSource
from stacks_tui.session.protocol import Start
from stacks_tui.session.source import Source
from stacks_tui.store.manifest import RecordingStatus
from stacks_tui.store.reader import open_recording
from stacks_tui.store.writer import RecordingWriter
from stacks_tui.tui.app import StacksApp
from stacks_tui.tui.view_sql import sql_of
from stacks_tui.tui.wanted import Left, Wanted
from stacks_tui.tui.widgets.table import Table as TableWidget


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path: Path = write_spans(tmp_path_factory.mktemp("spans") / "recording")
    return path


def _none(start: Start) -> Source:
    raise AssertionError("nothing is to be collected")


def played(
    path: Path, steps: Callable[[Pilot[Left], StacksApp], object], size: Size = NORMAL
) -> None:
    app = StacksApp(Wanted(path=path), Config(), _none, RecordingSource)

    async def run(pilot: Pilot[Left]) -> None:
        await steps(pilot, app)  # type: ignore[misc]

    on_screen(app, run, size)


async def press(pilot: Pilot[Left], app: StacksApp, *keys: str) -> str:
    """Press them one after the other, each when the one before is answered; what is shown then."""
    for key in keys:
        await pilot.press(key)
        await pilot.pause(0.2)
        await until(pilot, lambda: app.main.settled)
    await pilot.pause(0.3)
    await until(pilot, lambda: app.main.settled)
    return text_of(app)


def line_of(app: StacksApp, key: str) -> None:
    assert app.main.query_one("#ledger", TableWidget).move_to(key)


@pytest.mark.parametrize("size", [NARROW, NORMAL, WIDE])
def test_the_spans_tab_is_the_ledger(recording: Path, size: Size) -> None:
    async def steps(pilot: Pilot[Left], app: StacksApp) -> None:
        shown = await press(pilot, app, "shift+tab", "shift+tab")
        assert app.main.desk.view.tab is Tab.SPANS
        assert panel_of(app) is Panel.LEDGER
        assert "deadlock: first -> second" in shown
        assert "request" in shown and "1 since seen" in shown and "1.30 s" in shown
        shown = await press(pilot, app, "tab")
        assert panel_of(app) is Panel.TABLE  # slices have no ledger

    played(recording, steps, size)


def test_a_deadlock_is_told_in_plain_words(recording: Path) -> None:
    async def steps(pilot: Pilot[Left], app: StacksApp) -> None:
        shown = " ".join((await press(pilot, app, "l")).split())
        assert "first waits for lock 0x7f00000a9f0 held by second;" in shown
        assert "second waits for lock 0x7f00000a990 held by first;" in shown
        line_of(app, "sfirst")
        shown = " ".join((await press(pilot, app, "l", "l", "down", "up")).split())
        await pilot.press("home")
        await pilot.press("enter")
        await pilot.pause(0.3)
        assert "cycle: first" in " ".join(text_of(app).split())

    played(recording, steps)


def test_from_a_name_to_instances_to_stacks_of_every_kind(recording: Path) -> None:
    async def steps(pilot: Pilot[Left], app: StacksApp) -> None:
        await press(pilot, app, "l")
        line_of(app, "srequest")
        shown = await press(pilot, app, "enter")
        rows = app.main.shown and app.main.shown.rows
        assert isinstance(rows, Ledger)
        assert [(row.tgid, row.span_id) for row in rows.instances] == [(200, 1), (100, 1), (100, 4)]
        assert "id 7001" in shown
        line_of(app, rows.instances[1].key)
        await press(pilot, app, "enter")  # the request of process 100, alone
        one = app.main.desk.view.instance
        assert one is not None and (one.tgid, one.span_id) == (100, 1)
        assert app.main.desk.view.tab is Tab.BLOCKED and "futex_wait" in text_of(app)
        assert "span #1" in text_of(app)
        await press(pilot, app, "shift+tab")
        totals = [10**7, 30 * 10**6, 10**7, 8192, 4096, 150, 17]
        tabs = ("cpu", "blocked", "runnable", "rss", "block", "vfs", "net")
        for tab, total in zip(tabs, totals, strict=True):
            found = app.main.shown and app.main.shown.rows
            assert app.main.desk.view.tab.value == tab
            assert isinstance(found, Table) and found.total == total, tab
            await press(pilot, app, "tab")
        with open_recording(recording) as opened:
            told = opened.table(sql_of(replace(app.main.desk.view, tab=Tab.VFS), 0, 0))
        assert sum(told.column("value").to_pylist()) == 150
        await press(pilot, app, "escape")
        assert app.main.desk.view.panel is Panel.LEDGER and app.main.desk.view.instances
        assert app.main.desk.view.instance is None
        await press(pilot, app, *["backspace"] * 10)
        assert app.main.desk.view.panel is Panel.LEDGER

    played(recording, steps)


def test_costs_with_children(recording: Path) -> None:
    async def steps(pilot: Pilot[Left], app: StacksApp) -> None:
        await press(pilot, app, "l")
        before = app.main.shown and app.main.shown.rows
        shown = await press(pilot, app, "n")
        rows = app.main.shown and app.main.shown.rows
        assert isinstance(before, Ledger) and isinstance(rows, Ledger) and "with children" in shown
        own, whole = (
            next(row for row in some.rows if row.name == "request") for some in (before, rows)
        )
        assert (whole.samples, whole.children) == (own.samples + 3, 2)  # db, and db in db
        assert "own costs" in await press(pilot, app, "n")

    played(recording, steps)


def test_a_stuck_one_shows_where_it_was_seen_last(recording: Path) -> None:
    async def steps(pilot: Pilot[Left], app: StacksApp) -> None:
        await press(pilot, app, "l", "l")
        rows = app.main.shown and app.main.shown.rows
        assert isinstance(rows, Ledger)
        thread = next(row for row in rows.instances if row.name == "thread job")
        line_of(app, thread.key)
        shown = await press(pilot, app, "up", "down")
        assert "no sign of life for 6.50 s" in shown and "futex_wait" in shown
        assert "woken last by waking 102, in job" in shown

    played(recording, steps, WIDE)


def test_two_spans_are_compared(recording: Path) -> None:
    async def steps(pilot: Pilot[Left], app: StacksApp) -> None:
        await press(pilot, app, "l")
        line_of(app, "sdb")
        await press(pilot, app, "m")
        line_of(app, "srequest")
        await press(pilot, app, "m")
        view = app.main.desk.view
        assert view.compares and view.panel is Panel.TABLE
        assert view.a is not None and view.b is not None
        assert (view.a.span, view.b.span) == ("db", "request")

    played(recording, steps)


def test_the_sql_of_a_ledger_runs(recording: Path) -> None:
    async def steps(pilot: Pilot[Left], app: StacksApp) -> None:
        await press(pilot, app, "l")
        line_of(app, "srequest")
        for keys in (("n",), ("n", "enter"), ()):
            snap = app.main.snap
            assert snap is not None
            with open_recording(recording) as opened:
                found = opened.table(sql_of(app.main.desk.view, snap.begin, snap.end))
            assert found.num_rows
            await press(pilot, app, *keys)

    played(recording, steps)


def test_a_hostile_name_of_a_span_harms_nothing(tmp_path: Path) -> None:
    evil = "[/]\x1b[2J\u202e<b>\"'; drop\n\0" + "x" * 40
    writer = RecordingWriter.create(tmp_path / "r", me(), header())
    more: dict[str, Any] = {
        "span_id": 1,
        "trace_name": evil,
        "duration": 10**6,
        "busy": 1,
        "enters": 1,
    }
    writer.write_events(events([10**7], kind="trace_close", **more))
    writer.close(RecordingStatus(header().begin + 10**9, {}))

    async def steps(pilot: Pilot[Left], app: StacksApp) -> None:
        shown = await press(pilot, app, "l", "enter")
        assert "\x1b" not in shown and "\u202e" not in shown and "[/]" in shown
        rows = app.main.shown and app.main.shown.rows
        assert isinstance(rows, Ledger) and len(rows.instances) == 1
        await press(pilot, app, "enter")
        await pilot.press("S")
        await pilot.pause(0.3)
        assert panel_of(app) is Panel.NOTHING and "\x1b" not in text_of(app)

    played(tmp_path / "r", steps)
