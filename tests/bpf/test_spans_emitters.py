"""Spans of programs whose emitter is not the C header: sys/sdt.h's macros, and the Rust layer."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from recordings import Recorded, names, record, recording

from stacks_tui.capture.usdt import Probe, Where, read_probes
from stacks_tui.elf import ElfImage

sys.path.append(str(Path(__file__).resolve().parent.parent / "spans"))

from span_programs import built, no_rust, no_sdt, rust_spans
from span_truth import compare, outside, truth_bytes

pytestmark = pytest.mark.bpf

sdt = pytest.mark.skipif(no_sdt() is not None, reason=str(no_sdt()))
rust = pytest.mark.skipif(no_rust() is not None, reason=str(no_rust()))
SEMAPHORES = "-DSEMAPHORES"
SHORT_NAME = 16
"""Bytes that are read of a name whose length isn't told."""


def probes(path: Path) -> tuple[Probe, ...]:
    with path.open("rb") as file:
        found = read_probes(ElfImage.from_fd(file.fileno()))
    assert found.refused == 0
    return found.probes


def check_nothing_is_wrong(recorded: Recorded, most: int) -> None:
    """Rows, times and bytes are those of the program, and no trouble is counted."""
    recorded.assert_nothing_lost()
    compare(recorded, most=most)
    assert outside(recorded) == recorded.truth.get("outside_bytes", 0) + truth_bytes(recorded)
    assert recorded.manifest.status.totals.spans == {}


@sdt
def test_the_macros_leave_arguments_everywhere() -> None:
    enters = [one for one in probes(built("sdt_spans")) if one.name == "enter"]
    kinds = {argument.where for one in enters for argument in one.arguments}
    assert kinds == set(Where)
    assert not any(one.semaphore for one in enters)
    assert all(one.semaphore for one in probes(built("sdt_spans", SEMAPHORES)))


@sdt
@pytest.mark.parametrize(
    "flags", [(), (SEMAPHORES,), ("-static",)], ids=["", "semaphores", "static"]
)
def test_spans_of_the_macros_in_a_named_file(tmp_path: Path, flags: tuple[str, ...]) -> None:
    path = built("sdt_spans", *flags)
    recorded = record(tmp_path / "r", f"vfs,usdt:{path}", [path, "--truth", "TRUTH"])
    check_nothing_is_wrong(recorded, SHORT_NAME)
    assert recorded.truth.get("heard", 4) == 4


@sdt
@pytest.mark.parametrize("flags", [(), (SEMAPHORES,)], ids=["", "semaphores"])
@pytest.mark.parametrize("target", ["pid", "comm"])
def test_spans_of_the_macros_are_found(tmp_path: Path, flags: tuple[str, ...], target: str) -> None:
    path, truth = built("sdt_spans", *flags), tmp_path / "r.truth.json"
    with subprocess.Popen([path, "--truth", truth], stdin=subprocess.PIPE) as process:
        comm = path.name[:15]
        targets = {"pid": ["--pid", str(process.pid)], "comm": [comm]}
        with recording(tmp_path / "r", "vfs,usdt", *targets[target]) as recorder:
            process.communicate(b"\n")
            done = recorder.stop()
    assert process.returncode == 0
    told = json.loads(truth.read_text())
    check_nothing_is_wrong(
        Recorded(done.directory, done.exit_code, done.stdout, done.stderr, told), SHORT_NAME
    )
    assert told.get("heard", 4) == 4


@rust
def test_spans_of_the_rust_layer(tmp_path: Path) -> None:
    path = rust_spans()
    recorded = record(
        tmp_path / "r", f"vfs:u,usdt:{path}:u", [path, "tasks", "8", "--truth", "TRUTH"]
    )
    check_nothing_is_wrong(recorded, 63)
    assert len(recorded.truth["spans"]) == 8 * 6
    exits = recorded.rows(
        "select trace_name, complete, frames from events e left join stacks s on s.id = e.ustack "
        "where kind = 'trace_exit'"
    )
    for row in exits:
        if row["trace_name"] == "query":
            assert row["complete"]
            # the program's own function may be inlined into the runtime's
            shown = names(row["frames"])
            assert shown[0] == "stacks_tracing_rust_fire_exit_stack"
            assert any("tokio::runtime::task" in name for name in shown), shown
        else:
            assert row["frames"] is None


@rust
def test_a_hundred_thousand_spans_of_rust(tmp_path: Path) -> None:
    path = rust_spans()
    recorded = record(
        tmp_path / "r",
        f"usdt:{path}",
        [path, "many", "100000", "--truth", "TRUTH"],
        "--ring-bytes",
        "64M",
    )
    told = recorded.truth["one of many"]
    for kind in ("trace_exit", "trace_close"):
        counts = recorded.counts(kind)
        assert counts.received + counts.lost == told
        rows = recorded.value(f"select count(*) from events where kind = '{kind}'")
        assert rows == counts.received
