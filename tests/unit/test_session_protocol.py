"""Messages: everything comes back as it was, and nothing else comes in."""

from __future__ import annotations

import json
import random
from collections.abc import Callable
from dataclasses import fields, is_dataclass
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from stacks_tui.capture.targets import Targets
from stacks_tui.kinds import Kind, parse_programs
from stacks_tui.live.snapshot import (
    Collecting,
    Detail,
    FrameInfo,
    Gap,
    Gauge,
    Graph,
    Histogram,
    Loss,
    Node,
    Panels,
    Processes,
    ProcessRow,
    ProgramState,
    Row,
    Snapshot,
    Strip,
    Table,
    Timeline,
    Trust,
)
from stacks_tui.live.view import Group, Measure, Panel, Side, StackPart, Tab, View, Window
from stacks_tui.session.options import RecordOptions
from stacks_tui.session.protocol import (
    MOST_BYTES,
    AddTarget,
    Command,
    CommandReader,
    DropProgram,
    DropTarget,
    Ended,
    Frame,
    FrameReader,
    KindFailed,
    LogLine,
    Note,
    Opened,
    Phase,
    ProtocolError,
    SetProgram,
    SetRefresh,
    SetView,
    Start,
    Stop,
    TargetsEnded,
    encode,
)
from stacks_tui.session.status import KindOutcome, Outcome, TopStack
from stacks_tui.session.wire import WireError, pack, unpack

HOSTILE = 'a\x00\x1b[31m"\\\n\udcff\u202e[red]メ{}' + "x" * 50


def view() -> View:
    return View(
        tab=Tab.BLOCKED,
        measure=Measure.COUNT,
        panel=Panel.FLAME,
        group=Group.WAKER,
        window=Window(0, 1, 2**62),
        kinds=("wait",),
        stack_part=StackPart.KERNEL,
        filter=HOSTILE,
        zoom=(HOSTILE, "b"),
        minimum_share=0.25,
        a=Side(Window(60), 3, 4, HOSTILE, "/r"),
        b=Side(),
    )


def snapshot(rows: Panels | None) -> Snapshot:
    return Snapshot(
        number=2**60,
        view=view(),
        time=1,
        began=2,
        begin=3,
        end=4,
        live=True,
        rate=0.1,
        received=5,
        processes=6,
        threads=7,
        programs=(ProgramState("rss", Collecting.FAILED, "rss:u", HOSTILE, 1, 2, 3.5),),
        gauges=(Gauge("cpu", 1.5, (1.0, 2.0), False),),
        trust=Trust(1, (Loss("wait", 1, 2, HOSTILE),), 3, None, 0.5, 1.0, 0.1, None, 9),
        rows=rows,
        detail=Detail(HOSTILE, (FrameInfo(HOSTILE, "m", "f", 3, True, True),), 1, None, (1, -2)),
        note=HOSTILE,
    )


ROWS: list[Panels | None] = [
    None,
    Table("ns", (Row(HOSTILE, HOSTILE, (HOSTILE,), own=-(2**62), share=-0.5),), 5, other=1),
    Graph("bytes", (Node(-1, "", "", "", 0, 1), Node(0, "k", HOSTILE, "m", 1, 1)), True),
    Processes((ProcessRow(1, 0, HOSTILE, command_line=HOSTILE, alive=False),), 10.0),
    Histogram("ns", (1, 0, 3), 2, "blocked time"),
    Timeline(1, 2, (Strip("wait", "ns", (1, 2), (3, 4)),), (Gap("rss", 1, 0),)),
]
OUTCOME = Outcome(
    Path("/tmp/\udcff"),
    (KindOutcome(Kind.RSS, 3, top=(TopStack(1, "ns", (HOSTILE, "b")),)),),
    exit_status=None,
    failure=HOSTILE,
)
FRAMES: list[Frame] = [
    *(snapshot(rows) for rows in ROWS),
    Phase(HOSTILE),
    Opened("/r", True, 5, "/dev/null"),
    Note(HOSTILE),
    KindFailed("switch", HOSTILE),
    LogLine(HOSTILE, "error"),
    TargetsEnded(None),
    Ended("/r", OUTCOME, HOSTILE, True, 1),
]
COMMANDS: list[Command] = [
    Start(
        RecordOptions(
            parse_programs("profile:uk:99,switch:uk"),
            Targets(comms=(HOSTILE,), cgroup=Path("/sys/x"), argv=("a", HOSTILE)),
            duration_s=1.5,
        ),
        view(),
    ),
    SetProgram("vfs:u"),
    DropProgram(HOSTILE),
    AddTarget(comm=HOSTILE),
    DropTarget(4),
    SetView(view()),
    SetRefresh(2),
    Stop(),
]


