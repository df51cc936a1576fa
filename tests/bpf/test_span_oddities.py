"""Every query about spans, and the ledger, over a program that does all that is odd with them."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from recordings import Recorded, record

ROOT = Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / "tests" / "spans"))

from span_programs import SOURCES, extension, installed  # noqa: E402

from stacks_tui.export.questions import (  # noqa: E402
    TABLES,
    TRACES,
    ask,
    find_question,
    recorded,
    rows_of,
)
from stacks_tui.export.selection import Selection  # noqa: E402
from stacks_tui.export.task import Task  # noqa: E402
from stacks_tui.live.answers import answer  # noqa: E402
from stacks_tui.live.recorded import RecordedTotals  # noqa: E402
from stacks_tui.live.snapshot import Ledger, Table  # noqa: E402
from stacks_tui.live.view import ALL, Instance, Panel, Tab, View  # noqa: E402

pytestmark = pytest.mark.bpf


@pytest.fixture(scope="module")
def found(tmp_path_factory: pytest.TempPathFactory) -> Recorded:
    command: list[str | Path] = [sys.executable, SOURCES / "odd_spans.py", "--truth", "TRUTH"]
    programs = f"profile:u:99,switch:uk,vfs:u,usdt:{extension()}:u"
    environ = {"PYTHONPATH": str(installed())}
    path = tmp_path_factory.mktemp("odd") / "r"
    made = record(path, programs, command, environ=environ)
    made.assert_nothing_lost()
    return made


def rows(
    found: Recorded, name: str, kind: str = TABLES, selection: Selection | None = None
) -> list[dict[str, Any]]:
    with found.open() as opened:
        question, span = find_question(name, kind), recorded(opened)
        relation = ask(opened, question, selection or Selection(), span, span.begin, Task())
        return list(rows_of(relation, question).to_pylist())


def test_costs_by_name(found: Recorded) -> None:
    told = {row["span"]: row for row in rows(found, "spans")}
    assert {name: row["written_bytes"] for name, row in told.items()} == found.truth["written"]
    assert {name: row["count"] for name, row in told.items() if row["count"]} == found.truth[
        "count"
    ]
    assert sorted(name for name, row in told.items() if row["open"]) == sorted(found.truth["open"])
    assert told["still inside"]["busy_ns"] > 1.1e9 > told["left open"]["busy_ns"]


def test_costs_with_children(found: Recorded) -> None:
    told = {row["span"]: row for row in rows(found, "spans_with_children")}
    whole = found.truth["with_children"] | {"of the child": 2200}
    assert {name: row["written_bytes"] for name, row in told.items()} == whole
    assert told["walk"]["count"] == 4 and told["walk"]["children"] == 0
    assert told["first use"]["children"] == 2 and told["second use"]["children"] == 1
    assert told["around"]["children"] == 0  # the child's spans are another process's
    outer = max(row["duration_ns"] for row in rows(found, "slowest_spans") if row["span"] == "walk")
    assert told["walk"]["total_ns"] == outer  # not four times what is one within the other


def test_instances(found: Recorded) -> None:
    told = rows(found, "slowest_spans")
    of_id = sorted((row for row in told if row["span_id"] == 77), key=lambda row: row["begin_ns"])
    assert [(row["span"], row["file_bytes"]) for row in of_id] == [
        ("first use", 70), ("second use", 700), ("first use", 7000),
    ]  # fmt: skip
    (often,) = (row for row in told if row["span"] == "often")
    assert (often["enters"], often["file_bytes"], often["open"]) == (1000, 1000, False)
    assert often["busy_ns"] <= often["duration_ns"]
    assert (
        sum(row["count"] for row in rows(found, "span_histogram") if row["span"] == "nothing") == 50
    )
    inside = [row for row in told if row["span"] == "inside a use"]
    assert sorted(row["parent"] for row in inside) == ["first use", "first use", "second use"]
    every = [row["file_bytes"] for row in told if row["span"] == "walk"]
    assert every == [10] * 4


def test_what_was_never_closed(found: Recorded) -> None:
    told = {row["span"]: row for row in rows(found, "stuck_spans")}
    assert sorted(told) == sorted(found.truth["open"])
    assert told["left open"]["quiet_ns"] > 1e9 > told["still inside"]["quiet_ns"]
    lines = {row["name"]: row for row in rows(found, "stuck_spans", TRACES)}
    assert sorted(lines) == sorted(found.truth["open"])
    assert lines["left open"]["state"] == "left" and lines["still inside"]["state"] == "entered"
    assert rows(found, "deadlocks") == [] and rows(found, "locks") == []


def test_names_are_what_they_are(found: Recorded) -> None:
    for name in found.truth["names"]:
        only = Selection(span=name)
        (row,) = rows(found, "spans", selection=only)
        assert row["span"] == name and row["count"] == 1
        (row,) = rows(found, "spans_with_children", selection=only)
        assert row["written_bytes"] == found.truth["written"][name]
        (row,) = rows(found, "slowest_spans", selection=only)
        assert row["id"] == 1 + found.truth["names"].index(name)
        stacks = rows(found, "span_stacks", selection=only)
        written = sum(one["value"] for one in stacks if one["cost"] == "vfs_write")
        assert written == found.truth["written"][name]
        assert {one["name"] for one in rows(found, "spans", TRACES, only)} == {
            name,
            f"{name} closed",
        }


def test_stretches_and_who_kept_whom(found: Recorded) -> None:
    left = [row for row in rows(found, "spans", TRACES) if row["event"] == "complete"]
    assert sum(row["name"] == "often" for row in left) == 1000
    assert sum(row["name"] == "nothing" for row in left) == 50
    assert all(row["duration"] >= 0 for row in left)
    assert not any(row["name"] == "still inside" for row in left)
    assert rows(found, "slow_spans", TRACES) is not None
    for row in rows(found, "span_blockers"):
        assert row["longest_ns"] <= row["blocked_ns"]


def test_the_ledger_says_the_same(found: Recorded) -> None:
    with found.open() as opened:
        totals = RecordedTotals(opened)
        for children, truth in ((False, "written"), (True, "with_children")):
            asked = View(tab=Tab.SPANS, panel=Panel.LEDGER, window=ALL, children=children)
            told = answer(totals, asked, totals.timeline).rows
            assert isinstance(told, Ledger)
            wanted = found.truth[truth] | ({"of the child": 2200} if children else {})
            assert {row.name: row.file_bytes for row in told.rows} == wanted
            inside = next(row for row in told.rows if row.name == "still inside")
            assert inside.busy_ns > 1.1e9 and inside.open == 1
        each = View(tab=Tab.SPANS, panel=Panel.LEDGER, window=ALL, instances=True)
        instances = answer(totals, each, totals.timeline).rows
        assert isinstance(instances, Ledger)
        for row in instances.instances:
            until = 0 if row.open else row.begin + row.duration_ns
            one = Instance(row.tgid, row.span_id, row.begin, until)
            stacks = answer(totals, View(tab=Tab.VFS, instance=one), totals.timeline).rows
            assert isinstance(stacks, Table) and stacks.total == row.file_bytes, row
