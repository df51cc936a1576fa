"""Spans of programs that do what nobody planned for: right, or counted."""

from __future__ import annotations

import re
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest
from recordings import Recorded, record

from stacks_tui.capture import bpf
from stacks_tui.capture.targets import Targets
from stacks_tui.kinds import parse_programs
from stacks_tui.resources import folder
from stacks_tui.session.options import RecordOptions
from stacks_tui.session.recorder import Session

sys.path.append(str(Path(__file__).resolve().parent.parent / "spans"))

from span_programs import SOURCES, environ, extension
from span_truth import outside, truth_bytes

pytestmark = pytest.mark.bpf

SCENARIOS = {
    "exec_inside": {},
    "threads_end_with_the_process": {},
    "signals": {},
    "abandoned": {"out_of_order": 1},
    "held_by_tasks": {},
    "fork_in_a_task": {},
    "another_interpreter": {},
    "greenlets": {},
    "gevents": {},
}


def odd(tmp_path: Path, scenario: str, letters: str = "") -> Recorded:
    recorded = record(
        tmp_path / "r",
        f"vfs,profile:u:99,usdt:{extension()}:{letters}",
        [sys.executable, str(SOURCES / "py_odd.py"), scenario, "--truth", "TRUTH"],
        *("--ring-bytes", "64M"),
        environ={"PYTHONPATH": environ()["PYTHONPATH"]},
    )
    recorded.assert_nothing_lost()
    return recorded


def by_span(recorded: Recorded, columns: str, where: str) -> dict[tuple[Any, ...], Any]:
    """Rows by process and span; a process that execs uses the ids of spans again."""
    rows = recorded.rows(
        f"select tgid, span_id, trace_name, coalesce(id, 0) as id, {columns} from events "
        f"where {where} group by all"
    )
    found = {(row["tgid"], row["span_id"], row["trace_name"], row["id"]): row for row in rows}
    assert len(found) == len(rows)
    return found


@pytest.mark.parametrize("scenario", SCENARIOS)
def test_odd_programs(tmp_path: Path, scenario: str) -> None:
    recorded = odd(tmp_path, scenario)
    closes = by_span(
        recorded,
        "count(*) as closes, any_value(open) as open, any_value(enters) as enters, "
        "any_value(duration) as duration, any_value(parent_id) as parent_id",
        "kind = 'trace_close'",
    )
    written = by_span(
        recorded, "sum(amount)::bigint as bytes", "kind = 'vfs_write' and span_id is not null"
    )
    wrong = []
    for span in recorded.truth["spans"]:
        key = span["tgid"], span["span_id"], span["name"], span["id"]
        row = closes.get(key)
        bytes_of = written.get(key, {}).get("bytes", 0)
        if (
            row is None
            or bytes_of != span["written_bytes"]
            or (row["closes"], row["enters"]) != (1, span["enters"])
            or row["open"] == span["closed"]
            or (row["parent_id"] or 0) != span["parent_id"]
            or (span["closed"] and not span["least_ns"] <= row["duration"] <= span["total_ns"])
        ):
            wrong.append((span, row, bytes_of))
    assert not wrong, wrong[:3]
    tgids = sorted({span["tgid"] for span in recorded.truth["spans"]})
    assert outside(recorded, tgids) == recorded.truth["outside_bytes"] + truth_bytes(recorded)
    assert recorded.manifest.status.totals.spans == SCENARIOS[scenario]


SAMPLES = """
select trace_name as span, regexp_extract(frames[1].module, 'libz|zlib|libcrypto|hashlib') as work
from events e join stacks s on s.id = e.ustack where kind = 'profile' group by all
"""


def test_the_work_of_greenlets_is_in_their_own_spans(tmp_path: Path) -> None:
    recorded = odd(tmp_path, "gevents", "u")
    spans = recorded.truth["spans"]
    found = defaultdict(set)
    for row in recorded.rows(SAMPLES):
        found[row["work"]].add(row["span"])
    assert {"green 0", "inner 0"} == found["libz"] | found["zlib"]
    assert {"green 1", "inner 1"} == found["libcrypto"] | found["hashlib"]
    # the stack at an exit would be that of the greenlet that comes next
    exits = recorded.rows(
        "select span_id, ustack is not null as stack, count(*)::bigint as n from events "
        "where kind = 'trace_exit' group by all"
    )
    inner = {span["span_id"] for span in spans if span["name"].startswith("inner")}
    assert {(row["span_id"], row["n"]) for row in exits if row["stack"]} == {
        (span_id, 1) for span_id in inner
    }
    assert recorded.manifest.status.totals.spans == {}


AWAITS = """
select len(frames) as n, s.truncated, complete from events e
join stacks s on s.id = e.ustack where kind = 'trace_exit' and frames[1].module = '[await]'
"""


def test_a_chain_of_awaits_that_is_too_long_says_so(tmp_path: Path) -> None:
    recorded = odd(tmp_path, "deep_awaits", "u")
    rows = [row for row in recorded.rows(AWAITS) if row["n"] > 2]
    assert len(rows) >= 50
    assert {(row["truncated"], row["complete"]) for row in rows} == {(True, False)}
    assert recorded.manifest.status.kinds["trace_exit"].truncated >= len(rows)
    assert recorded.manifest.status.totals.spans == {}


def offset_in_work(field: str) -> int:
    """Where a field of struct work is, which begins with words and pairs of halves."""
    text = (folder("bpf") / "maps.h").read_text()
    body = text.split("struct work {", 1)[1]
    at = 0
    for kind, names in re.findall(r"^  u(64|32) ([^;]+);", body, re.M):
        for name in names.split(", "):
            if name == field:
                return at
            at += int(kind) // 8
    raise AssertionError(field)


def test_an_await_chain_for_which_the_memory_is_taken_is_counted(tmp_path: Path) -> None:
    options = RecordOptions(
        parse_programs(f"usdt:{extension()}:u"), Targets(comms=("awaiting",)), tmp_path / "r"
    )
    session = Session(options, lambda status: None)
    try:
        # as if a program that was preempted had it, on every CPU
        scratch = session._programs._maps["scratch"]
        (number,) = re.findall(r"SLOT_USDT = (\d+)", (folder("bpf") / "maps.h").read_text())
        slot = int(number).to_bytes(4, "little")
        raw = bytearray(scratch.get(slot) or b"")
        size = len(raw) // bpf.possible_cpus()
        for cpu in range(bpf.possible_cpus()):
            at = cpu * size + offset_in_work("taken")
            raw[at : at + 4] = (1).to_bytes(4, "little")
        scratch.put(slot, bytes(raw))
        code = (
            "import asyncio, tracing_stacks; open('/proc/self/comm', 'w').write('awaiting')\n"
            "tracing_stacks.init()\n"
            "async def main():\n"
            "    with tracing_stacks.span('stack', exit_stack=True): pass\n"
            "    for _ in range(20): await asyncio.sleep(0.001)\n"
            "asyncio.run(main())"
        )
        subprocess.run([sys.executable, "-c", code], check=True, env=environ())
        found = session.span_counts()
        session.finish()
    finally:
        session.close()
    assert found == {"no_work": 21}
