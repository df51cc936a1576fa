"""What waits to go up the pipe: every message in turn, but of snapshots only the newest.

Comes in: frames, from any thread; nobody who sends ever waits. Goes out: their bytes, written by a
thread of its own, which may hang for as long as the other side does not read.
"""

from __future__ import annotations

import os
import threading
from collections import deque

from stacks_tui.live.snapshot import Snapshot
from stacks_tui.session.protocol import Ended, Frame, LogLine, encode

MOST_WAITING = 1000
"""Frames beside the snapshot; the oldest log lines give way first."""


class Outbox:
    """Takes over the descriptor."""

    def __init__(self, fd: int) -> None:
        self._fd = fd
        self._frames: deque[Frame] = deque()
        self._snapshot: Snapshot | None = None
        self._closing = False
        self._change = threading.Condition()
        self.broken = False
        """Nobody reads any more."""
        self._thread = threading.Thread(target=self._run, name="outbox", daemon=True)
        self._thread.start()

    @property
    def snapshot_waits(self) -> bool:
        """The last snapshot has not been taken yet."""
        return self._snapshot is not None

    def send(self, frame: Frame) -> None:
        """Send a frame; a snapshot takes the place of one that waits."""
        with self._change:
            if isinstance(frame, Snapshot):
                self._snapshot = frame
            else:
                self._frames.append(frame)
                if len(self._frames) > MOST_WAITING:
                    self._drop_one()
            self._change.notify()

    def close(self) -> None:
        """Write what waits, for as long as that takes, and close the pipe."""
        with self._change:
            self._closing = True
            self._change.notify()
        self._thread.join()

    def _drop_one(self) -> None:
        for at, frame in enumerate(self._frames):
            if isinstance(frame, LogLine):
                del self._frames[at]
                return
        self._frames.popleft()

    def _run(self) -> None:
        while (frame := self._next()) is not None:
            try:
                self._write(encode(frame))
            except OSError:
                self.broken = True
                break
        os.close(self._fd)

    def _next(self) -> Frame | None:
        """What goes next: messages before the snapshot, `Ended` last. None: the end."""
        with self._change:
            while not (self._frames or self._snapshot or self._closing):
                self._change.wait()
            ending = bool(self._frames) and isinstance(self._frames[0], Ended)
            if self._frames and not (ending and self._snapshot is not None):
                return self._frames.popleft()
            snapshot, self._snapshot = self._snapshot, None
            return snapshot

    def _write(self, data: bytes) -> None:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(self._fd, rest) :]