@pytest.mark.parametrize("frame", FRAMES, ids=lambda frame: type(frame).__name__)
def test_frames_come_back_as_they_were(frame: Frame) -> None:
    assert list(FrameReader().feed(encode(frame))) == [frame]


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: type(command).__name__)
def test_commands_come_back_as_they_were(command: Command) -> None:
    assert list(CommandReader().feed(encode(command))) == [command]


def test_messages_may_come_in_any_pieces() -> None:
    data = b"".join(map(encode, FRAMES))
    rng = random.Random(4)
    reader = FrameReader()
    found: list[Frame] = []
    at = 0
    while at < len(data):
        step = rng.choice([1, 2, 3, 50, 4000])
        found += reader.feed(data[at : at + step])
        at += step
    assert found == FRAMES


@pytest.mark.parametrize("message", [*FRAMES, *COMMANDS], ids=lambda one: type(one).__name__)
def test_a_message_of_the_other_way_is_refused(message: Frame | Command) -> None:
    is_frame = any(type(message) is type(frame) for frame in FRAMES)
    with pytest.raises(ProtocolError):
        list((CommandReader() if is_frame else FrameReader()).feed(encode(message)))


def framed(body: bytes) -> bytes:
    return len(body).to_bytes(4, "little") + body


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"null",
        b"[]",
        b"{}",
        b"[1]",
        b'["Nothing"]',
        b'["Stop"]',
        b'["Stop",1]',
        b'["Stop",true,true]',
        b'["SetRefresh",NaN]',
        b'["SetRefresh",1e999]',
        b'["SetRefresh","1"]',
        b'["SetRefresh",' + b"9" * 5000 + b"]",
        b'["DropTarget",1.0]',
        b'["DropTarget",true]',
        b'["DropTarget",null]',
        b'["__class__"]',
        b'["SetProgram",["a"]]',
        b"[" * 100_000,
        b'["SetProgram","\xff"]',
    ],
)
def test_what_is_no_message_is_refused(body: bytes) -> None:
    with pytest.raises(ProtocolError):
        list(CommandReader().feed(framed(body)))


def test_a_length_beyond_the_limit_is_refused_before_it_is_waited_for() -> None:
    with pytest.raises(ProtocolError):
        list(FrameReader().feed((MOST_BYTES + 1).to_bytes(4, "little")))


@given(st.binary(max_size=300))
@settings(max_examples=300, deadline=None)
def test_any_bytes_give_messages_or_are_refused(data: bytes) -> None:
    for reader in (FrameReader(), CommandReader()):
        try:
            found: list[Any] = list(reader.feed(data))
        except ProtocolError:
            continue
        assert not found


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=2), inner),
    max_leaves=8,
)


@given(st.integers(0, 10_000), _JSON)
@settings(max_examples=500, deadline=None)
def test_one_wrong_value_anywhere_is_refused_or_fits(seed: int, value: Any) -> None:
    """Change one place of a message: what comes out has the declared types, or nothing does."""
    rng = random.Random(seed)
    message = rng.choice(FRAMES)
    content = [type(message).__name__, *pack(message)]
    place = content
    while True:
        at = rng.randrange(len(place))
        inner = place[at]
        if not (isinstance(inner, list) and inner and rng.random() < 0.8):
            break
        place = inner
    place[at] = value
    try:
        (found,) = FrameReader().feed(framed(json.dumps(content).encode()))
    except ProtocolError:
        return
    _typed(found)
    assert list(FrameReader().feed(encode(found))) == [found]


def _typed(value: Any) -> None:
    if is_dataclass(value):
        for field in fields(value):
            _typed(getattr(value, field.name))
    elif isinstance(value, tuple):
        for one in value:
            _typed(one)
    else:
        assert value is None or isinstance(value, str | int | float | Path)


@given(
    st.builds(
        Row,
        key=st.text(),
        label=st.text(st.characters()),
        names=st.lists(st.text(st.characters())).map(tuple),
        own=st.integers(-(2**63), 2**63),
        share=st.floats(allow_nan=False, allow_infinity=False),
    )
)
def test_any_row_comes_back(row: Row) -> None:
    assert unpack(Row, json.loads(json.dumps(pack(row)))) == row


def test_types_that_do_not_cross_are_refused_when_first_met() -> None:
    with pytest.raises(TypeError):
        pack({"a": 1})
    with pytest.raises(WireError):
        unpack(Row, ["too", "few"])
    refuse: Callable[[], object] = lambda: unpack(Window, [1.5, 0, 0])  # noqa: E731
    with pytest.raises(WireError):
        refuse()
