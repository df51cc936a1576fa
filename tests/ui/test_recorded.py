"""The screen over a real recording (tests/recordings/mixed): its numbers, and how it looks.

A picture is compared only with the Textual that it was accepted with: drawing changes within 8.x.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
import textual
from pilots import NARROW, NORMAL, WIDE, Size, on_screen, text_of, until
from textual.pilot import Pilot

from stacks_tui.config import Config
from stacks_tui.live.snapshot import Table as TableRows
from stacks_tui.live.snapshot import Timeline
from stacks_tui.live.view import View
from stacks_tui.session.playback import RecordingSource
from stacks_tui.session.protocol import Start
from stacks_tui.session.source import Source
from stacks_tui.store.reader import open_recording
from stacks_tui.tui.app import StacksApp
from stacks_tui.tui.view_sql import sql_of
from stacks_tui.tui.wanted import Left, Wanted
from stacks_tui.tui.widgets.sql import SqlPrompt
from stacks_tui.tui.widgets.table import Table

RECORDING = Path(__file__).resolve().parents[1] / "recordings" / "mixed"
PICTURED_WITH = "8.2.8"


def no_collector(start: Start) -> Source:
    raise AssertionError("nothing is to be collected")


def app_of(theme: str = "dark", recording: str = RECORDING.name) -> StacksApp:
    wanted = Wanted(path=RECORDING.with_name(recording))
    return StacksApp(wanted, Config(theme=theme), no_collector, RecordingSource)


async def settle(pilot: Pilot[Left], app: StacksApp) -> None:
    await until(pilot, lambda: app.main.settled)
    await pilot.pause(0.3)
    await until(pilot, lambda: app.main.settled)


@pytest.mark.parametrize("tab", ["cpu", "blocked", "runnable", "rss", "vfs", "slices"])
@pytest.mark.parametrize("group", ["leaf", "stack", "module"])
def test_the_table_its_sql_and_its_total_agree(tab: str, group: str) -> None:
    """Every number of the table is what the shown SQL gives, asked of DuckDB."""
    from dataclasses import replace

    from stacks_tui.live.view import Group, Tab

    app = app_of()
    found: list[tuple[TableRows, View, int, int]] = []

    async def steps(pilot: Pilot[Left]) -> None:
        app.main.desk.go(tab=Tab(tab), group=Group(group))
        app.main.ask()
        await settle(pilot, app)
        snap = app.main.shown
        assert snap is not None
        assert isinstance(snap.rows, TableRows)
        found.append((snap.rows, snap.view, snap.begin, snap.end))

    on_screen(app, steps)
    rows, view, begin, end = found[0]
    assert rows.rows
    whole = replace(view, top=100_000)
    with open_recording(RECORDING) as recording:
        answer = recording.table(sql_of(whole, begin, end)).to_pylist()
    if group == "stack":
        assert sum(row["value"] for row in answer) == rows.total
        return
    by_label: Counter[str] = Counter()  # functions of one name may be of two modules
    for row in answer:
        by_label[row["label"]] += row["value"]
    for row in rows.rows[:10]:
        if not row.label.startswith("["):
            assert by_label[row.label] == sum(
                one.own for one in rows.rows if one.label == row.label
            ), row.label


def test_the_timeline_shows_what_passes_the_filter() -> None:
    app = app_of()
    counted: list[dict[str, int]] = []

    async def steps(pilot: Pilot[Left]) -> None:
        await pilot.press("t", "slash", *"thread:bookkeeper", "enter")
        await settle(pilot, app)
        snap = app.main.shown
        assert snap is not None
        assert isinstance(snap.rows, Timeline)
        assert snap.view.filter == "thread:bookkeeper"
        counted.append({strip.kind: sum(strip.counts) for strip in snap.rows.strips})
        await pilot.press("slash", *"nowhere", "enter")
        await until(pilot, lambda: "nothing passes the filter" in text_of(app))

    on_screen(app, steps)
    with open_recording(RECORDING) as recording:
        rows = recording.table(
            "select kind, count(*) as n from events where thread = 'bookkeeper' group by kind"
        ).to_pylist()
    assert counted == [{row["kind"]: row["n"] for row in rows}]
    assert rows


def test_sql_answers_and_reads_no_file() -> None:
    app = app_of()

    async def steps(pilot: Pilot[Left]) -> None:
        await pilot.press("colon")
        prompt = app.main.query_one(SqlPrompt)
        prompt.put("select count(*) as n from events where kind = 'vfs_write'")
        await pilot.press("ctrl+j")
        table = prompt.query_one("#sql_rows", Table)
        await until(pilot, lambda: table.lines)
        with open_recording(RECORDING) as recording:
            (row,) = recording.table(
                "select count(*) n from events where kind = 'vfs_write'"
            ).to_pylist()
        assert table.lines[0].cells == (str(row["n"]),)
        for query in ("select * from read_text('/etc/passwd')", "drop view events", "selec"):
            prompt.put(query)
            await pilot.press("ctrl+j")
            await until(pilot, lambda: prompt._result is None and not table.lines)
        assert "root:" not in text_of(app)

    on_screen(app, steps, WIDE)


def test_a_query_of_the_users_own_is_offered_and_answers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("SUDO_UID", raising=False)
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))
    folder = tmp_path / "stacks-tui" / "queries"
    folder.mkdir(parents=True)
    (folder / "by [red]cpu.sql").write_text("-- Which CPUs?\nselect 40 + 2 as cpus")
    (folder / "odd.sql").write_bytes(b"\xff")
    app = app_of()

    async def steps(pilot: Pilot[Left]) -> None:
        await pilot.press("colon")
        prompt = app.main.query_one(SqlPrompt)
        table = prompt.query_one("#sql_rows", Table)
        await pilot.press("ctrl+o")
        await until(pilot, lambda: "queries/by [red]cpu" in text_of(app))
        shown = text_of(app)
        assert "Which CPUs?" in shown
        assert shown.index("live/top_stacks") < shown.index("queries/by") < shown.index("table/")
        await pilot.press(*"queries/", "enter")
        await until(pilot, lambda: "odd.sql' is left out: it is not UTF-8" in text_of(app))
        await pilot.press("ctrl+j")
        await until(pilot, lambda: table.lines)
        assert table.lines[0].cells == ("42",)

    on_screen(app, steps, WIDE)


def test_a_long_query_is_stopped_and_never_holds_up_the_screen() -> None:
    app = app_of()

    async def steps(pilot: Pilot[Left]) -> None:
        await pilot.press("colon")
        prompt = app.main.query_one(SqlPrompt)
        prompt.put(
            "select count(*) from range(100000000000) a, range(1000) b where a.range % 7 = 3"
        )
        await pilot.press("ctrl+j")
        await until(pilot, lambda: prompt._session and prompt._session.running)
        await pilot.pause(0.3)
        assert "running" in text_of(app)
        await pilot.press("escape")
        await until(pilot, lambda: "stopped" in text_of(app))
        assert prompt._session is not None
        await until(pilot, lambda: prompt._session and not prompt._session.running)

    on_screen(app, steps, WIDE)


def test_pprof_at_once_holds_the_totals_of_the_table(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    app = app_of()

    async def steps(pilot: Pilot[Left]) -> None:
        await pilot.press("p")
        await until(pilot, lambda: list(tmp_path.glob("mixed-cpu.pb.gz")))
        await until(pilot, lambda: app.screen is app.main)

    on_screen(app, steps)
    from stacks_tui.export.job import Job, preview
    from stacks_tui.export.registry import find_format

    job = Job((RECORDING,), find_format("pprof"), ("cpu",))
    totals = {kind.name: total for kind, total in preview(job).totals}
    snap = app.main.shown
    assert snap is not None
    assert isinstance(snap.rows, TableRows)
    assert snap.rows.total in totals.values()


def test_two_threads_are_compared() -> None:
    app = app_of()

    async def steps(pilot: Pilot[Left]) -> None:
        await pilot.press("O")
        await settle(pilot, app)
        await pilot.press("m", "down", "down", "m")  # a bookkeeper, and the cruncher
        await settle(pilot, app)
        assert app.main.shown is not None
        rows = app.main.shown.rows
        assert isinstance(rows, TableRows)
        of = {row.label: (row.own > 0, row.b_own > 0) for row in rows.rows}
        assert of["spin"] == (True, False)
        assert of["multiply_matrix"] == (False, True)
        await pilot.press("escape")
        await settle(pilot, app)
        assert not app.main.desk.view.compares

    on_screen(app, steps)


def test_two_recordings_are_compared() -> None:
    app = app_of()

    async def steps(pilot: Pilot[Left]) -> None:
        await settle(pilot, app)
        before = text_of(app).splitlines()[:3]
        await pilot.press("M", "down", "down", "enter")
        await pilot.press(*str(RECORDING.with_name("disk")), "enter")
        await settle(pilot, app)
        assert app.main.shown is not None
        rows = app.main.shown.rows
        assert isinstance(rows, TableRows)
        labels = (
            {row.label for row in rows.rows if row.own},
            {r.label for r in rows.rows if r.b_own},
        )
        assert "spin" in labels[1] and "spin" not in labels[0]
        assert rows.total > 0 and rows.b_total > rows.total
        assert text_of(app).splitlines()[:3] == before  # the time above is still this one's

    on_screen(app, steps)


@pytest.mark.parametrize(("keys", "seen"), [("", "serve"), ("P", "serve"), ("P P", "_PyEval")])
def test_python_is_shown_merged_alone_or_native(keys: str, seen: str) -> None:
    app = app_of(recording="shop")

    async def steps(pilot: Pilot[Left]) -> None:
        await settle(pilot, app)
        await pilot.press("g", "f", *keys.split())
        await settle(pilot, app)
        assert app.main.shown is not None
        rows = app.main.shown.rows
        assert isinstance(rows, TableRows)
        modules = {row.module for row in rows.rows}
        assert any(row.label.startswith(seen) for row in rows.rows)
        if keys == "P":
            assert modules == {"[python]", ""}  # a stack without is one frame that says so
        else:
            assert ("[python]" in modules) is (keys == "")

    on_screen(app, steps)


STORIES = {
    "CPU hog": ("mixed", (), "spin"),
    "lock contention": ("mixed", ("tab",), "post_to_ledger"),
    "memory growth": ("mixed", ("x", "4"), "cache_and_never_free"),
    "chatty small writes": ("mixed", ("5", "v", "v"), "log_one_byte"),
    "slow disk": ("disk", ("4", "v"), "copy_block"),
    "too few CPUs": ("mixed", ("tab", "tab"), "multiply_matrix"),
}


@pytest.mark.parametrize("story", STORIES)
@pytest.mark.parametrize("size", [NARROW, WIDE])
def test_from_start_to_the_guilty_function_in_three_keys(story: str, size: Size) -> None:
    recording, keys, guilty = STORIES[story]
    assert len(keys) <= 3
    app = app_of(recording=recording)

    async def steps(pilot: Pilot[Left]) -> None:
        await settle(pilot, app)
        await pilot.press(*keys)
        await settle(pilot, app)
        shown = text_of(app)
        if story == "lock contention":
            assert "pthread_mutex_lock ← post_to_l" in shown  # at 80 cells the name is cut
        else:
            assert guilty in shown

    on_screen(app, steps, size)


SCREENS: dict[str, tuple[str, ...]] = {
    "stacks": (),
    "functions": ("g", "f"),
    "blocked": ("tab", *("down",) * 4),
    "reasons": ("tab", "g", "r"),
    "writes": ("5", "v", "v"),
    "flame": ("f",),
    "calls": ("c",),
    "threads": ("O",),
    "distribution": ("tab", "d"),
    "timeline": ("t",),
    "compared": ("M", "down", "enter"),
    "compared-flame": ("M", "down", "enter", "f"),
    "groups": ("g",),
    "filter": ("slash", *"ledger"),
    "sql": ("S",),
    "export": ("e",),
    "whole-stack": ("enter",),
    "help": ("question_mark",),
}
"""Name → the keys that lead there."""
LOOKS = ((NARROW, "dark"), (NORMAL, "light"), (WIDE, "dark"))
PICTURES: dict[str, tuple[tuple[str, ...], Size, str]] = {
    f"{name}-{size[0]}": (pressed, size, theme)
    for name, pressed in SCREENS.items()
    for size, theme in LOOKS
} | {
    f"{name}-{theme}": (SCREENS[name], NARROW, theme)
    for name in ("stacks", "compared-flame")
    for theme in ("mono", "safe", "light")
}


@pytest.fixture
def some_formats(monkeypatch: pytest.MonkeyPatch) -> None:
    """Formats that stay as they are while others come."""
    from stacks_tui.export import registry
    from stacks_tui.export.model import Samples

    def made(name: str) -> registry.Format[Samples]:
        return registry.Format(
            name, f".{name}", f"a file for {name}", Samples, lambda samples, out, task: None
        )

    monkeypatch.setattr(registry, "all_formats", lambda: (made("pprof"), made("folded")))


@pytest.mark.skipif(
    textual.__version__ != PICTURED_WITH, reason=f"pictures are of Textual {PICTURED_WITH}"
)
@pytest.mark.parametrize("name", PICTURES)
def test_how_it_looks(
    name: str,
    snap_compare: Callable[..., bool],
    some_formats: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    pressed, size, theme = PICTURES[name]
    monkeypatch.chdir("/")  # it is shown where files go

    async def reach(pilot: Pilot[Left]) -> None:
        app = pilot.app
        assert isinstance(app, StacksApp)
        await settle(pilot, app)
        for key in pressed:
            await pilot.press(key)
            await until(pilot, lambda: app.main.settled)
        await settle(pilot, app)
        for widget in app.screen.query("Input, TextArea"):
            widget.cursor_blink = False  # type: ignore[attr-defined]
        await pilot.pause(0.1)

    assert snap_compare(app_of(theme), run_before=reach, terminal_size=size)
