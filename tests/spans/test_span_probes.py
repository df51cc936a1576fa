"""What the probes fire, as a reader that is not ours hears it, against the program's own truth."""

from __future__ import annotations

import functools
import json
import signal
import subprocess
import time
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any

import listener
import pytest
from listener import Fired
from span_programs import SOURCES, built, environ, extension, folder, has, pythons

pytestmark = [
    pytest.mark.bpf,
    pytest.mark.skipif(listener.missing() is not None, reason=str(listener.missing())),
]

PROGRAM = SOURCES / "py_spans.py"
PROPER = ["nested", "tasks", "cancelled", "threads", "plain_threads", "prefork", "processes"]
PROPER += ["decorated", "deadlock 0.2", "stuck 0.2", "migrate 300", "eager", "names"]
UVLOOP = ["tasks --loop uvloop", "cancelled --loop uvloop", "deadlock 0.2 --loop uvloop"]
Heard = tuple[dict[str, Any], list[Fired]]


@functools.cache
def heard_of(python: Path) -> dict[str, Heard]:
    """Each scenario's truth, and what was heard of its processes."""
    with listener.listening(extension()) as heard:
        truths = {one: run([python, PROGRAM, *one.split()]) for one in scenarios(python)}
    return {one: (truth, of_processes(truth, heard.fired)) for one, truth in truths.items()}


def scenarios(python: Path) -> list[str]:
    without = [] if version(python) >= "3.12" else ["eager"]
    return [one for one in PROPER if one not in without] + UVLOOP * has(python, "uvloop")


def version(python: Path) -> str:
    asked = [str(python), "-c", "import sys; print('%d.%d' % sys.version_info[:2])"]
    told = subprocess.run(asked, capture_output=True, check=True, text=True)
    return told.stdout.strip()


def run(command: list[Any]) -> dict[str, Any]:
    truth = folder() / "truth.json"
    subprocess.run([*command, "--truth", truth], check=True, env=environ(), timeout=100)
    told: dict[str, Any] = json.loads(truth.read_text())
    return told


def of_processes(truth: dict[str, Any], fired: list[Fired]) -> list[Fired]:
    processes = {truth["tgid"], *(span["tgid"] for span in truth["spans"])}
    return [one for one in fired if one.tgid in processes]


def assert_as_told(truth: dict[str, Any], fired: list[Fired]) -> None:
    """Every span of the truth, and what each probe says of it."""
    by_span = defaultdict(list)
    for one in fired:
        by_span[one.tgid, one.span_id].append(one)
    assert truth["spans"] or "tasks" in truth or "cycle" in truth or "awaits" in truth
    for span in truth["spans"]:
        mine = by_span[span["tgid"], span["span_id"]]
        count = Counter(one.what for one in mine)
        assert count["enter"] == span["enters"], span
        assert count["exit"] + count["exit_stack"] == span["enters"], span
        assert not (count["exit"] and count["exit_stack"])
        assert count["close"] == span["closed"] == (mine[-1].what == "close")
        enters = [one for one in mine if one.what == "enter"]
        assert [one.again for one in enters] == [False] + [True] * (len(enters) - 1)
        name = span["name"].encode("utf-8", "replace")
        for one in enters:
            expected = (span["parent_id"], span["id"], span["amount"], len(name))
            assert (one.parent_id, one.id, one.amount, one.length) == expected
            if name.isascii() and b"\0" not in name:
                assert one.text == name[:199].decode()


def assert_well_nested(fired: list[Fired]) -> None:
    """On each thread an exit is that of the innermost span, as the kernel's side wants it."""
    stacks: dict[tuple[int, int], list[int]] = defaultdict(list)
    for one in fired:
        stack = stacks[one.tgid, one.tid]
        if one.what == "enter":
            assert one.span_id not in stack
            stack.append(one.span_id)
        elif one.what in ("exit", "exit_stack"):
            assert stack.pop() == one.span_id, one


CASES = [(python, one) for python in pythons() for one in scenarios(python)]


@pytest.mark.parametrize(
    ("python", "scenario"), CASES, ids=[f"{path.resolve().name}-{one}" for path, one in CASES]
)
def test_python(python: Path, scenario: str) -> None:
    truth, fired = heard_of(python)[scenario]
    assert_as_told(truth, fired)
    assert_well_nested(fired)
    enters = Counter((one.tgid, one.span_id) for one in fired if one.what == "enter")
    exits = Counter(
        (one.tgid, one.span_id) for one in fired if one.what in ("exit", "exit_stack", "close")
    )
    unknown = set(exits) - set(enters)
    assert not unknown  # nothing ends that was not begun in that process


