"""Makes the pictures of the README from the recording in tests/recordings/mixed.

python3 screenshots/make.py
"""

from __future__ import annotations

import asyncio
import sys
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from stacks_tui.config import Config  # noqa: E402
from stacks_tui.session.playback import RecordingSource  # noqa: E402
from stacks_tui.session.protocol import Start  # noqa: E402
from stacks_tui.session.source import Source  # noqa: E402
from stacks_tui.tui.app import StacksApp, Wanted  # noqa: E402

RECORDING = HERE.parent / "tests" / "recordings" / "mixed"
SIZE = (110, 30)
PICTURES: dict[str, tuple[str, ...]] = {
    "stacks": (),
    "flame": ("f",),
    "blocked": ("tab", "slash", *"mutex", "enter"),
    "rss": ("tab", "tab", "tab"),
    "writes": ("tab",) * 5 + ("d",),
    "runnable": ("tab", "tab"),
    "calls": ("c",),
    "timeline": ("t",),
    "processes": ("O",),
    "help": ("question_mark",),
}
"""Name → the keys that lead there."""


def _no_collector(start: Start) -> Source:
    raise RuntimeError("pictures are of recordings")


async def picture(name: str, keys: tuple[str, ...]) -> None:
    """Press the keys, wait until what was asked for is shown, and keep the screen."""
    app = StacksApp(Wanted(path=RECORDING), Config(), _no_collector, RecordingSource)
    async with app.run_test(size=SIZE) as pilot:
        for key in (None, *keys):
            if key is not None:
                await pilot.press(key)
            end = time.monotonic() + 30
            await pilot.pause(0.5)
            while not app.main.settled and time.monotonic() < end:
                await pilot.pause(0.1)
        await pilot.pause(0.3)
        svg = app.export_screenshot(title=f"stacks-tui: {name}")
    (HERE / f"{name}.svg").write_text(svg, "utf-8")


def main() -> None:
    """All of them, or those named."""
    for name in sys.argv[1:] or PICTURES:
        asyncio.run(picture(name, PICTURES[name]))


if __name__ == "__main__":
    main()
