"""Every key of the main screen does what the list says, seen in what is asked for and shown."""

from __future__ import annotations

import ctypes
import os
import threading
from collections.abc import Awaitable, Callable
from dataclasses import replace

import pytest
from pilots import NARROW, WIDE, at_main, on_screen, panel_of, text_of, until
from scenes import BEGAN, SECOND, Scene, live_app, recording_app
from textual.pilot import Pilot

from stacks_tui.config import Config
from stacks_tui.kinds import PROGRAMS
from stacks_tui.live.snapshot import Collecting
from stacks_tui.live.view import Group, Measure, Panel, StackPart, Tab, View, Window
from stacks_tui.python.shown import Shown
from stacks_tui.session.protocol import (
    AddTarget,
    Command,
    DropProgram,
    DropTarget,
    SetProgram,
    SetRefresh,
    SetView,
    Stop,
)
from stacks_tui.tui import keys, words
from stacks_tui.tui.app import StacksApp
from stacks_tui.tui.screens.dialogs import Choose, Read
from stacks_tui.tui.screens.targets import (
    Candidate,
    TargetsScreen,
    candidate_groups,
    candidates,
    commands,
)
from stacks_tui.tui.wanted import Left
from stacks_tui.tui.widgets.flame import FlameGraph
from stacks_tui.tui.widgets.table import Table

Steps = Callable[[Pilot[Left]], Awaitable[None]]


def views(scene: Scene) -> list[View]:
    return [command.view for command in scene.sent if isinstance(command, SetView)]


def asked_after(*pressed: str, tab: Tab = Tab.CPU, app: StacksApp | None = None) -> View:
    """The view that is asked for after these keys."""
    scene = Scene()
    app = app or live_app(scene)

    async def steps(pilot: Pilot[Left]) -> None:
        if tab is not Tab.CPU:
            app.main.action_tab(tab.value)
        for key in pressed:
            await pilot.press(key)
            await pilot.pause()

    on_screen(app, steps)
    return views(scene)[-1] if views(scene) else app.main.desk.view


@pytest.mark.parametrize(
    ("pressed", "changed"),
    [
        ("c", {"panel": Panel.TREE}),
        ("f", {"panel": Panel.FLAME}),
        ("d", {"panel": Panel.HISTOGRAM}),
        ("t", {"panel": Panel.TIMELINE}),
        ("f s", {"panel": Panel.TABLE}),
        ("o", {"panel": Panel.PROCESSES, "sort": "cpu_ns"}),
        ("O", {"panel": Panel.PROCESSES, "by_thread": True}),
        ("tab", {"tab": Tab.BLOCKED}),
        ("shift+tab", {"tab": Tab.SLICES}),
        ("w", {"window": Window(60)}),
        ("x 6", {"tab": Tab.VFS}),
        ("x v", {"tab": Tab.VFS}),
        ("x s escape", {"tab": Tab.CPU}),
        ("tab g r", {"tab": Tab.BLOCKED, "group": Group.REASON}),
        ("W", {"window": Window(0)}),
        ("w w w", {"window": Window(0)}),
        ("u", {"stack_part": StackPart.USER}),
        ("u u", {"stack_part": StackPart.KERNEL}),
        ("P", {"shown": Shown.PYTHON}),
        ("P P", {"shown": Shown.NATIVE}),
        ("P P P", {"shown": Shown.MERGED}),
        ("percent_sign", {"minimum_share": 0.001}),
        ("r", {"reverse": True}),
        ("greater_than_sign", {"sort": "count"}),
        ("less_than_sign", {"sort": "count"}),
        ("f i", {"inverted": True}),
        ("tab backspace", {"tab": Tab.CPU}),
        ("g down enter", {"group": Group.LEAF}),
        ("slash f o o enter", {"filter": "foo"}),
        ("slash f o o enter escape", {"filter": ""}),
        ("slash f o o escape", {"filter": ""}),
    ],
)
def test_a_key_asks_for_another_view(pressed: str, changed: dict[str, object]) -> None:
    found = asked_after(*pressed.split())
    for name, value in changed.items():
        assert getattr(found, name) == value, name


@pytest.mark.parametrize(
    ("pressed", "changed"),
    [
        ("v", {"measure": Measure.DURATION}),
        ("v v v", {"measure": Measure.MAIN}),
        ("b", {"kinds": ("vfs_read",)}),
        ("b b", {"kinds": ("vfs_write",)}),
        ("b tab", {"kinds": (), "tab": Tab.NET}),
    ],
)
def test_keys_of_io(pressed: str, changed: dict[str, object]) -> None:
    found = asked_after(*pressed.split(), tab=Tab.VFS)
    for name, value in changed.items():
        assert getattr(found, name) == value, name


