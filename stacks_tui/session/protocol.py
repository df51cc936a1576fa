"""The messages between a screen and what it looks at: commands down, frames up, as frozen values.

Comes in and goes out: bytes of a pipe. A message is its length (u32, little endian) and JSON text:
`[name, fields…]` in the order of declaration. Whatever is not exactly that is refused by
`ProtocolError`; nothing in a message is ever run, and a name made of any characters stays one.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from stacks_tui.errors import StacksError
from stacks_tui.live.snapshot import Snapshot
from stacks_tui.live.view import View
from stacks_tui.session.options import RecordOptions
from stacks_tui.session.status import Outcome
from stacks_tui.session.wire import WireError, pack, unpack

T = TypeVar("T")

MOST_BYTES = 64 << 20
"""Of one message."""


class ProtocolError(StacksError):
    """The other side sent what is no message."""


# Commands: down, from the screen


@dataclass(frozen=True, slots=True)
class Start:
    """Begin to record; the first command, and only once."""

    options: RecordOptions
    view: View = field(default_factory=View)
    refresh_hz: float = 2.0


OptionsFor = Callable[[tuple[int, ...], tuple[str, ...], str], Start]
"""What begins a session of these processes, names and cgroup (empty: none)."""


@dataclass(frozen=True, slots=True)
class SetProgram:
    """Switch a program on, or change its letters and number: an entry of `-p`."""

    spec: str


@dataclass(frozen=True, slots=True)
class DropProgram:
    """Switch a program off; the gap is kept in the recording."""

    program: str


@dataclass(frozen=True, slots=True)
class AddTarget:
    """Record this too; one of the fields is set."""

    pid: int = 0
    comm: str = ""
    cgroup: str = ""


@dataclass(frozen=True, slots=True)
class DropTarget:
    """Record this process no longer, unless its name or cgroup is a target."""

    pid: int


@dataclass(frozen=True, slots=True)
class SetView:
    """Answer this view from now on, at once and then `refresh_hz` times a second."""

    view: View


@dataclass(frozen=True, slots=True)
class SetRefresh:
    """Snapshots per second, 0 to 4; 0: none until a `SetView` or another `SetRefresh`."""

    hz: float


@dataclass(frozen=True, slots=True)
class Stop:
    """End the recording and write it whole; `Ended` follows."""

    end_program: bool = True
    """Interrupt the launched program first (SIGINT, as ^C does); False: it goes on alone."""


Command = Start | SetProgram | DropProgram | AddTarget | DropTarget | SetView | SetRefresh | Stop


# Frames: up, to the screen


@dataclass(frozen=True, slots=True)
class Phase:
    """What it does now: `compiling`, `attaching switch`, `recording`, `writing` …"""

    text: str


@dataclass(frozen=True, slots=True)
class Opened:
    """There is a recording now, and where."""

    directory: str
    live: bool
    tgid: int = 0
    """Of the launched program; 0: none."""
    output: str = ""
    """Where the launched program's output goes: a folder, or `/dev/null`; empty: none launched."""


@dataclass(frozen=True, slots=True)
class Note:
    """Something a person should know."""

    text: str


@dataclass(frozen=True, slots=True)
class KindFailed:
    """A program of `-p` can't be had; the others run."""

    program: str
    reason: str


@dataclass(frozen=True, slots=True)
class LogLine:
    """A line for the log: what the collector's libraries print, warnings, the manner of a crash."""

    text: str
    level: str = "info"
    """`info`, `warning` or `error`."""


@dataclass(frozen=True, slots=True)
class TargetsEnded:
    """The launched program, or the last of the processes named by number, has ended. For a launched
    program the recording ends now; `Ended` follows."""

    exit_status: int | None


@dataclass(frozen=True, slots=True)
class Ended:
    """The last frame: nothing more is collected."""

    directory: str = ""
    """Of the recording; empty: there is none."""
    outcome: Outcome | None = None
    """Of a recording that was ended as it should be."""
    failure: str = ""
    """Why it ended early, one line; empty: it was asked to, or the program ended."""
    crashed: bool = False
    """The collector is gone without a word: what it recorded is recovered when it is opened."""
    exit_code: int = 0
    """0 done, 1 failed, 2 bad usage, 3 this machine or user can't."""


Frame = Phase | Opened | Note | KindFailed | LogLine | Snapshot | TargetsEnded | Ended

_COMMANDS: dict[str, type[Command]] = {
    kind.__name__: kind
    for kind in (Start, SetProgram, DropProgram, AddTarget, DropTarget, SetView, SetRefresh, Stop)
}
_FRAMES: dict[str, type[Frame]] = {
    kind.__name__: kind
    for kind in (Phase, Opened, Note, KindFailed, LogLine, Snapshot, TargetsEnded, Ended)
}


def encode(message: Command | Frame) -> bytes:
    """One message, with its length before it."""
    text = json.dumps([type(message).__name__, *pack(message)], separators=(",", ":"))
    body = text.encode("ascii")
    if len(body) > MOST_BYTES:
        raise ProtocolError(f"a message of {len(body):,} bytes is too long.")
    return len(body).to_bytes(4, "little") + body


class CommandReader:
    """Bytes to commands, as they come."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[Command]:
        """The commands that these bytes complete.

        Raises:
            ProtocolError: they hold no command; nothing further can be read.
        """
        self._buffer += data
        for body in _bodies(self._buffer):
            yield _decode(body, _COMMANDS)


class FrameReader:
    """Bytes to frames, as they come."""

    def __init__(self) -> None:
        self._buffer = bytearray()

    def feed(self, data: bytes) -> Iterator[Frame]:
        """The frames that these bytes complete.

        Raises:
            ProtocolError: they hold no frame; nothing further can be read.
        """
        self._buffer += data
        for body in _bodies(self._buffer):
            yield _decode(body, _FRAMES)


def _bodies(buffer: bytearray) -> Iterator[bytes]:
    """Take the whole messages out of the buffer."""
    while len(buffer) >= 4:
        length = int.from_bytes(buffer[:4], "little")
        if length > MOST_BYTES:
            raise ProtocolError(f"a message of {length:,} bytes is too long.")
        if len(buffer) < 4 + length:
            return
        body = bytes(buffer[4 : 4 + length])
        del buffer[: 4 + length]
        yield body


def _decode(body: bytes, kinds: Mapping[str, type[T]]) -> T:
    try:
        content = json.loads(body, parse_constant=_refuse)
        name, *values = content if isinstance(content, list) and content else [None]
        if not isinstance(name, str) or name not in kinds:
            raise WireError("no message of ours")
        message: T = unpack(kinds[name], values)
    except (ValueError, RecursionError) as error:
        raise ProtocolError(f"a message can't be read: {error}.") from error
    return message


def _refuse(constant: str) -> float:
    raise WireError(f"{constant} is no number")
