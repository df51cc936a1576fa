"""The live screen in a real terminal (tmux), on real events, up to what the recording holds."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from stacks_tui.store.reader import open_recording

ROOT = Path(__file__).resolve().parents[2]
START = f"import sys; sys.path.insert(0, {str(ROOT)!r})\nfrom stacks_tui.cli.main import run; run()"
PATIENCE_S = 60.0

pytestmark = [
    pytest.mark.bpf,
    pytest.mark.skipif(shutil.which("tmux") is None, reason="tmux is not installed"),
]


class Terminal:
    """A program in a terminal of its own."""

    def __init__(self, folder: Path, command: list[str], size: tuple[int, int] = (110, 32)) -> None:
        self._tmux = ["tmux", "-S", str(folder / "tmux")]
        width, height = map(str, size)
        start = ["new-session", "-d", "-s", "screen", "-x", width, "-y", height]
        subprocess.run([*self._tmux, *start, *command], check=True, cwd=folder)
        self._do("set-option", "-g", "remain-on-exit", "on")

    def _do(self, *arguments: str) -> str:
        command = [*self._tmux, *arguments]
        return subprocess.run(command, capture_output=True, text=True, check=True).stdout

    def press(self, *keys: str) -> None:
        for key in keys:
            self._do("send-keys", "-t", "screen", key)
            time.sleep(0.15)

    def shown(self) -> str:
        return self._do("capture-pane", "-p", "-t", "screen")

    def until(self, text: str) -> str:
        end = time.monotonic() + PATIENCE_S
        while text not in (shown := self.shown()):
            assert time.monotonic() < end, f"no {text!r} in:\n{shown}"
            time.sleep(0.2)
        return shown

    def until_gone(self, text: str) -> None:
        end = time.monotonic() + PATIENCE_S
        while text in (shown := self.shown()):
            assert time.monotonic() < end, f"still {text!r} in:\n{shown}"
            time.sleep(0.2)

    @property
    def pid(self) -> int:
        """Of the program."""
        return int(self._do("display-message", "-p", "-t", "screen", "#{pane_pid}"))

    def resize(self, width: int, height: int) -> None:
        self._do("resize-window", "-t", "screen", "-x", str(width), "-y", str(height))

    def close(self) -> None:
        subprocess.run([*self._tmux, "kill-server"], check=False, capture_output=True)


@pytest.fixture
def terminal(tmp_path: Path) -> Iterator[Terminal]:
    program = tmp_path / "mixed"
    source = ROOT / "tests" / "recordings" / "mixed.c"
    subprocess.run(["gcc", "-O1", "-g", "-pthread", "-o", program, source], check=True)
    options = ["-d", str(tmp_path / "rec"), "-p", "profile:uk:99,rss:u:29,switch:uk"]
    command = [sys.executable, "-P", "-c", START, *options, "--", str(program), "120"]
    found = Terminal(tmp_path, command)
    yield found
    found.close()


def test_from_the_first_event_to_the_recording(terminal: Terminal, tmp_path: Path) -> None:
    terminal.until("post_to_ledger")
    shown = terminal.until("lost 0")
    assert "▶ live" in shown
    terminal.press("Tab", "/", *"mutex", "Enter")
    terminal.until("/mutex")
    terminal.until("futex")
    terminal.press("Escape", "BTab", "f")
    terminal.until("callees below")
    terminal.until("number_cruncher")
    terminal.press("s", "5")
    terminal.until("5 vfs ●")
    terminal.press("2")
    terminal.until("2 switch ○")
    terminal.press("2")
    terminal.until("2 switch ●")
    terminal.press("Space")
    terminal.until("paused")
    terminal.press("Space", "M", "Enter")
    terminal.until("A/B")
    terminal.press("Escape")
    terminal.resize(20, 5)
    terminal.until_gone("own cost")
    time.sleep(1)  # as a person would
    assert "lost 0" in terminal.shown()
    terminal.resize(110, 32)
    terminal.until("own cost")
    terminal.press("p")
    terminal.until("written:")
    terminal.press("q")
    terminal.until("recording: ")
    assert list(tmp_path.glob("*.pb.gz"))
    assert os.path.isdir(tmp_path / "rec")
    with open_recording(tmp_path / "rec") as recording:
        query = "select kind, count(*) n from events group by all"
        kinds = {row["kind"]: row["n"] for row in recording.table(query).to_pylist()}
        assert {"profile", "switch", "wait", "rss", "vfs_write"} <= set(kinds)
        assert recording.manifest is not None
        counts = recording.manifest.status.kinds
        assert {kind: counts[kind].received for kind in kinds} == kinds
        assert len(counts["switch"].gaps) == 1


STOPPED_S = 10


def test_a_screen_that_stands_still_loses_nothing(terminal: Terminal, tmp_path: Path) -> None:
    """Stopped for ten seconds, it goes on where the collector is by then."""
    terminal.until("post_to_ledger")
    terminal.press("5")
    terminal.until("5 vfs ●")
    os.kill(terminal.pid, signal.SIGSTOP)
    time.sleep(STOPPED_S)
    os.kill(terminal.pid, signal.SIGCONT)
    terminal.until("lost 0")
    terminal.press("q")
    terminal.until("recording: ")
    with open_recording(tmp_path / "rec") as recording:
        assert recording.manifest is not None
        kinds = recording.manifest.status.kinds
        assert not [label for label, kind in kinds.items() if kind.lost]
        query = "select count(distinct timestamp // 1000000000) n from events where kind = 'wait'"
        (row,) = recording.table(query).to_pylist()
        assert row["n"] > STOPPED_S  # not a second without events
