"""What goes wrong is told in its place, the screen goes on, no name steers the terminal."""

from __future__ import annotations

from dataclasses import replace

import pytest
from pilots import NARROW, WIDE, Size, on_screen, text_of, until
from scenes import Scene, Stack, live_app
from textual.pilot import Pilot

from stacks_tui.live.snapshot import Collecting, Loss, Trust
from stacks_tui.session.protocol import Ended, KindFailed, LogLine, Note, TargetsEnded
from stacks_tui.tui.strips import trust
from stacks_tui.tui.wanted import Left
from stacks_tui.tui.widgets.bar import BarLine, arrange
from stacks_tui.tui.widgets.table import Table

HOSTILE = "\x1b]0;owned\x07[red]x[/red][/]\u202eevil\n漢字" + "\udcff"
ESCAPED = "\\x1b]0;owned\\x07[red]x[/red][/]\\u202eevil\\n漢字\\xff"
PANELS = ("s", "c", "f", "o", "d", "t", "g", "question_mark", "L", "m", "colon")


@pytest.mark.parametrize("key", PANELS)
@pytest.mark.parametrize("size", [NARROW, WIDE])
def test_hostile_names_are_shown_as_they_are(key: str, size: Size) -> None:
    scene = Scene(((((HOSTILE, HOSTILE)), 5), ((HOSTILE,), 3)), name=HOSTILE)
    scene.trust = Trust(lost=3, losses=(Loss(HOSTILE, 3, 0, HOSTILE),))
    app = live_app(scene)

    async def steps(pilot: Pilot[Left]) -> None:
        scene.push(Note(HOSTILE))
        scene.push(LogLine(HOSTILE, "error"))
        await pilot.press(key)
        await pilot.pause(0.3)
        shown = text_of(app)
        assert not set("\x1b\x07\u202e\udcff") & set(shown)
        if key in "sco":
            assert ESCAPED[:20] in shown

    on_screen(app, steps, size)


def test_a_loss_turns_the_strip_red_and_says_what_to_do() -> None:
    scene = Scene()
    app = live_app(scene)

    async def steps(pilot: Pilot[Left]) -> None:
        strip = app.main.query_one("#trust", BarLine)
        assert "lost 0" in strip.text
        assert not strip.has_class("-alarm")
        began = scene.snapshot(app.main.wanted()).began
        loss = Loss("switch", 1234, began + 61_000_000_000, "take a larger ring: --ring-bytes 64M")
        scene.trust = Trust(lost=1234, losses=(loss,), ring=1.0, cpu=0.5, memory=1 << 20)
        scene.tick()
        await until(pilot, lambda: strip.has_class("-alarm"))
        await pilot.pause(0.1)
        shown = text_of(app)
        assert "LOST 1,234" in shown
        assert "switch since 00:01:01" in shown
        assert "--ring-bytes 64M" in strip.text

    on_screen(app, steps, WIDE)


@pytest.mark.parametrize(
    ("width", "parts"),
    [
        (140, ("LOST 1,234", "wait +1 since 00:01:01", "larger --ring-bytes", "complete")),
        (80, ("LOST 1,234", "wait +1", "00:01:01", "give a larger --ring-bytes")),
        (40, ("LOST 1,234", "wait +1", "00:01:01")),
        (20, ("LOST 1,234",)),
    ],
)
def test_a_loss_is_told_before_anything_else(width: int, parts: tuple[str, ...]) -> None:
    advice = "give a larger --ring-bytes, or leave out short times (switch:uk:10000)."
    losses = (Loss("wait", 1200, 61 * 10**9, advice), Loss("switch", 34, 0, advice))
    found = Trust(lost=1234, losses=losses, ring=1.0, cpu=0.5, memory=1 << 20, complete=0.99)
    left, right, alarm = trust(found, 0)
    line = "".join(spot.text for side in arrange(left, right, width) for spot in side)
    assert alarm and len(line) <= width
    assert all(part in line for part in parts)


def test_a_dead_collector_is_told_and_another_can_be_started() -> None:
    scene = Scene()
    app = live_app(scene)
    begun: list[Scene] = []
    first = app._open_live

    def open_live(start: object) -> Scene:
        begun.append(scene)
        return first(start)  # type: ignore[arg-type,return-value]

    app._open_live = open_live

    async def steps(pilot: Pilot[Left]) -> None:
        scene.push(Ended("/data/one", failure="the collector was killed by signal 9", crashed=True))
        await until(pilot, lambda: app.main.mode == "dead")
        await pilot.pause(0.1)
        assert "STOPPED" in text_of(app)
        assert "signal 9" in text_of(app)
        assert "multiply" in text_of(app)  # what was shown stays
        await pilot.press("f", "s", "R")
        await until(pilot, lambda: app.main.mode == "live")
        assert len(begun) == 2

    on_screen(app, steps, WIDE)


