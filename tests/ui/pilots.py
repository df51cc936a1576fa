"""Runs a screen without a terminal, for as long as a test says; waits for what is to be seen."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable

from textual.pilot import Pilot

from stacks_tui.live.view import Panel
from stacks_tui.tui.app import StacksApp
from stacks_tui.tui.wanted import Left

Size = tuple[int, int]
NARROW: Size = (80, 24)
NORMAL: Size = (100, 30)
WIDE: Size = (140, 45)
PATIENCE_S = 20.0


def on_screen(
    app: StacksApp, steps: Callable[[Pilot[Left]], Awaitable[None]], size: Size = NARROW
) -> None:
    """Run the app for these steps."""

    async def run() -> None:
        async with app.run_test(size=size) as pilot:
            await until(pilot, lambda: app.main.shown is not None)
            await pilot.pause()
            await steps(pilot)

    asyncio.run(run())


async def until(pilot: Pilot[Left], seen: Callable[[], object]) -> None:
    """Wait until this is so; it is an error if it never is."""
    end = time.monotonic() + PATIENCE_S
    while not seen():
        assert time.monotonic() < end, "it never came"
        await pilot.pause(0.02)


def text_of(app: StacksApp) -> str:
    """All that can be read on the screen, line by line."""
    width, height = app.size
    strips = app.screen._compositor.render_strips()
    lines = ["".join(segment.text for segment in strip)[:width] for strip in strips]
    return "\n".join(lines[:height])


def panel_of(app: StacksApp) -> Panel:
    """The view that is asked for."""
    return app.main.desk.view.panel


def at_main(app: StacksApp) -> bool:
    """No dialog is open."""
    return app.screen is app.main
