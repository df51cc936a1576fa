"""The ledger of real programs: a deadlock of two tasks is named, a server's pages told apart."""

from __future__ import annotations

import importlib.util
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
from recordings import Recorded, record
from test_screen import START, Terminal

ROOT = Path(__file__).resolve().parents[2]
sys.path += [str(ROOT / "tests" / "spans"), str(ROOT / "tests" / "ui")]

from pilots import WIDE, on_screen, text_of, until  # noqa: E402
from span_programs import SOURCES, extension, installed  # noqa: E402
from textual.pilot import Pilot  # noqa: E402

from stacks_tui.config import Config  # noqa: E402
from stacks_tui.export.questions import TABLES, ask, find_question, recorded, rows_of  # noqa: E402
from stacks_tui.export.selection import Selection  # noqa: E402
from stacks_tui.export.task import Task  # noqa: E402
from stacks_tui.session.playback import RecordingSource  # noqa: E402
from stacks_tui.session.protocol import Start  # noqa: E402
from stacks_tui.session.source import Source  # noqa: E402
from stacks_tui.tui.app import StacksApp  # noqa: E402
from stacks_tui.tui.wanted import Left, Wanted  # noqa: E402

pytestmark = pytest.mark.bpf

INSTRUMENT = Path(sys.executable).parent / "opentelemetry-instrument"
TELEMETRY = {
    "OTEL_PYTHON_CONTEXT": "tracing_stacks",
    "OTEL_TRACES_EXPORTER": "none",
    "OTEL_METRICS_EXPORTER": "none",
    "OTEL_LOGS_EXPORTER": "none",
}


def rows(found: Recorded, name: str) -> list[dict[str, Any]]:
    """What a query for tables says of it."""
    question = find_question(name, TABLES)
    with found.open() as opened:
        span = recorded(opened)
        relation = ask(opened, question, Selection(), span, span.begin, Task())
        return list(rows_of(relation, question).to_pylist())


def ledger_of(found: Recorded) -> str:
    """What the screen shows of it."""
    shown: list[str] = []

    def none(start: Start) -> Source:
        raise AssertionError("nothing is to be collected")

    app = StacksApp(Wanted(path=found.directory), Config(), none, RecordingSource)

    async def steps(pilot: Pilot[Left]) -> None:
        await pilot.press("l")
        await until(pilot, lambda: app.main.settled)
        await pilot.pause(0.3)
        shown.append(" ".join(text_of(app).split()))

    on_screen(app, steps, WIDE)
    return shown[0]


def python_path() -> str:
    return os.pathsep.join(filter(None, [str(installed()), *sys.path]))


def deadlock(seconds: float) -> list[str | Path]:
    program = SOURCES / "py_spans.py"
    return [sys.executable, program, "deadlock", str(seconds), "--truth", "TRUTH"]


def test_the_deadlock_of_two_tasks_is_named(tmp_path: Path) -> None:
    programs = f"switch:u,usdt:{extension()}:u"
    found = record(tmp_path / "r", programs, deadlock(1.5), environ={"PYTHONPATH": python_path()})
    first, second = found.truth["cycle"]
    says = (
        f"{first['name']} waits for lock {first['waits']:#x} held by {second['name']}; "
        f"{second['name']} waits for lock {second['waits']:#x} held by {first['name']}; "
        f"cycle: {first['name']} -> {second['name']} -> {first['name']}"
    )
    (told,) = rows(found, "deadlocks")  # and none of the two that take turns
    assert told["says"] == says
    stuck = {row["span_id"]: row for row in rows(found, "stuck_spans")}
    for task in (first, second):
        assert stuck[task["span_id"]]["quiet_ns"] > 1.4e9
    locks = {int(row["lock"], 16): row for row in rows(found, "locks")}
    assert locks[first["waits"]]["held_now"] == second["name"]
    assert locks[first["waits"]]["waiting_now"] == [first["name"]]
    assert locks[found.truth["locks"]["c"]]["held_now"] is None
    shown = ledger_of(found)
    assert f"deadlock: {first['name']} waits for lock {first['waits']:#x} held by" in shown


def test_the_deadlock_is_named_while_it_lasts(tmp_path: Path) -> None:
    command = [str(part).replace("TRUTH", str(tmp_path / "truth")) for part in deadlock(60)]
    options = ["-d", str(tmp_path / "r"), "-p", f"switch:u,usdt:{extension()}:u", "--"]
    environment = ["env", f"PYTHONPATH={python_path()}"]
    terminal = Terminal(
        tmp_path, [*environment, sys.executable, "-P", "-c", START, *options, *command], (140, 40)
    )
    try:
        terminal.until("▶ live")
        terminal.press("l", "w")
        shown = terminal.until("deadlock:")
        assert "takes_turns ->" not in shown
        terminal.press("q")
    finally:
        terminal.close()


@pytest.mark.skipif(
    importlib.util.find_spec("aiohttp") is None or not INSTRUMENT.exists(),
    reason="aiohttp and its instrumentation by OpenTelemetry are not installed",
)
def test_pages_of_a_server_that_opentelemetry_instruments(tmp_path: Path) -> None:
    server = ROOT / "tests" / "recordings" / "server.py"
    environ = TELEMETRY | {"PYTHONPATH": python_path()}
    programs = f"profile:u:99,switch:u,vfs:u,usdt:{extension()}:u"
    found = record(
        tmp_path / "r", programs, [INSTRUMENT, sys.executable, server, "3"], environ=environ
    )
    served = next(
        json.loads(line)
        for line in found.stdout.splitlines()
        if line.startswith("{") and "GET /" in line
    )
    told = {row["span"]: row for row in rows(found, "spans")}
    for page, count in served.items():
        assert told[page]["count"] == count, page
    assert told["query"]["count"] == sum(served.values())
    # each order is written within its own page, and 50,000 bytes long
    assert told["POST /checkout"]["written_bytes"] >= 50_000 * served["POST /checkout"]
    assert [row["cycle"] for row in rows(found, "deadlocks")] in (
        [["refund", "settle", "refund"]],
        [["settle", "refund", "settle"]],
    )
