"""However a live screen is stopped or loses its terminal, it ends, and the recording is whole."""

from __future__ import annotations

import contextlib
import fcntl
import os
import pty
import signal
import struct
import sys
import termios
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from stacks_tui.store.manifest import State
from stacks_tui.store.reader import open_recording

ROOT = Path(__file__).resolve().parents[2]
START = f"import sys; sys.path.insert(0, {str(ROOT)!r})\nfrom stacks_tui.cli.main import run; run()"
PATIENCE_S = 60.0
ECHO_AND_LINES = termios.ECHO | termios.ICANON

pytestmark = pytest.mark.bpf


class Screen:
    """The program, on us as its target, in a terminal that can be closed."""

    def __init__(self, folder: Path) -> None:
        self.recording = folder / "rec"
        options = ["-p", "profile:u:99,switch:u", "-d", str(self.recording)]
        options += ["--pid", str(os.getpid())]
        self.pid, self._fd = pty.fork()
        if not self.pid:
            signal.signal(signal.SIGHUP, signal.SIG_IGN)  # as under nohup: nothing tells it
            fcntl.ioctl(0, termios.TIOCSWINSZ, struct.pack("HHHH", 32, 110, 0, 0))
            os.environ |= {"TERM": "xterm-256color"}
            os.execv(sys.executable, [sys.executable, "-P", "-c", START, *options])
        self._shown = b""
        self._closing = threading.Event()
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        with contextlib.suppress(OSError):
            while not self._closing.is_set() and (data := os.read(self._fd, 1 << 16)):
                self._shown += data

    def until(self, text: str) -> None:
        end = time.monotonic() + PATIENCE_S
        while text.encode() not in self._shown:
            assert time.monotonic() < end, f"no {text!r} in {self._shown[-2000:]!r}"
            time.sleep(0.05)

    def press(self, keys: str) -> None:
        os.write(self._fd, keys.encode())

    @property
    def collector(self) -> int:
        """Its process."""
        found = Path(f"/proc/{self.pid}/task/{self.pid}/children").read_text().split()
        return int(found[0])

    @property
    def modes(self) -> int:
        """Of the terminal: whether it echoes, and waits for whole lines."""
        return int(termios.tcgetattr(self._fd)[3]) & ECHO_AND_LINES

    def close_terminal(self) -> None:
        """It is gone at the next thing that is drawn."""
        self._closing.set()
        self._reader.join(PATIENCE_S)
        os.close(self._fd)
        self._fd = -1

    def ended(self) -> int:
        """Its exit status; waits for it."""
        end = time.monotonic() + PATIENCE_S
        while time.monotonic() < end:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.pid = 0
                return os.waitstatus_to_exitcode(status)
            time.sleep(0.05)
        raise AssertionError(f"it goes on, and shows {self._shown[-2000:]!r}")

    def close(self) -> None:
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        if self._fd >= 0:
            os.close(self._fd)


@pytest.fixture
def screen(tmp_path: Path) -> Iterator[Screen]:
    found = Screen(tmp_path)
    yield found
    found.close()


def wait_for_end_of(pid: int) -> None:
    end = time.monotonic() + PATIENCE_S
    while Path(f"/proc/{pid}").exists():
        assert time.monotonic() < end, "the collector goes on"
        time.sleep(0.05)


def state_of(screen: Screen) -> State:
    with open_recording(screen.recording) as recording:
        assert recording.manifest is not None
        return recording.manifest.state


def test_stopped_and_continued_it_reads_keys_and_gives_the_terminal_back(screen: Screen) -> None:
    before = screen.modes
    screen.until("live")
    for _ in range(3):
        os.kill(screen.pid, signal.SIGSTOP)
        time.sleep(0.2)
        os.kill(screen.pid, signal.SIGCONT)
        time.sleep(0.2)
    screen.press("?")
    screen.until("You are here")
    screen.press("\x1b")
    time.sleep(0.5)
    screen.press("q")
    assert screen.ended() == 0
    assert before == ECHO_AND_LINES
    assert screen.modes == before
    assert state_of(screen) is State.FINISHED


def test_asked_to_end_it_writes_all(screen: Screen) -> None:
    screen.until("live")
    os.kill(screen.pid, signal.SIGTERM)
    assert screen.ended() == 0
    assert state_of(screen) is State.FINISHED


def test_without_a_terminal_it_ends_and_the_collector_too(screen: Screen) -> None:
    screen.until("live")
    collector = screen.collector
    screen.close_terminal()
    screen.ended()
    wait_for_end_of(collector)
    assert state_of(screen) is State.FINISHED


def test_a_collector_that_stands_still_holds_up_nobody_who_leaves(screen: Screen) -> None:
    screen.until("live")
    collector = screen.collector
    os.kill(collector, signal.SIGSTOP)
    try:
        screen.press("q")
        screen.until("leave at once")
        time.sleep(0.7)
        screen.press("\x03")
        assert screen.ended() == 0
    finally:
        os.kill(collector, signal.SIGCONT)
    wait_for_end_of(collector)
    assert state_of(screen) is State.FINISHED