@pytest.mark.parametrize("python", pythons(), ids=lambda path: path.resolve().name)
def test_a_deadlock_can_be_read_from_the_spans(python: Path) -> None:
    truth, fired = heard_of(python)["deadlock 0.2"]
    closed = {one.span_id for one in fired if one.what == "close"}
    first = {one.span_id: one for one in reversed(fired) if one.what == "enter"}
    left = [one for span_id, one in first.items() if span_id not in closed]
    holds = {one.parent_id: one.id for one in left if one.text == "lock.hold"}
    waits = {one.parent_id: one.id for one in left if one.text == "lock.wait"}
    assert holds == {task["span_id"]: task["holds"] for task in truth["cycle"]}
    assert waits == {task["span_id"]: task["waits"] for task in truth["cycle"]}
    others = [one for one in first.values() if one.id == truth["locks"]["c"]]
    assert {one.text for one in others} == {"lock.hold", "lock.wait"}


@pytest.mark.parametrize("python", pythons(), ids=lambda path: path.resolve().name)
def test_awaits_are_told_before_the_exit(python: Path) -> None:
    truth, fired = heard_of(python)["stuck 0.2"]
    at = max(
        n
        for n, one in enumerate(fired)
        if one.what == "awaits" and "outermost" not in one.text[:30] and "innermost" in one.text
    )
    told, after = fired[at], fired[at + 1]
    assert (after.what, after.span_id) == ("exit", told.span_id)
    lines = ["\t".join(map(str, line)) for line in truth["awaits"]]
    assert ("\n".join(lines) + "\n").startswith(told.text)
    assert told.length == len("\n".join(lines)) + 1


@pytest.mark.parametrize(
    "scenario",
    [
        "bytes",
        "nested",
        "migrate 500",
        "ping_pong 50",
        "prefork",
        "names",
        "thread_dies",
        "never_closed",
    ],
)
def test_c(scenario: str) -> None:
    truth, fired = heard_of_c()[scenario]
    spans = truth["spans"]
    if scenario in ("thread_dies", "never_closed"):
        told = Counter(one.span_id for one in fired if one.what == "enter")
        assert told == {span["span_id"]: span["enters"] for span in spans}
        assert not [one for one in fired if one.what == "close"]
        return
    for span in spans:  # a character a byte
        span["name"] = span["name"].encode("latin-1").decode("utf-8", "replace")
    if scenario != "names":
        assert_as_told(truth, fired)
    assert_well_nested(fired)
    assert Counter(one.span_id for one in fired if one.what == "close") == Counter(
        span["span_id"] for span in spans
    )


@functools.cache
def heard_of_c() -> dict[str, Heard]:
    names = ["bytes", "nested", "migrate 500", "ping_pong 50", "prefork", "names", "thread_dies"]
    names += ["never_closed"]
    with listener.listening(built("c_spans"), listener.PROBES[:4]) as heard:
        truths = {one: run([built("c_spans"), *one.split()]) for one in names}
    return {one: (truth, of_processes(truth, heard.fired)) for one, truth in truths.items()}


@pytest.mark.parametrize("language", ["c", "python"])
def test_who_comes_late_is_told_so(language: str) -> None:
    file = built("c_spans") if language == "c" else extension()
    command = [built("c_spans")] if language == "c" else [pythons()[0], PROGRAM]
    truth = folder() / "late.json"
    program = subprocess.Popen([*command, "late", "--truth", truth], env=environ())
    time.sleep(0.3)  # its spans are open by then
    with listener.listening(file, listener.PROBES[:4]) as heard:
        assert program.wait(timeout=60) == 0
    stays, returns = sorted(json.loads(truth.read_text())["spans"], key=lambda span: span["name"])[
        ::-1
    ]
    (enter,) = [one for one in heard.fired if one.what == "enter"]
    assert (enter.span_id, enter.again) == (returns["span_id"], True)
    assert Counter(one.span_id for one in heard.fired if one.what == "close") == {
        stays["span_id"]: 1,
        returns["span_id"]: 1,
    }


def test_semaphores_count_listeners_even_those_that_are_killed() -> None:
    code = (
        "import sys; from tracing_stacks._core import semaphores\n"
        "for line in sys.stdin: print(*semaphores(), flush=True)"
    )
    command = [str(pythons()[0]), "-c", code]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, env=environ(), stdin=pipe, stdout=pipe, text=True) as program:

        def semaphores() -> list[int]:
            assert program.stdin is not None
            assert program.stdout is not None
            program.stdin.write("?\n")
            program.stdin.flush()
            return [int(word) for word in program.stdout.readline().split()]

        assert semaphores() == [0] * 5
        with listener.listening(extension()):
            assert semaphores() == [1] * 5
            with listener.listening(extension(), ("enter", "close")):
                assert semaphores() == [1] * 5  # the kernel counts once for all that listen
            assert semaphores() == [1] * 5
        assert semaphores() == [0] * 5
        with listener.listening(extension()) as heard:
            heard.process.send_signal(signal.SIGKILL)
            heard.process.wait(timeout=60)
        until = time.monotonic() + 20
        while semaphores() != [0] * 5 and time.monotonic() < until:
            time.sleep(0.05)
        assert semaphores() == [0] * 5
