"""The recording's voice on stderr: what each kind of reader sees, and that none can stop it."""

from __future__ import annotations

import io
import json
import os
import pty
import tty
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from stacks_tui import text
from stacks_tui.cli.progress import (
    JsonReporter,
    PlainReporter,
    TerminalReporter,
    reporter,
    status_line,
)
from stacks_tui.kinds import Kind
from stacks_tui.session.status import KindCount, Status

BUSY = Status(
    "recording",
    elapsed_s=12.34,
    rate=45_600.0,
    kinds=(KindCount(Kind.PROFILE, 1_188), KindCount(Kind.SWITCH, 45_123, 7)),
    ring_share=0.8,
    bytes_on_disk=3 << 20,
)


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def test_the_line_names_all() -> None:
    assert status_line(BUSY, 200, colour=False) == (
        "12.3 s  45.6k/s  lost 7  3.00 MiB  ring 80.0 % full  profile 1,188  switch 45,123"
    )
    assert status_line(Status("compiling"), 80, colour=False) == "compiling…"


def test_what_was_lost_is_red_and_never_cut_off() -> None:
    assert "\x1b[31m\x1b[1mlost 7\x1b[0m" in status_line(BUSY, 80, colour=True)
    assert "\x1b" not in status_line(Status("recording", 1.0), 80, colour=True)
    assert "lost 7" in status_line(BUSY, 25, colour=False)


@given(st.integers(1, 120), st.text())
def test_the_line_fits(cells: int, phase: str) -> None:
    for status in (BUSY, Status(phase), Status(phase, 1.0)):
        line = status_line(status, cells, colour=False)
        assert text.cell_width(line) <= cells
        assert text.printable(line) == line


def test_plain_lines_come_every_ten_seconds() -> None:
    clock, stream = Clock(), io.StringIO()
    report = PlainReporter(stream, clock)
    for second in range(31):
        clock.now = float(second)
        report(Status("recording", elapsed_s=float(second)))
    assert len(stream.getvalue().splitlines()) == 3


def test_the_first_loss_is_told_at_once() -> None:
    stream = io.StringIO()
    report = PlainReporter(stream, Clock())
    report(Status("recording", 1.0, notes=("a\x1b[2Jb",)))
    report(BUSY)
    report(BUSY)
    note, line = stream.getvalue().splitlines()
    assert note == "note: a\\x1b[2Jb"
    assert "lost 7" in line


def test_json_is_one_object_a_line() -> None:
    stream = io.StringIO()
    report = JsonReporter(stream)
    report(BUSY)
    report(Status("waiting for \udcff", notes=("\x1b\n\ud800",)))
    first, second = (json.loads(line) for line in stream.getvalue().splitlines())
    assert first["lost"] == 7
    assert first["received"] == 46_311
    assert first["kinds"]["switch"] == {"received": 45_123, "lost": 7, "truncated": 0}
    assert second["phase"] == "waiting for \\xff"
    json.dumps(second, ensure_ascii=False).encode("utf-8")


@pytest.mark.parametrize("kind", [TerminalReporter, PlainReporter, JsonReporter])
def test_a_reader_that_went_away_stops_nothing(kind: type[PlainReporter]) -> None:
    read_fd, write_fd = os.pipe()
    os.close(read_fd)
    stream = os.fdopen(write_fd, "w", buffering=1)
    report = kind(stream)
    for _ in range(3):
        report(BUSY)
    report.close()
    stream.close()  # what is still buffered must not raise either


@pytest.fixture
def terminal() -> Iterator[tuple[int, io.TextIOWrapper]]:
    master, slave = pty.openpty()
    with os.fdopen(slave, "w") as stream:
        yield master, stream
    os.close(master)


def drain(master: int) -> str:
    os.set_blocking(master, False)
    shown = b""
    while True:
        try:
            shown += os.read(master, 4096)
        except BlockingIOError:
            return shown.decode()


def test_a_terminal_has_one_line_rewritten(terminal: tuple[int, io.TextIOWrapper]) -> None:
    master, stream = terminal
    report = reporter(stream, as_json=False)
    assert isinstance(report, TerminalReporter)
    report = TerminalReporter(stream, lambda: 60)
    report(Status("recording", 1.0))
    report(Status("recording", 2.0, notes=("look",)))
    report.close()
    shown = drain(master)
    assert shown.count("\r\x1b[K") == 2
    assert shown.endswith("\r\x1b[K")
    assert "\r\x1b[Knote: look\r\n2.00 s" in shown


def test_a_program_with_the_terminal_in_raw_mode_is_left_alone(
    terminal: tuple[int, io.TextIOWrapper],
) -> None:
    master, stream = terminal
    report = TerminalReporter(stream, lambda: 60)
    tty.setraw(stream.fileno())
    report(Status("recording", 1.0, notes=("kept for later",)))
    report.close()
    assert drain(master) == "note: kept for later\n"
