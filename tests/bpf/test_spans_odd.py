"""Spans of programs that do what nobody planned for: right, or counted."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from recordings import Recorded, record

sys.path.append(str(Path(__file__).resolve().parent.parent / "spans"))

from span_programs import SOURCES, extension, has, installed
from span_truth import outside, truth_bytes

pytestmark = pytest.mark.bpf

NO_GREENLET = not has(Path(sys.executable), "greenlet")
SCENARIOS = {
    "exec_inside": {},
    "threads_end_with_the_process": {},
    "signals": {},
    "abandoned": {"out_of_order": 1},
    "held_by_tasks": {},
    "fork_in_a_task": {},
    "another_interpreter": {},
}


def odd(tmp_path: Path, scenario: str) -> Recorded:
    recorded = record(
        tmp_path / "r",
        f"vfs,profile:u:99,usdt:{extension()}:",
        [sys.executable, str(SOURCES / "py_odd.py"), scenario, "--truth", "TRUTH"],
        *("--ring-bytes", "64M"),
        environ={"PYTHONPATH": str(installed())},
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