def test_a_kind_that_cannot_be_had_says_why_in_its_place() -> None:
    scene = Scene()
    reason = "sock_send_length is not in this kernel"
    scene.programs = tuple(
        replace(one, state=Collecting.FAILED, reason=reason) if one.program == "net" else one
        for one in scene.programs
    )
    scene.stacks = ()
    app = live_app(scene)

    async def steps(pilot: Pilot[Left]) -> None:
        scene.push(KindFailed("net", reason))
        app.main.action_tab("net")
        table = app.main.query_one("#table", Table)
        await until(pilot, lambda: reason in table._empty)
        await pilot.pause(0.1)
        assert "✗" in text_of(app)
        assert f"net can't be had: {reason}" in text_of(app)

    on_screen(app, steps, WIDE)


@pytest.mark.parametrize("size", [NARROW, WIDE])
def test_a_target_that_is_not_there_is_told(size: Size) -> None:
    app = live_app(Scene((), received=0))

    async def steps(pilot: Pilot[Left]) -> None:
        shown = text_of(app)
        assert "nothing of worker has been seen yet" in shown
        assert "a adds" in shown

    on_screen(app, steps, size)


def test_the_end_of_the_target_is_told() -> None:
    scene = Scene()
    app = live_app(scene)

    async def steps(pilot: Pilot[Left]) -> None:
        scene.push(TargetsEnded(3))
        scene.push(Ended("/data/one", exit_code=0))
        await until(pilot, lambda: app.main.mode == "ended")
        await pilot.pause(0.2)
        assert "ended" in text_of(app)

    on_screen(app, steps)
    assert app._left.exit_status == 3


@pytest.mark.parametrize("key", PANELS)
def test_a_terminal_of_20_by_5_and_back(key: str) -> None:
    app = live_app()

    async def steps(pilot: Pilot[Left]) -> None:
        await pilot.press(key)
        for size in ((20, 5), (1, 1), (80, 24)):
            await pilot.resize_terminal(*size)
            await pilot.pause(0.1)
            if size == (20, 5):
                assert "lost 0" in text_of(app) or key in ("g", "question_mark", "L")
        assert "stacks-tui" in text_of(app)

    on_screen(app, steps)


def test_very_long_names_and_deep_stacks() -> None:
    long = "std::" + "vector<" * 511 + "x" * (4096 - 5 - 7 * 511)
    deep = tuple(f"frame{at}" for at in range(500))
    scene = Scene((((long, "main"), 9), (deep, 5)))
    app = live_app(scene)

    async def steps(pilot: Pilot[Left]) -> None:
        await pilot.press("right", "right", "down")
        await until(pilot, lambda: app.main.detail())
        await pilot.press("enter")
        await pilot.pause(0.2)
        await pilot.press("end")
        await pilot.pause(0.2)
        assert "frame499" in text_of(app)
        await pilot.press("escape", "f")
        await pilot.pause(0.3)
        await pilot.press(*["down"] * 40)
        await pilot.pause(0.1)
        flame = app.main.query_one("#flame")
        assert flame.virtual_size.height > 500
        await pilot.press("c")
        await pilot.pause(0.3)
        await pilot.press("end")

    on_screen(app, steps)


def test_a_hundred_thousand_stacks_are_drawn_at_once() -> None:
    stacks: tuple[Stack, ...] = tuple(
        ((f"leaf{at}", "main"), 100_000 - at) for at in range(100_000)
    )
    scene = Scene(stacks)
    app = live_app(scene)

    async def steps(pilot: Pilot[Left]) -> None:
        table = app.main.query_one("#table", Table)
        assert len(table.lines) <= 501
        assert "more rows)" in "".join(str(cell) for cell in table.lines[-1].cells)
        await pilot.press("end", "home", "pagedown")
        assert table.line is not None

    on_screen(app, steps)


def test_no_colour_is_still_readable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    scene = Scene()
    scene.trust = Trust(lost=7)
    app = live_app(scene)

    async def steps(pilot: Pilot[Left]) -> None:
        assert "LOST 7" in text_of(app)
        assert app.no_color

    on_screen(app, steps)
