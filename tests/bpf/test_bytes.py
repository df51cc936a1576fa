"""Bytes and calls of `vfs`, `net` and `block`, against what the workloads counted themselves."""

from __future__ import annotations

from pathlib import Path

import pytest
from recordings import Row, record
from workloads import SOURCES, block_backed, built

pytestmark = pytest.mark.bpf

ROOM = ("--ring-bytes", "128M")
"""For all that happens in the tens of milliseconds that these workloads take, stacks included."""

BY_THREAD = """
select pid, kind, count(*)::ubigint as calls, sum(amount)::ubigint as bytes
from events group by all
"""


def tally(rows: list[Row], tid: int, kind: str) -> tuple[int, int]:
    """(calls, bytes) of a thread."""
    found = [row for row in rows if row["pid"] == tid and row["kind"] == kind]
    return (found[0]["calls"], found[0]["bytes"]) if found else (0, 0)


@pytest.mark.parametrize("stacks", ["", ":uk"])
def test_every_family_of_reads_and_writes_to_the_byte_and_call(tmp_path: Path, stacks: str) -> None:
    recorded = record(
        tmp_path / "r", f"vfs{stacks}", [built("vfs"), tmp_path, "--truth", "TRUTH"], *ROOM
    )
    recorded.assert_nothing_lost()
    rows = recorded.rows(BY_THREAD)
    families = recorded.truth["families"]
    assert len(families) == 8
    for name, told in families.items():
        for kind in ("read", "write"):
            expected = (told[f"{kind}_calls"], told[f"{kind}_bytes"])
            assert tally(rows, told["tid"], f"vfs_{kind}") == expected, name
    shared = recorded.value("select count(*) from events where ustack is null and kstack is null")
    total = recorded.value("select count(*) from events")
    assert shared == (0 if stacks else total)
    # The kernel's stack is the program's, not that of the probe on top of it.
    probes = recorded.value(
        "select count(*) from (select unnest(frames) as f from stacks) "
        "where starts_with(f.name, 'bpf_prog_') or starts_with(f.name, 'bpf_trace_')"
    )
    assert probes == 0


def test_time_in_a_call_is_its_duration(tmp_path: Path) -> None:
    recorded = record(tmp_path / "r", "vfs,switch", ["sh", "-c", "(sleep 0.3; echo) | cat >&2"])
    (row,) = recorded.rows(
        "select duration, tgid, pid, timestamp from events "
        "where kind = 'vfs_read' and command = 'cat' and amount = 1"
    )
    blocked = recorded.value(
        "select sum(duration) from events where kind = 'wait' and pid = $pid and not open "
        "and timestamp between $begin and $end",
        pid=row["pid"],
        begin=row["timestamp"] - row["duration"],
        end=row["timestamp"],
    )
    assert blocked <= row["duration"] <= blocked + 50_000_000
    assert blocked > 100_000_000


def test_sockets_to_the_byte_and_call(tmp_path: Path) -> None:
    recorded = record(tmp_path / "r", "net:uk", [built("net"), "--truth", "TRUTH"], *ROOM)
    recorded.assert_nothing_lost()
    rows = recorded.rows(BY_THREAD)
    exchanges = recorded.truth["exchanges"]
    assert len(exchanges) == 6
    for name, told in exchanges.items():
        protocol = name[:3]
        sent = (told["sent_calls"], told["sent_bytes"])
        received = (told["received_calls"], told["received_bytes"])
        assert tally(rows, told["tid"], f"{protocol}_send") == sent, name
        assert tally(rows, told["tid"], f"{protocol}_recv") == received, name
        kinds = {row["kind"] for row in rows if row["pid"] == told["tid"]}
        assert kinds == {f"{protocol}_send", f"{protocol}_recv"}, name


def test_the_block_device_to_the_byte(tmp_path: Path) -> None:
    folder = block_backed()
    if folder is None:
        pytest.skip("no file system on a block device")
    recorded = record(tmp_path / "r", "block:uk", [built("block"), folder, "--truth", "TRUTH"])
    recorded.assert_nothing_lost()
    rows = recorded.rows(BY_THREAD)
    truth = recorded.truth
    for phase, kind in (("write_direct", "blk_write"), ("read_direct", "blk_read")):
        told = truth[phase]
        calls, moved = tally(rows, told["tid"], kind)
        assert moved == told["bytes"], phase
        assert calls >= told["bytes"] // truth["chunk"], phase  # a device may split a call
    # Through the page cache the file system may write what it knows of the file as well.
    told = truth["write_cached"]
    _, moved = tally(rows, told["tid"], "blk_write")
    assert told["bytes"] <= moved <= told["bytes"] + (1 << 17)
    assert recorded.value("select min(duration) from events where kind like 'blk%'") > 0
    stack = "select count(*) from samples where kind = 'blk_read' and pid = $tid and {}"
    has_leaf = "list_contains(list_transform(ustack, lambda f: f.name), 'read_direct')"
    tid = truth["read_direct"]["tid"]
    assert recorded.value(stack.format(f"not {has_leaf}"), tid=tid) == 0


def test_a_python_program_and_its_child(tmp_path: Path) -> None:
    recorded = record(
        tmp_path / "r", "vfs:u,switch:u", ["python3", SOURCES / "job.py", "--truth", "TRUTH"]
    )
    recorded.assert_nothing_lost()
    truth = recorded.truth
    rows = recorded.rows(
        "select tgid, amount, count(*) as calls from events "
        "where kind = 'vfs_write' and amount in (301, 302) group by all"
    )
    told = {(row["tgid"], row["amount"]): row["calls"] for row in rows}
    rounds = truth["rounds"]
    assert told == {(truth["tgid"], 301): rounds, (truth["child"], 302): rounds}
    cut = recorded.value(
        "select count(*) from events e left join stacks s on s.id = e.ustack "
        "where kind = 'vfs_write' and amount in (301, 302) and not coalesce(s.complete, false)"
    )
    assert cut == 0