def test_every_key_of_the_list_is_bound_and_has_an_action() -> None:
    app = live_app()

    async def steps(pilot: Pilot[Left]) -> None:
        bound = {active.binding.id for active in app.main.active_bindings.values()}
        for key in keys.KEYS:
            assert key.id in bound, key.id
            name = key.action.partition("(")[0]
            assert hasattr(app.main, f"action_{name}"), name

    on_screen(app, steps)
    pressed = [one for key in keys.KEYS for one in key.keys.split(",")]
    assert len(pressed) == len(set(pressed))


def test_no_dialog_changes_how_the_lines_look() -> None:
    """The styles of what is shown first must not reach the lines (a progress bar's once did)."""
    app = live_app()

    async def steps(pilot: Pilot[Left]) -> None:
        before = text_of(app).splitlines()[:4]
        for key in ("e", "g", "M", "a", "question_mark", "L", "ctrl+p"):
            await pilot.press(key)
            await pilot.pause(0.2)
            await pilot.press("escape")
            await pilot.pause(0.1)
        assert at_main(app)
        assert text_of(app).splitlines()[:4] == before

    on_screen(app, steps)


def test_the_palette_finds_what_keys_do() -> None:
    scene = Scene()
    app = live_app(scene)

    async def steps(pilot: Pilot[Left]) -> None:
        await pilot.press("ctrl+p")
        await pilot.press(*"flame graph")
        await pilot.pause(0.6)
        await pilot.press("enter")
        await until(pilot, lambda: panel_of(app) is Panel.FLAME)

    on_screen(app, steps)


@pytest.mark.parametrize("digit", range(1, len(PROGRAMS) + 1))
def test_digits_switch_kinds_for_true(digit: int) -> None:
    scene = Scene()
    app = live_app(scene)
    program = scene.programs[digit - 1]

    async def steps(pilot: Pilot[Left]) -> None:
        await pilot.press(str(digit))
        await pilot.pause()

    on_screen(app, steps)
    last = [one for one in scene.sent if isinstance(one, SetProgram | DropProgram)][-1]
    if program.state is Collecting.ON:
        assert last == DropProgram(program.program)
    else:
        assert last == SetProgram(program.spec)
        assert words.PROGRAM_OF_TAB[app.main.desk.view.tab] == program.program


def test_a_recording_switches_nothing_and_shows_what_the_digit_is_of() -> None:
    scene = Scene()
    app = recording_app(scene)

    async def steps(pilot: Pilot[Left]) -> None:
        await pilot.press("5", "space")
        await pilot.pause()

    on_screen(app, steps)
    assert app.main.desk.view.tab is Tab.VFS
    assert not [one for one in scene.sent if isinstance(one, SetProgram | DropProgram)]
    assert app.main.desk.paused is None


def test_pause_stands_still_while_trust_goes_on() -> None:
    scene = Scene()
    app = live_app(scene)

    async def steps(pilot: Pilot[Left]) -> None:
        await pilot.press("space")
        shown = app.main.desk.view.window
        assert shown == Window(10, BEGAN + 73 * SECOND, BEGAN + 83 * SECOND)
        scene.seconds = 90
        scene.trust = replace(scene.trust, lost=12)
        scene.tick()
        await until(pilot, lambda: "LOST 12" in text_of(app))
        assert "paused" in text_of(app)
        await pilot.press("space")
        assert app.main.desk.view.window == Window(10)

    on_screen(app, steps)


def test_rows_open_their_whole_stack() -> None:
    app = live_app()

    async def steps(pilot: Pilot[Left]) -> None:
        await pilot.press("down")
        await until(pilot, lambda: app.main.detail())
        await pilot.press("enter")
        await until(pilot, lambda: isinstance(app.screen, Read))
        await pilot.pause(0.1)
        assert "load" in text_of(app)
        assert "src/worker.c:17" in text_of(app)
        await pilot.press("escape")
        assert at_main(app)

    on_screen(app, steps)


def test_the_cursor_stays_with_its_row_when_rows_move() -> None:
    app = live_app()

    async def steps(pilot: Pilot[Left]) -> None:
        await pilot.press("down")
        table = app.main.query_one("#table", Table)
        assert table.line is not None
        assert table.line.key == "r1"
        await pilot.press("r")
        await until(pilot, lambda: table.lines[0].key == "r2")
        assert table.line.key == "r1"

    on_screen(app, steps)


