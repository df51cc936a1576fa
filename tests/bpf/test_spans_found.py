"""Providers found by themselves, Python's spans, late listeners, and what is left behind."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from recordings import Recorded, Recorder, record, recording, until

from stacks_tui.capture.targets import Targets
from stacks_tui.kinds import parse_program, parse_programs
from stacks_tui.session.options import RecordOptions
from stacks_tui.session.recorder import Session
from stacks_tui.store.reader import open_recording

sys.path.append(str(Path(__file__).resolve().parent.parent / "spans"))

from span_programs import SOURCES, built, environ, extension, has
from span_truth import close_enough, compare

pytestmark = pytest.mark.bpf

ROOM = ("--ring-bytes", "64M")


def counts(recorded: Recorded) -> dict[str, int]:
    return dict(recorded.manifest.status.totals.spans)


def python_spans(tmp_path: Path, scenario: str, *more: Any, letters: str = "") -> Recorded:
    """A recording of a Python program that marks spans, from its beginning."""
    program = [sys.executable, str(SOURCES / "py_spans.py"), scenario, *map(str, more)]
    return record(
        tmp_path / "r",
        f"vfs,usdt:{extension()}:{letters}",
        [*program, "--truth", "TRUTH"],
        *ROOM,
        environ={"PYTHONPATH": environ()["PYTHONPATH"]},
    )


class Late:
    """A program that waits, in spans, until somebody listens."""

    def __init__(self, tmp_path: Path, path: Path | None = None) -> None:
        self.path = path or built("c_spans")
        self.truth = tmp_path / "r.truth.json"
        self.process = subprocess.Popen([self.path, "late", "--truth", self.truth])

    def finish(self, recorder: Recorder) -> Recorded:
        """Its end, and that of the recording."""
        assert self.process.wait(60) == 0
        recorded = recorder.stop()
        truth = json.loads(self.truth.read_text())
        return Recorded(
            recorded.directory, recorded.exit_code, recorded.stdout, recorded.stderr, truth
        )


def check_late(recorded: Recorded) -> None:
    """Of the two spans that were open before, one is entered anew; nothing bears a wrong one."""
    returns, stays = recorded.truth["spans"]
    (row,) = recorded.rows(
        "select * from events where kind = 'trace_close' and tgid = $tgid", tgid=returns["tgid"]
    )
    assert (row["span_id"], row["trace_name"]) == (returns["span_id"], "returns")
    assert row["since_seen"]
    assert row["enters"] == 1
    assert row["duration"] < returns["total_ns"]
    written = recorded.rows(
        "select span_id, sum(amount)::bigint as bytes from events "
        "where kind = 'vfs_write' and span_id is not null and tgid = $tgid group by all",
        tgid=returns["tgid"],
    )
    assert written == [{"span_id": returns["span_id"], "bytes": 800}]
    if recorded.manifest.header.targets != ("--all",):  # other programs may mark spans, too
        assert counts(recorded) == {"unmatched_exit": 1, "unknown_close": 1}
    assert stays["enters"] == 1


@pytest.mark.parametrize(
    "targets",
    [lambda late: ["--pid", str(late.process.pid)], lambda _: ["c_spans"], lambda _: ["--all"]],
    ids=["pid", "comm", "all"],
)
def test_who_comes_late_is_told_so(tmp_path: Path, targets: Callable[[Late], list[str]]) -> None:
    late = Late(tmp_path)
    with recording(tmp_path / "r", "vfs,usdt", *targets(late)) as recorder:
        check_late(late.finish(recorder))


def test_a_program_that_is_launched_is_found(tmp_path: Path) -> None:
    truth = tmp_path / "r.truth.json"
    program = shutil.copy(built("c_spans"), tmp_path / "launched")
    command = [program, "late", "--truth", truth]
    recorded = record(tmp_path / "r", "vfs,usdt", command, *ROOM)
    found = Recorded(*_parts(recorded), json.loads(truth.read_text()))
    if counts(found):
        check_late(found)
    else:  # it was attached to before the first span
        compare(found)


def test_a_file_that_was_found_before_is_heard_from_the_first_span_on(tmp_path: Path) -> None:
    program = Path(shutil.copy(built("c_spans"), tmp_path / "launched"))
    spans: list[str | Path] = [program, "bytes", "--truth", "TRUTH"]
    record(tmp_path / "first", "vfs,usdt", [program, "late", "--truth", tmp_path / "t"], *ROOM)
    again = record(tmp_path / "again", "vfs,usdt", spans, *ROOM)
    compare(again)
    assert counts(again) == {}
    program.unlink()
    shutil.copy("/bin/true", program)
    record(tmp_path / "other", "usdt", [program])


def _parts(recorded: Recorded) -> tuple[Path, int, str, str]:
    return recorded.directory, recorded.exit_code, recorded.stdout, recorded.stderr


def test_by_number_others_pay_nothing(tmp_path: Path) -> None:
    late = Late(tmp_path)
    (tmp_path / "other").mkdir()
    other = Late(tmp_path / "other")
    try:
        with recording(tmp_path / "r", "vfs,usdt", "--pid", str(late.process.pid)) as recorder:
            recorded = late.finish(recorder)
        check_late(recorded)
        assert other.process.poll() is None  # nobody has listened to it
    finally:
        other.process.kill()
        other.process.wait()


def test_in_another_mount_namespace_the_file_is_another(tmp_path: Path) -> None:
    if not shutil.which("unshare"):
        pytest.skip("util-linux's unshare is not installed")
    inside = tmp_path / "inside"
    inside.mkdir()
    shutil.copy(built("c_spans"), tmp_path / "template")
    truth = tmp_path / "r.truth.json"
    # a tmpfs that only the program sees, and the program in it
    script = (
        f"mount -t tmpfs none {inside} && cp {tmp_path}/template {inside}/spans-inside && "
        f"exec {inside}/spans-inside late --truth {truth}"
    )
    process = subprocess.Popen(
        ["unshare", "--mount", "--propagation", "private", "sh", "-c", script]
    )
    until(lambda: Path(f"/proc/{process.pid}/comm").read_text() == "spans-inside\n")
    late = Late.__new__(Late)
    late.process, late.truth = process, truth
    with recording(tmp_path / "r", "vfs,usdt", "spans-inside") as recorder:
        check_late(late.finish(recorder))


def semaphores(process: subprocess.Popen[Any], path: Path) -> list[int]:
    """The counters in the memory of a process, by the symbols of its file."""
    symbols = subprocess.run(["nm", path], capture_output=True, text=True, check=True).stdout
    found = re.findall(
        r"^([0-9a-f]+) \w (?:tracing_stacks|stacks_tracing)_\w+_semaphore$", symbols, re.M
    )
    line = Path(f"/proc/{process.pid}/maps").read_text().splitlines()[0]
    base = int(line.split("-")[0], 16)
    assert len(found) == 5
    with open(f"/proc/{process.pid}/mem", "rb") as memory:
        values = []
        for address in found:
            memory.seek(base + int(address, 16))
            values.append(int.from_bytes(memory.read(2), "little"))
    return values


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT])
def test_no_semaphore_is_left_up(tmp_path: Path, how: signal.Signals) -> None:
    program = built("c_spans")
    process = subprocess.Popen([program, "late", "--truth", tmp_path / "truth"])
    until(lambda: Path(f"/proc/{process.pid}/comm").read_text() == "c_spans\n")
    os.kill(process.pid, signal.SIGSTOP)
    try:
        recorder = Recorder(tmp_path / "r", f"usdt:{program}:u", "c_spans")
        recorder.until_recording()
        assert semaphores(process, program) == [1] * 5
        recorder.process.send_signal(how)
        began = time.monotonic()
        recorder.process.wait(60)
        took = time.monotonic() - began
        recorder.finish(-how if how == signal.SIGKILL else 0)
        until(lambda: semaphores(process, program) == [0] * 5)
        assert took < 30  # it ends
    finally:
        process.kill()
        process.wait()


SCENARIOS = [
    "nested",
    "tasks",
    "cancelled",
    "threads",
    "plain_threads",
    "decorated",
    "prefork",
    "processes",
]
UVLOOP = pytest.param(
    ("--loop", "uvloop"),
    id="uvloop",
    marks=pytest.mark.skipif(
        not has(Path(sys.executable), "uvloop"), reason="uvloop is not installed"
    ),
)


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_spans_of_python(tmp_path: Path, scenario: str) -> None:
    check_python(python_spans(tmp_path, scenario), scenario)


@pytest.mark.parametrize("scenario", ["tasks", "cancelled", "threads", "decorated"])
@pytest.mark.parametrize("loop", [UVLOOP])
def test_spans_under_another_loop(tmp_path: Path, scenario: str, loop: tuple[str, ...]) -> None:
    check_python(python_spans(tmp_path, scenario, *loop), scenario)


def check_python(recorded: Recorded, scenario: str) -> None:
    """Spans, enters, bytes and times are those of the program."""
    recorded.assert_nothing_lost()
    closes = recorded.rows("select * from events where kind = 'trace_close'")
    closed = {(row["tgid"], row["span_id"]): row for row in closes}
    assert len(closed) == len(closes)
    written = {
        (row["tgid"], row["span_id"]): row["bytes"]
        for row in recorded.rows(
            "select tgid, span_id, sum(amount)::bigint as bytes from events "
            "where kind = 'vfs_write' and span_id is not null group by all"
        )
    }
    near = []
    for span in recorded.truth["spans"]:
        key = span["tgid"], span["span_id"]
        row = closed[key]
        assert (row["trace_name"], row["id"] or 0) == (span["name"], span["id"])
        if scenario != "processes" or span["name"] == "in a process":  # whose pool writes, too
            assert written.get(key, 0) == span["written_bytes"], span
        # one clock: the probes lie between the program's readings before and after them
        assert span["least_ns"] <= row["duration"] <= span["total_ns"], (span, row)
        if scenario != "decorated":  # whose truth knows nothing of the steps of a task
            assert row["enters"] == span["enters"], (span, row)
            near.append(close_enough(row["busy"], span["busy_ns"], span["enters"]))
    # a step's readings lie apart from its probes: other programs may run in between
    assert near.count(True) >= 0.9 * len(near), near
    names = Counter(row["trace_name"] for row in closes)
    of_tasks = Counter(task["name"] for task in recorded.truth.get("tasks", ()))
    assert {name: names[name] for name in of_tasks} == of_tasks
    told = Counter(span["name"] for span in recorded.truth["spans"])
    told.update(recorded.truth.get("decorated", {}))
    assert {name: names[name] for name in told} == told


@pytest.mark.parametrize("loop", [pytest.param((), id="asyncio"), UVLOOP])
def test_a_task_shows_where_it_waits(tmp_path: Path, loop: tuple[str, ...]) -> None:
    recorded = python_spans(tmp_path, "stuck", *loop, letters="u")
    rows = recorded.rows(
        "select frames from events e join stacks s on s.id = e.ustack "
        "where kind = 'trace_exit' and frames[1].module = '[await]' and complete"
    )
    chains = [
        [[frame["name"], frame["file"], frame["line"]] for frame in row["frames"]] for row in rows
    ]
    expected = [list(one) for one in recorded.truth["awaits"]]
    assert expected in chains, (expected, chains)


def test_without_the_letter_nobody_asks_for_awaits(tmp_path: Path) -> None:
    recorded = python_spans(tmp_path, "tasks")
    assert recorded.value("select count(*) from stacks") == 0


def test_a_file_without_probes_is_told(tmp_path: Path) -> None:
    with pytest.raises(AssertionError, match="has no probes of stacks_tracing"):
        record(tmp_path / "r", "usdt:/bin/true", ["true"])
    with pytest.raises(AssertionError, match="can't open"):
        record(tmp_path / "s", "usdt:/no/such/file", ["true"])


def test_switched_off_and_on_again(tmp_path: Path) -> None:
    options = RecordOptions(parse_programs("vfs"), Targets(comms=("c_spans",)), tmp_path / "r")
    session = Session(options, lambda status: None)
    try:
        for letters in ("usdt:u", "usdt"):
            late = Late(tmp_path)
            session.attach(parse_program(letters))
            assert late.process.wait(60) == 0
            session.detach("usdt")
            session._probes.settle()  # else the next program sees semaphores that go down
        outcome = session.finish()
    finally:
        session.close()
    assert outcome.failure is None
    with open_recording(tmp_path / "r") as opened:
        rows = opened.table(
            "select since_seen, open from events where kind = 'trace_close' "
            "and trace_name = 'returns'"
        ).to_pylist()
        assert opened.manifest is not None
        assert opened.manifest.status.kinds["trace_close"].gaps
    assert rows == [{"since_seen": True, "open": False}] * 2
