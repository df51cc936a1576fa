"""Makes the pictures of the README from the recordings in tests/recordings.

python3 screenshots/make.py

Pages are pictured by Chromium, which must be there for them.
"""

from __future__ import annotations

import asyncio
import subprocess
import sys
import tempfile
import time
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from stacks_tui.config import Config  # noqa: E402
from stacks_tui.export.job import Job, export  # noqa: E402
from stacks_tui.export.registry import find_format  # noqa: E402
from stacks_tui.session.playback import RecordingSource  # noqa: E402
from stacks_tui.session.protocol import Start  # noqa: E402
from stacks_tui.session.source import Source  # noqa: E402
from stacks_tui.tui.app import StacksApp  # noqa: E402
from stacks_tui.tui.wanted import Wanted  # noqa: E402

RECORDINGS = HERE.parent / "tests" / "recordings"
SIZE, WIDE = (110, 30), (140, 30)
PICTURES: dict[str, tuple[str, tuple[str, ...]]] = {
    "stacks": ("mixed", ()),
    "flame": ("mixed", ("f",)),
    "blocked": ("mixed", ("tab", *("down",) * 4)),
    "rss": ("mixed", ("x", "4")),
    "writes": ("mixed", ("5", "v", "v")),
    "disk": ("disk", ("4", "v")),
    "runnable": ("mixed", ("tab", "tab")),
    "calls": ("mixed", ("c",)),
    "timeline": ("mixed", ("t",)),
    "processes": ("mixed", ("O",)),
    "spans": ("server", ("l", *("down",) * 4)),
    "help": ("mixed", ("question_mark",)),
}
"""Name → recording, and the keys that lead there."""
PAGES: dict[str, tuple[str, tuple[str, ...], str, str]] = {
    "trace": ("html", (), "1200,760", "event=9676&span=60000000"),
    "flamegraph": ("flamegraph", ("offcpu",), "1200,560", "search=mutex"),
}
"""Name → format, queries, size, and what the page's address says to show."""


def _no_collector(start: Start) -> Source:
    raise RuntimeError("pictures are of recordings")


async def picture(name: str, recording: Path, keys: tuple[str, ...]) -> None:
    """Press the keys, wait until what was asked for is shown, and keep the screen."""
    app = StacksApp(Wanted(path=recording), Config(), _no_collector, RecordingSource)
    async with app.run_test(size=WIDE if recording.name == "server" else SIZE) as pilot:
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


def page(name: str, form: str, queries: tuple[str, ...], size: str, fragment: str) -> None:
    """What `stacks-export FORM QUERY…` writes, as a browser shows it."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / f"{name}.html"
        export(Job((RECORDINGS / "mixed",), find_format(form), queries, path=path))
        subprocess.run(
            [
                *("chromium", "--headless", "--no-sandbox", "--disable-gpu"),
                *(f"--window-size={size}", "--virtual-time-budget=8000"),
                "--blink-settings=preferredColorScheme=1",
                f"--user-data-dir={folder}/profile",
                f"--screenshot={HERE / name}.png",
                f"{path.as_uri()}#{fragment}",
            ],
            check=True,
            capture_output=True,
        )


def main() -> None:
    """All of them, or those named."""
    for name in sys.argv[1:] or [*PICTURES, *PAGES]:
        if name in PAGES:
            page(name, *PAGES[name])
        else:
            recording, keys = PICTURES[name]
            asyncio.run(picture(name, RECORDINGS / recording, keys))


if __name__ == "__main__":
    main()