def test_copying_a_stack_is_plain_text_leaf_first() -> None:
    app = live_app()

    async def steps(pilot: Pilot[Left]) -> None:
        await until(pilot, lambda: app.main.detail())
        await pilot.press("y")
        assert app.clipboard.splitlines()[0] == "multiply  [worker] (src/worker.c:7)"

    on_screen(app, steps)


def test_a_pinned_row_stays_on_top() -> None:
    app = live_app()

    async def steps(pilot: Pilot[Left]) -> None:
        await pilot.press("end", "asterisk")
        await pilot.pause()
        assert app.main.query_one("#table", Table).lines[0].key == "r2"

    on_screen(app, steps)


def test_processes_open_their_stacks() -> None:
    scene = Scene()
    app = live_app(scene)

    async def steps(pilot: Pilot[Left]) -> None:
        await pilot.press("o")
        await until(pilot, lambda: app.main.query_one("#processes", Table).lines)
        await pilot.press("enter")
        await pilot.pause()

    on_screen(app, steps)
    last = views(scene)[-1]
    assert (last.panel, last.tgid, last.pid) == (Panel.TABLE, 100, 0)


def test_flame_moves_zooms_finds_and_goes_back() -> None:
    scene = Scene()
    app = live_app(scene)

    async def steps(pilot: Pilot[Left]) -> None:
        await pilot.press("f")
        flame = app.main.query_one(FlameGraph)
        await until(pilot, lambda: flame.graph.nodes)
        await pilot.press("down", "down", "down")
        assert flame.chosen is not None
        assert flame.chosen.name == "solve"  # the widest
        await pilot.press("left", "left")
        assert flame.chosen.name == "load"
        await pilot.press("enter")
        await until(pilot, lambda: views(scene)[-1].zoom)
        assert views(scene)[-1].zoom == ("k_start", "kmain", "kload")
        await pilot.pause(0.2)
        assert "load" in text_of(app)
        assert "solve" not in text_of(app).replace("resolved", "")
        await pilot.press("escape")
        assert views(scene)[-1].zoom == ()
        await pilot.press("ctrl+f", *"mult", "enter")
        await pilot.pause(0.2)
        assert "found 'mult': 1 frames, 50%" in text_of(app)
        await pilot.press("n")
        assert flame.chosen.name == "multiply"

    on_screen(app, steps, WIDE)


def test_a_click_chooses_and_sorts() -> None:
    scene = Scene()
    app = live_app(scene)

    async def steps(pilot: Pilot[Left]) -> None:
        await pilot.click("#table", offset=(30, 3))
        table = app.main.query_one("#table", Table)
        assert table.line is not None
        assert table.line.key == "r2"
        await pilot.click("#table", offset=(3, 0))  # the head of what it is sorted by
        await pilot.pause()
        assert views(scene)[-1].reverse
        await pilot.click("#tabs", offset=(8, 0))
        await pilot.pause()
        assert views(scene)[-1].tab is Tab.BLOCKED

    on_screen(app, steps)


