"""What the screen exports has the totals that it shows, whatever is filtered or compared."""

from __future__ import annotations

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from stacks_tui import text
from stacks_tui.export.job import ExportResult, export
from stacks_tui.export.registry import find_format
from stacks_tui.live.answers import answer
from stacks_tui.live.recorded import RecordedTotals
from stacks_tui.live.snapshot import Row, Table
from stacks_tui.live.view import ALL, Group, Measure, Side, StackPart, Tab, View, Window
from stacks_tui.python.shown import Shown
from stacks_tui.store.reader import open_recording
from stacks_tui.tui.export_plan import plan

MIXED = Path(__file__).parents[1] / "recordings" / "mixed"
SERVER = Path(__file__).parents[1] / "recordings" / "server"


def shown(recording: Path, view: View) -> Table:
    with open_recording(recording) as opened:
        totals = RecordedTotals(opened)
        found = answer(totals, replace(view, top=10**6), totals.timeline)
    assert isinstance(found.rows, Table) and not found.note
    return found.rows


def exported(recording: Path, view: View, into: Path, name: str = "pprof") -> ExportResult:
    made = plan(str(recording), view, None, find_format(name), into)
    assert not made.lacks
    return export(made.job)


def main_total(result: ExportResult, view: View) -> int:
    name = "count" if view.measure is Measure.COUNT else None
    if view.measure is Measure.DURATION and view.tab is Tab.VFS:
        name = "vfs_time"
    if view.group is Group.REASON:
        name = view.tab.value
    totals = [total for kind, total in result.totals if name in (None, kind.name)]
    return totals[0 if name else 1]


VIEWS = [
    View(),
    View(filter="frame:/sum|mix/"),
    View(filter="!read"),
    View(filter="!frame:/^main$/ !module:libc"),
    View(tab=Tab.BLOCKED, filter="reason:pipe"),
    View(tab=Tab.BLOCKED, filter="!reason:/sleep|futex/", group=Group.REASON),
    View(tab=Tab.BLOCKED, measure=Measure.COUNT),
    View(tab=Tab.BLOCKED, filter="futex thread:mixed", group=Group.LEAF),
    View(tab=Tab.RUNNABLE, filter="process:mixed"),
    View(tab=Tab.SLICES, filter="!reason:preempted"),
    View(tab=Tab.RSS, filter="!zzz"),
    View(tab=Tab.VFS, filter="write"),
    View(tab=Tab.VFS, kinds=("vfs_write",)),
    View(tab=Tab.VFS, measure=Measure.DURATION, filter="!module:kernel write"),
    View(tab=Tab.CPU, stack_part=StackPart.USER, filter="!mutex"),
    View(tab=Tab.BLOCKED, stack_part=StackPart.KERNEL),
]


@pytest.mark.parametrize("view", VIEWS, ids=str)
def test_totals_are_those_of_the_table(view: View, tmp_path: Path) -> None:
    view = replace(view, window=ALL)
    table = shown(MIXED, view)
    result = exported(MIXED, view, tmp_path / "x.pb.gz")
    assert main_total(result, view) == table.total


@pytest.mark.parametrize(
    "view",
    [
        View(tab=Tab.CPU, filter="span:checkout"),
        View(tab=Tab.BLOCKED, filter="!span:/^[a-k]/ !span:[no"),
        View(tab=Tab.CPU, shown=Shown.PYTHON, filter="!json"),
        View(tab=Tab.NET, filter="process:python"),
        View(tab=Tab.NET, kinds=("tcp_send",)),
        View(tab=Tab.SPANS, filter="!span:zzz"),
    ],
    ids=str,
)
def test_spans_python_and_sockets_too(view: View, tmp_path: Path) -> None:
    view = replace(view, window=ALL)
    table = shown(SERVER, view)
    result = exported(SERVER, view, tmp_path / "x.pb.gz")
    assert main_total(result, view) == table.total


def test_stacks_are_those_of_the_table(tmp_path: Path) -> None:
    for part in StackPart:
        view = View(tab=Tab.BLOCKED, window=ALL, stack_part=part, filter="!reason:sleep")
        path = tmp_path / f"{part}.folded"
        exported(MIXED, view, path, "folded")
        found: dict[str, int] = {}
        for line in path.read_text().splitlines():
            stack, _, number = line.rpartition(" ")
            leaf = stack.rpartition(";")[2].removesuffix("_[k]")
            found[leaf] = found.get(leaf, 0) + int(number)
        rows: list[Row] = list(shown(MIXED, replace(view, group=Group.LEAF)).rows)
        assert found == {row.label: row.own for row in rows if row.own}


def test_a_filtered_comparison_has_both_totals(tmp_path: Path) -> None:
    with open_recording(MIXED) as opened:
        begin = RecordedTotals(opened).began
    half = (begin + 2) * 10**9
    before, after = Side(Window(0, begin * 10**9, half)), Side(Window(0, half, half + 10**10))
    view = View(tab=Tab.BLOCKED, window=ALL, a=before, b=after, filter="!reason:sleep")
    table = shown(MIXED, view)
    result = exported(MIXED, view, tmp_path / "x.html", "flamegraph")
    assert dict(result.totals)[result.totals[1][0]] == table.b_total > 0
    assert dict(result.totals_before)[result.totals[1][0]] == table.total > 0


def test_traces_and_tables_have_only_what_passes(tmp_path: Path) -> None:
    view = View(window=ALL, filter="thread:mixed frame:write !reason:sleep")
    with open_recording(MIXED) as opened:
        every = opened.sql("select count(*) from events").fetchall()[0][0]
    table = exported(MIXED, view, tmp_path / "x.csv", "csv")
    assert 0 < table.rows < every
    trace = exported(MIXED, view, tmp_path / "x.json", "trace")
    assert 0 < trace.rows < every


@pytest.mark.skipif(shutil.which("go") is None, reason="go is not installed")
def test_go_tool_pprof_shows_the_total_of_the_table(tmp_path: Path) -> None:
    view = View(tab=Tab.BLOCKED, window=ALL, filter="!reason:sleep", group=Group.LEAF)
    table = shown(MIXED, view)
    exported(MIXED, view, tmp_path / "x.pb.gz")
    command = ["go", "tool", "pprof", "-top", "-unit=ns", str(tmp_path / "x.pb.gz")]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    assert f"of {table.total}ns total" in said.replace("Showing nodes accounting for ", "of ")
    assert text.printable(max(table.rows, key=lambda row: row.own).label) in said
