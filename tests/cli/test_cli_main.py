"""From arguments to exit codes, with the recorder and the machine's checks replaced."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType

import pytest

from stacks_tui.cli.main import main
from stacks_tui.doctor import checks
from stacks_tui.errors import StacksError
from stacks_tui.kinds import Kind, ProgramSpec
from stacks_tui.session.options import RecordOptions
from stacks_tui.session.status import KindCount, KindOutcome, Outcome, Status
from stacks_tui.store.writer import StoreOptions


@dataclass
class Recorder:
    """Stands for the real one: keeps what it was asked, does what a test says."""

    outcome: Outcome = field(default_factory=lambda: Outcome(Path("/data/one")))
    error: BaseException | None = None
    asked: list[RecordOptions] = field(default_factory=list)

    def record(self, options: RecordOptions, report: Callable[[Status], None]) -> Outcome:
        self.asked.append(options)
        report(Status("recording", 1.0, 10.0, (KindCount(Kind.PROFILE, 10, 0),)))
        if self.error is not None:
            raise self.error
        return self.outcome


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Recorder]:
    fake = Recorder()
    module = ModuleType("stacks_tui.session.recorder")
    module.record = fake.record  # type: ignore[attr-defined]
    monkeypatch.setitem(sys.modules, "stacks_tui.session.recorder", module)
    monkeypatch.setattr("stacks_tui.session.recorder", module, raising=False)
    monkeypatch.setattr(checks, "to_record", lambda: iter(()))
    yield fake


@pytest.mark.parametrize(
    ("argv", "says"),
    [
        (["nginx"], "add --record"),
        ([], "add --record"),
        (["--record"], "nothing to record; name a command"),
        (["--record", "--"], "no program after --"),
        (["--recrod", "x"], "no option --recrod; did you mean --record?"),
        (["--xyzzy"], "no option --xyzzy; see stacks-tui --help."),
        (["--record", "-p", "profil", "x"], "did you mean 'profile'?"),
        (["--record", "-p", "profile:x", "x"], "bad stack letters 'x'"),
        (["--record", "-p", "rss,rss", "x"], "named twice"),
        (["--record", "--duration", "1x", "x"], "--duration: '1x' is not a time"),
        (["--record", "--rows", "0", "x"], "--rows: '0' is not a whole number"),
        (["--record", "--compression", "zip", "x"], "unknown compression 'zip'"),
        (["--record", "--all", "x"], "leave out COMMAND"),
        (["--record", "--all", "--pid", "1"], "leave out --pid"),
        (["--record", "--pid", "0"], "--pid: '0' is not a process id"),
        (["--record", "--pid", "999999999"], "no process 999999999"),
        (["--record", "--cgroup", "/nowhere"], "no cgroup '/nowhere'"),
        (["--record", ""], "COMMAND: '' can't be the name"),
        (["--open", "--record"], "--record and --open exclude each other"),
        (["--open", "--rows", "5"], "--rows has no meaning with --open"),
        (["--version", "--", "x"], "-- has no meaning with --version"),
        (["--open", "/nowhere"], "can't open '/nowhere'"),
        (["--doctor", "me"], "'me' is not a process id"),
        (["--doctor", "999999999"], "no process 999999999"),
        (["--dir"], "'--dir' requires an argument"),
    ],
)
def test_bad_usage_is_one_line_and_exit_2(
    argv: list[str], says: str, recorder: Recorder, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(argv) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert err.startswith("stacks-tui: ")
    assert err.count("\n") == 1
    assert says in err
    assert not recorder.asked


def test_what_is_asked_reaches_the_recorder(recorder: Recorder) -> None:
    argv = (
        "--record nginx --pid 1 --follow -p profile:uk:999,net --duration 2m --ring-bytes 64K "
        "--max-frames 20 --no-unwind -d out --rows 5 --rows-per-file 6 --seconds-per-file 7 "
        "--compression zstd:9 --json --debug nginx -- prog --record -- x"
    )
    assert main(argv.split()) == 0
    (asked,) = recorder.asked
    assert asked.targets.comms == ("nginx",)
    assert asked.targets.pids == (1,)
    assert asked.targets.argv == ("prog", "--record", "--", "x")
    assert asked.targets.follow
    assert not asked.targets.everything
    assert asked.programs == (
        ProgramSpec("profile", True, True, 999),
        ProgramSpec("net"),
    )
    assert asked.duration_s == 120
    assert asked.ring_bytes == 65536
    assert asked.max_frames == 20
    assert not asked.unwind
    assert asked.directory == Path("out")
    assert (asked.rows, asked.rows_per_file, asked.seconds_per_file) == (5, 6, 7.0)
    assert asked.compression == "zstd:9"
    assert asked.json
    assert asked.debug


def test_defaults_are_those_of_the_options(recorder: Recorder) -> None:
    assert main(["--record", "--", "true"]) == 0
    (asked,) = recorder.asked
    plain = RecordOptions(asked.programs, asked.targets)
    assert asked == plain
    store = StoreOptions()
    assert asked.rows == store.row_group_rows
    assert asked.rows_per_file == store.rows_per_file
    assert asked.seconds_per_file == store.seconds_per_file
    assert asked.compression == store.compression
    assert [str(spec) for spec in asked.programs] == ["profile:u:99", "rss:u:29", "switch:uk:0"]


@pytest.mark.parametrize(("status", "code"), [(None, 0), (0, 0), (7, 7), (137, 137)])
def test_exit_status_of_the_program_is_passed_on(
    recorder: Recorder, status: int | None, code: int
) -> None:
    recorder.outcome = Outcome(Path("/data/one"), exit_status=status)
    assert main(["--record", "--", "true"]) == code


def test_a_recording_that_ended_early_is_summed_up_and_fails(
    recorder: Recorder, capsys: pytest.CaptureFixture[str]
) -> None:
    recorder.outcome = Outcome(Path("/data/one"), exit_status=7, failure="no space is left")
    assert main(["--record", "--", "true"]) == 1
    out, err = capsys.readouterr()
    assert "/data/one" in out
    assert err.endswith("stacks-tui: no space is left\n")


def test_a_machine_that_cannot_is_one_line_with_the_fix(
    recorder: Recorder, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    bad = checks.Check("kernel types", False, "no BTF", "boot another kernel.")
    monkeypatch.setattr(checks, "to_record", lambda: iter((bad,)))
    assert main(["--record", "--all"]) == 3
    assert capsys.readouterr().err == "stacks-tui: no BTF; boot another kernel.\n"
    assert not recorder.asked


def test_a_long_name_is_told_to_be_cut(
    recorder: Recorder, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--record", "gunicorn-worker-main"]) == 0
    assert "note: 'gunicorn-worker-main' is matched as 'gunicorn-worker'" in capsys.readouterr().err


def test_an_unexpected_error_is_one_line_without_debug(
    recorder: Recorder, capsys: pytest.CaptureFixture[str]
) -> None:
    recorder.error = ZeroDivisionError("\x1b[2Jby\nzero")
    assert main(["--record", "--all"]) == 1
    assert capsys.readouterr().err == (
        "stacks-tui: internal error: ZeroDivisionError: \\x1b[2Jby\\nzero; "
        "run again with --debug for the traceback.\n"
    )
    assert main(["--record", "--all", "--debug"]) == 1
    assert "Traceback (most recent call last)" in capsys.readouterr().err


def test_a_second_interrupt_says_what_becomes_of_the_recording(
    recorder: Recorder, capsys: pytest.CaptureFixture[str]
) -> None:
    recorder.error = KeyboardInterrupt()
    assert main(["--record", "--all"]) == 1
    assert "recovered when it is opened" in capsys.readouterr().err


def test_hostile_words_on_the_command_line_are_escaped(
    recorder: Recorder, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--record", "-p", "\x1b]8;;x\x07\n", "a"]) == 2
    assert main(["--\x1b[2J"]) == 2
    assert main(["--record", "\x1b[31m\udcff\n"]) == 0
    err = capsys.readouterr().err
    assert "\x1b" not in err
    assert "\x07" not in err
    err.encode("utf-8")


def test_json_speaks_json_on_both_streams(
    recorder: Recorder, capsys: pytest.CaptureFixture[str]
) -> None:
    recorder.outcome = Outcome(Path("/data/one"), (KindOutcome(Kind.PROFILE, 10),), 1.0, 99)
    assert main(["--record", "--all", "--json"]) == 0
    out, err = capsys.readouterr()
    summary = json.loads(out)
    assert summary["kinds"]["profile"]["events"] == 10
    states = [json.loads(line) for line in err.splitlines()]
    assert [state["phase"] for state in states] == ["starting", "recording"]
    assert states[1]["received"] == 10
    recorder.error = StacksError("it broke")
    assert main(["--record", "--all", "--json"]) == 1
    last = json.loads(capsys.readouterr().err.splitlines()[-1])
    assert last == {"error": "it broke", "exit_code": 1}


def test_help_and_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--help"]) == 0
    page = capsys.readouterr().out
    assert "stacks-tui --record --duration 10 -- python3 job.py" in page
    assert max(map(len, page.splitlines())) <= 80
    assert main(["--version"]) == 0
    assert capsys.readouterr().out.startswith("stacks-tui 0.")


def test_doctor_exits_3_when_something_needed_is_amiss(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    good = checks.Check("a", True, "fine")
    less = checks.Check("b", False, "less", "mend it.", needed=False)
    bad = checks.Check("c", False, "gone\x1b[2J", "bring it back.")
    monkeypatch.setattr(checks, "machine", lambda: iter((good, less)))
    assert main(["--doctor"]) == 0
    monkeypatch.setattr(checks, "machine", lambda: iter((good, less, bad)))
    assert main(["--doctor"]) == 3
    out = capsys.readouterr().out
    assert "NO    c  gone\\x1b[2J\n         fix: bring it back.\n" in out
    assert main(["--doctor", "--json"]) == 3
    found = json.loads(capsys.readouterr().out)
    assert found["ok"] is False
    assert [check["name"] for check in found["checks"]] == ["a", "b", "c"]
