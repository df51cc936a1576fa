"""The recording's own voice on stderr: one live line on a terminal, plain lines or JSON elsewhere.

Each reporter takes a `Status`, and never raises: a reader that went away must not end a recording.
"""

from __future__ import annotations

import json
import os
import shutil
import termios
import time
from collections.abc import Callable
from typing import Any, Protocol, TextIO

import click

from stacks_tui import text
from stacks_tui.cli import streams
from stacks_tui.session.status import Status

PLAIN_EVERY_S = 10.0
"""Seconds between plain lines, for logs."""

_RING_WORTH_SAYING = 0.5


class Reporter(Protocol):
    """Shows one status after another."""

    def __call__(self, status: Status) -> None:
        """Show this one."""

    def close(self) -> None:
        """Leave the stream ready for other text."""


def reporter(stream: TextIO, *, as_json: bool) -> Reporter:
    """The reporter that fits this stream."""
    if as_json:
        return JsonReporter(stream)
    return TerminalReporter(stream) if stream.isatty() else PlainReporter(stream)


class TerminalReporter:
    """One line, rewritten. Silent while a launched program has the terminal in raw mode."""

    def __init__(self, stream: TextIO, width: Callable[[], int] | None = None) -> None:
        self._stream = stream
        self._width = width or (lambda: shutil.get_terminal_size().columns)
        self._colour = not os.environ.get("NO_COLOR")
        self._shown = False
        self._notes: list[str] = []

    def __call__(self, status: Status) -> None:
        """Rewrite the line; notes stay above it."""
        self._notes += status.notes
        if _in_raw_mode(self._stream):
            return
        line = status_line(status, self._width() - 1, colour=self._colour)
        _write(self._stream, f"{self._erase()}{self._take_notes()}{line}")
        self._shown = True

    def close(self) -> None:
        """Erase the line."""
        _write(self._stream, self._erase() + self._take_notes())
        self._shown = False

    def _take_notes(self) -> str:
        lines = "".join(f"note: {text.printable(note)}\n" for note in self._notes)
        self._notes.clear()
        return lines

    def _erase(self) -> str:
        return "\r\x1b[K" if self._shown else ""


class PlainReporter:
    """A line every ten seconds, and at once when the first event is lost."""

    def __init__(self, stream: TextIO, clock: Callable[[], float] = time.monotonic) -> None:
        self._stream = stream
        self._clock = clock
        self._next = clock() + PLAIN_EVERY_S
        self._lossless = True

    def __call__(self, status: Status) -> None:
        """Write the notes, and the line when it is due."""
        lines = [f"note: {text.printable(note)}" for note in status.notes]
        first_loss = self._lossless and status.lost > 0
        if first_loss or self._clock() >= self._next:
            lines.append(status_line(status, 1000, colour=False))
            self._next = self._clock() + PLAIN_EVERY_S
            self._lossless = not status.lost
        if lines:
            _write(self._stream, "\n".join(lines) + "\n")

    def close(self) -> None:
        """Nothing is left open."""


class JsonReporter:
    """Each status as one JSON object on a line."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def __call__(self, status: Status) -> None:
        """Write it."""
        _write(self._stream, json.dumps(status_object(status)) + "\n")

    def close(self) -> None:
        """Nothing is left open."""


def status_line(status: Status, cells: int, *, colour: bool) -> str:
    """One line of at most this many columns; what was lost comes early enough never to be cut."""
    if not status.elapsed_s:
        return text.truncate(f"{text.printable(status.phase)}{text.ELLIPSIS}", cells)
    head = f"{text.duration(int(status.elapsed_s * 1e9))}  {text.si(round(status.rate))}/s  "
    lost = f"lost {text.count(status.lost)}"
    parts = [text.size(status.bytes_on_disk)]
    if status.ring_share >= _RING_WORTH_SAYING:
        parts.append(f"ring {text.percent(status.ring_share)} full")
    if status.phase != "recording":
        parts.append(text.printable(status.phase))
    parts += [f"{one.kind.label} {text.count(one.received)}" for one in status.kinds]
    tail = "  " + "  ".join(parts)
    room = cells - len(head) - len(lost)
    if room < 0:
        return text.truncate(head + lost, cells)
    if colour and status.lost:
        lost = click.style(lost, fg="red", bold=True)
    return head + lost + text.truncate(tail, room)


def status_object(status: Status) -> dict[str, Any]:
    """The status as JSON holds it."""
    return {
        "phase": text.valid(status.phase),
        "elapsed_s": round(status.elapsed_s, 3),
        "rate": round(status.rate, 1),
        "received": status.received,
        "lost": status.lost,
        "ring_share": round(status.ring_share, 4),
        "bytes_on_disk": status.bytes_on_disk,
        "kinds": {
            one.kind.label: {
                "received": one.received,
                "lost": one.lost,
                "truncated": one.truncated,
            }
            for one in status.kinds
        },
        "notes": [text.valid(note) for note in status.notes],
    }


def _write(stream: TextIO, line: str) -> None:
    try:
        stream.write(line)
        stream.flush()
    except (OSError, ValueError):
        streams.abandon(stream)  # nobody reads any more; the recording goes on


def _in_raw_mode(stream: TextIO) -> bool:
    """Whether a full-screen or line-editing program has taken the terminal."""
    try:
        return not termios.tcgetattr(stream.fileno())[3] & termios.ICANON
    except (OSError, ValueError, termios.error):
        return False