def test_brushing_by_keys_and_mouse_sets_the_window() -> None:
    scene = Scene()
    app = live_app(scene)

    async def steps(pilot: Pilot[Left]) -> None:
        await pilot.press("t")
        timeline = app.main.query_one("#timeline")
        await until(pilot, lambda: getattr(timeline, "_timeline", None))
        await pilot.press("home", "right", "right", "enter", "right", "enter")
        await pilot.pause()
        step = -(-83 // (80 - 22))
        begin, end = BEGAN + 2 * step * SECOND, BEGAN + 4 * step * SECOND
        assert views(scene)[-1].window == Window(0, begin, end)
        assert views(scene)[-1].panel is Panel.TABLE

    on_screen(app, steps)


def test_a_filtered_timeline_says_how_far_it_goes() -> None:
    scene = Scene()
    app = live_app(scene)

    async def steps(pilot: Pilot[Left]) -> None:
        await pilot.press("t")
        await until(pilot, lambda: "arrows move" in text_of(app))
        assert " s ago" not in text_of(app)
        await pilot.press("slash", *"main", "enter")
        await until(pilot, lambda: "up to 4 s ago" in text_of(app))
        await pilot.press("escape")
        await until(pilot, lambda: " s ago" not in text_of(app))

    on_screen(app, steps)


def test_marks_compare_two_windows() -> None:
    scene = Scene()
    app = live_app(scene)

    async def steps(pilot: Pilot[Left]) -> None:
        await pilot.press("m")
        scene.seconds = 120
        scene.tick()
        await until(pilot, lambda: app.main.snap and app.main.snap.end > BEGAN + 100 * SECOND)
        await pilot.press("m")
        view = views(scene)[-1]
        assert view.compares
        assert view.a is not None
        assert view.b is not None
        assert view.a.window.end == BEGAN + 83 * SECOND
        assert view.b.window.end == BEGAN + 120 * SECOND
        await pilot.pause(0.2)
        assert "+6.0" in text_of(app) or "+3.0" in text_of(app)
        await pilot.press("f")
        await until(pilot, lambda: app.main.query_one(FlameGraph).graph.nodes)
        await pilot.press("escape")
        assert not views(scene)[-1].compares

    on_screen(app, steps)


def test_help_says_where_one_stands() -> None:
    app = live_app()

    async def steps(pilot: Pilot[Left]) -> None:
        await pilot.press("f", "question_mark")
        await pilot.pause(0.2)
        assert "You are here: flame" in text_of(app)

    on_screen(app, steps)


def test_the_users_keys_and_theme_are_taken() -> None:
    scene = Scene()
    config = Config(theme="light", keys={"view.flame": "F"})
    app = live_app(scene, config)

    async def steps(pilot: Pilot[Left]) -> None:
        assert app.theme == "light"
        await pilot.press("f")
        assert panel_of(app) is Panel.TABLE
        await pilot.press("F")
        assert panel_of(app) is Panel.FLAME
        await pilot.press("ctrl+t")
        assert app.theme == "mono"

    on_screen(app, steps)


def test_refresh_goes_up_and_down() -> None:
    scene = Scene()
    app = live_app(scene)

    async def steps(pilot: Pilot[Left]) -> None:
        await pilot.press("plus", "minus", "minus")

    on_screen(app, steps)
    assert [one.hz for one in scene.sent if isinstance(one, SetRefresh)] == [2.0, 4.0, 2.0, 1.0]


def test_targets_are_added_and_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [Candidate("process", "alpha", 10, "alpha -x"), Candidate("process", "beta", 11, "")]
    monkeypatch.setattr("stacks_tui.tui.screens.targets.candidates", lambda: found)
    scene = Scene()
    app = live_app(scene)

    async def steps(pilot: Pilot[Left]) -> None:
        for last in ("enter", "ctrl+d"):
            await pilot.press("a")
            await until(pilot, lambda: isinstance(app.screen, TargetsScreen))
            await until(pilot, lambda: app.screen.query_one("#candidates", Table).lines)
            await pilot.press(*"beta")
            await pilot.pause(0.2)
            await pilot.press(last)
            await pilot.pause(0.2)

    on_screen(app, steps)
    assert AddTarget(pid=11) in scene.sent
    assert DropTarget(11) in scene.sent


def test_what_is_picked_is_what_is_recorded() -> None:
    def asked(one: Candidate) -> list[Command]:
        return commands(TargetsScreen.picked({one}))

    assert asked(Candidate("thread", "worker-b", 0, "")) == [AddTarget(comm="worker-b")]
    assert asked(Candidate("name", "bash", 0, "")) == [AddTarget(comm="bash")]
    path = "/system.slice/docker-" + "0a" * 32 + ".scope"
    (box,) = candidate_groups({path: 2, "/user.slice": 0}, most=1)
    assert (box.what, box.name) == ("container", "0a0a0a0a0a0a")
    assert asked(box) == [AddTarget(cgroup=path.lstrip("/"))]


def test_what_runs_is_offered_with_its_threads() -> None:
    waiting = threading.Event()
    started = threading.Event()

    def work() -> None:
        ctypes.CDLL(None).prctl(15, b"a-named-thread")
        started.set()
        waiting.wait()

    thread = threading.Thread(target=work)
    thread.start()
    started.wait()
    try:
        found = candidates()
    finally:
        waiting.set()
        thread.join()
    assert any(one.pid == os.getpid() for one in found)
    assert any((one.what, one.name) == ("thread", "a-named-thread") for one in found)


def test_quitting_stops_and_says_where_it_is_written() -> None:
    scene = Scene()
    app = live_app(scene)

    async def steps(pilot: Pilot[Left]) -> None:
        await pilot.press("q")
        await until(pilot, lambda: not app.is_running or app._exit)

    on_screen(app, steps)
    assert scene.sent[-1] == Stop()
    assert app.return_value is not None
    assert app.return_value.directory == "/data/20231114-worker"


def test_the_log_and_group_lists_open_and_close() -> None:
    app = live_app()

    async def steps(pilot: Pilot[Left]) -> None:
        await pilot.press("L")
        await pilot.pause(0.1)
        assert "recording to /data/20231114-worker" in text_of(app)
        await pilot.press("escape", "g")
        assert isinstance(app.screen, Choose)
        await pilot.press("escape")
        assert at_main(app)

    on_screen(app, steps, NARROW)
