"""The screen's side of a collector: starts it, passes messages, tells how it ended.

Comes in: `Start`, then commands. Goes out: frames. The collector is in a session (setsid) of its
own: keys and hang-ups of the terminal do not reach it. If we are gone, its commands end, and it
ends the recording; if it is gone, an `Ended` says so, and what it recorded is on disk.
"""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Iterator
from typing import IO

from stacks_tui.live.snapshot import Snapshot
from stacks_tui.session.priority import starting_others
from stacks_tui.session.protocol import (
    Command,
    Ended,
    Frame,
    FrameReader,
    LogLine,
    Opened,
    ProtocolError,
    Start,
    Stop,
    encode,
)

_CHILD = """
from stacks_tui.lean import without_pandas
without_pandas()
from stacks_tui.session.collector import child
child()
"""
_READ = 1 << 18
LONGEST_LINE = 4096
LAST_LINES_S = 1.0
"""How long lines of the log are waited for when the collector has ended."""


class LiveSource:
    """A `Source`: a collector process."""

    def __init__(self, start: Start) -> None:
        """Start the process; everything it can't do, an `Ended` tells.

        Raises:
            OSError: no process can be started.
        """
        self._frames = FrameQueue()
        self._commands: queue.SimpleQueue[Command | None] = queue.SimpleQueue()
        self._directory = ""
        self._ended = False
        with starting_others():
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-c", _CHILD],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                start_new_session=True,
            )
        self._threads = [
            threading.Thread(target=target, name=name, daemon=True)
            for target, name in (
                (self._write, "commands"),
                (self._read_frames, "frames"),
                (self._read_log, "log"),
            )
        ]
        self._commands.put(start)
        for thread in self._threads:
            thread.start()

    @property
    def pid(self) -> int:
        """Of the collector."""
        return self._process.pid

    def post(self, command: Command) -> None:
        """See `Source`."""
        self._commands.put(command)

    def poll(self, timeout_s: float | None = None) -> Frame | None:
        """See `Source`."""
        return self._frames.take(timeout_s)

    def frames(self) -> Iterator[Frame]:
        """See `Source`."""
        return self._frames.all()

    def close(self) -> None:
        """See `Source`."""
        self.post(Stop())
        self._commands.put(None)
        *threads, log = self._threads
        for thread in threads:
            thread.join()
        self._process.wait()
        _pipe(self._process.stdout).close()
        log.join(LAST_LINES_S)
        if not log.is_alive():  # else somebody whom the collector started still holds the pipe
            _pipe(self._process.stderr).close()

    def _write(self) -> None:
        pipe = _pipe(self._process.stdin)
        with contextlib.suppress(OSError):  # it has ended: the frames tell
            while (command := self._commands.get()) is not None:
                pipe.write(encode(command))
                pipe.flush()
        with contextlib.suppress(OSError):
            pipe.close()

    def _read_frames(self) -> None:
        fd = _pipe(self._process.stdout).fileno()
        reader = FrameReader()
        failure = ""
        try:
            while data := os.read(fd, _READ):
                for frame in reader.feed(data):
                    if isinstance(frame, Opened):
                        self._directory = frame.directory
                    self._ended |= isinstance(frame, Ended)
                    self._frames.put(frame)
        except ProtocolError as error:
            failure = str(error)
            self._process.kill()
        status = self._process.wait()
        if not self._ended:
            self._frames.put(
                Ended(
                    self._directory,
                    failure=failure or _manner(status),
                    crashed=True,
                    exit_code=1,
                )
            )
        self._commands.put(None)

    def _read_log(self) -> None:
        """What libraries print, line by line, and a traceback."""
        pipe = _pipe(self._process.stderr)
        while line := pipe.readline(LONGEST_LINE):
            text = line.decode("utf-8", "backslashreplace").rstrip()
            if text and not self._ended:
                self._frames.put(LogLine(text, "warning"))


class FrameQueue:
    """Frames that wait to be taken; of snapshots that come one after the other only the newest."""

    def __init__(self) -> None:
        self._frames: deque[Frame] = deque()
        self._change = threading.Condition()
        self._over = False

    def put(self, frame: Frame) -> None:
        """Add a frame; after `Ended` nothing is added."""
        with self._change:
            if self._frames and isinstance(self._frames[-1], Ended):
                return
            last = self._frames[-1] if self._frames else None
            if isinstance(frame, Snapshot) and isinstance(last, Snapshot):
                self._frames.pop()
            self._frames.append(frame)
            self._change.notify_all()

    def take(self, timeout_s: float | None = None) -> Frame | None:
        """The next one; None: none came in this time, or `Ended` was taken."""
        end = None if timeout_s is None else time.monotonic() + timeout_s
        with self._change:
            while not self._frames:
                rest = None if end is None else end - time.monotonic()
                if self._over or (rest is not None and rest <= 0):
                    return None
                self._change.wait(rest)
            frame = self._frames.popleft()
            if isinstance(frame, Ended):
                self._over = True
                self._change.notify_all()
            return frame

    def all(self) -> Iterator[Frame]:
        """Each in turn, up to `Ended`."""
        while (frame := self.take()) is not None:
            yield frame


def _pipe(pipe: IO[bytes] | None) -> IO[bytes]:
    assert pipe is not None
    return pipe


def _manner(status: int) -> str:
    if status >= 0:
        return f"the collector ended without a word (exit code {status}); what it recorded is kept."
    try:
        name = signal.Signals(-status).name
    except ValueError:
        name = f"signal {-status}"
    return f"the collector was killed ({name}); what it recorded is kept."
