"""Spans of C programs against what the programs themselves say: rows, times, bytes, counts."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import pytest
from recordings import Recorded, record
from workloads import block_backed

sys.path.append(str(Path(__file__).resolve().parent.parent / "spans"))

from span_programs import built
from span_truth import compare, outside, truth_bytes

pytestmark = pytest.mark.bpf

ROOM = ("--ring-bytes", "64M")


def spans_of(
    tmp_path: Path, program: str, *arguments: Any, kinds: str = "vfs", letters: str = ""
) -> Recorded:
    """A recording of a workload, its probes attached before it begins."""
    path = built(program)
    workload = [str(path), *map(str, arguments), "--truth", "TRUTH"]
    return record(tmp_path / "r", f"{kinds},usdt:{path}:{letters}", workload, *ROOM)


def counts(recorded: Recorded) -> dict[str, int]:
    return dict(recorded.manifest.status.totals.spans)


def test_every_byte_is_in_the_span_that_wrote_it(tmp_path: Path) -> None:
    recorded = spans_of(tmp_path, "c_spans", "bytes")
    recorded.assert_nothing_lost()
    spans = compare(recorded)
    assert outside(recorded) == recorded.truth["outside_bytes"] + truth_bytes(recorded)
    assert counts(recorded) == {}
    assert not any(span["since_seen"] for span in spans.values())


def test_a_stack_where_the_program_asks_for_it(tmp_path: Path) -> None:
    recorded = spans_of(tmp_path, "c_spans", "bytes", letters="u")
    rows = recorded.rows(
        "select trace_name, ustack is not null as stack, complete, frames[1].name as leaf, "
        "list_contains(list_transform(frames, lambda f: f.name), 'main') as from_main "
        "from events e left join stacks s on s.id = e.ustack where kind = 'trace_exit'"
    )
    for row in rows:
        if row["trace_name"] == "query":
            assert row["complete"], row
            assert row["from_main"], row
            assert row["leaf"] == "tracing_stacks_fire_exit_stack"
        else:
            assert not row["stack"]


def test_names(tmp_path: Path) -> None:
    recorded = spans_of(tmp_path, "c_spans", "names")
    spans = compare(recorded)
    lengths = {len((key[2] or "").encode()) for key in spans}
    assert {0, 1, 15, 16, 17, 62, 63} <= lengths
    assert counts(recorded) == {}


def test_names_that_cannot_be_read(tmp_path: Path) -> None:
    recorded = spans_of(tmp_path, "c_spans", "bad_names")
    rows = recorded.rows(
        "select id, trace_name from events where kind = 'trace_close' order by coalesce(id, 0)"
    )
    names = [row["trace_name"] for row in rows]
    assert names == [None, None, None, "twenty letters, here", None, "a length that lies"] or (
        names[:5] == [None, None, None, "twenty letters, here", None]
        and names[5].startswith("a length that lies")
    )
    assert counts(recorded) == {"bad_name": 4}


def test_deeper_than_is_kept(tmp_path: Path) -> None:
    recorded = spans_of(tmp_path, "c_spans", "nested", 20)
    assert counts(recorded) == {"too_deep": 4}
    rows = recorded.rows(
        "select span_id, id, enters, busy, open from events where kind = 'trace_close' "
        "order by coalesce(id, 0)"
    )
    assert [row["id"] or 0 for row in rows] == list(range(20))
    assert all(row["enters"] == 1 and not row["open"] for row in rows)
    told = {span["id"]: span["written_bytes"] for span in recorded.truth["spans"]}
    written = {
        row["id"] or 0: row["bytes"]
        for row in recorded.rows(
            "select id, sum(amount)::bigint as bytes from events "
            "where kind = 'vfs_write' and span_id is not null group by all"
        )
    }
    assert {n: written[n] for n in range(15)} == {n: told[n] for n in range(15)}
    assert written[15] == sum(told[n] for n in range(15, 20))
    assert set(written) == set(range(16))


@pytest.mark.parametrize(
    ("scenario", "expected"),
    [
        ("out_of_order", {"out_of_order": 1}),
        ("exit_elsewhere", {"migrated": 1}),
        ("thread_dies", {}),
        ("same_id", {}),
        ("never_closed", {}),
        ("prefork", {}),
    ],
)
def test_spans_that_end_otherwise(tmp_path: Path, scenario: str, expected: dict[str, int]) -> None:
    recorded = spans_of(tmp_path, "c_spans", scenario)
    recorded.assert_nothing_lost()
    compare(recorded)
    tgids = sorted({span["tgid"] for span in recorded.truth["spans"]})
    truth = 0 if scenario == "never_closed" else truth_bytes(recorded)
    assert outside(recorded, tgids) == recorded.truth["outside_bytes"] + truth
    assert counts(recorded) == expected


def test_a_span_that_goes_from_thread_to_thread(tmp_path: Path) -> None:
    recorded = spans_of(tmp_path, "c_spans", "migrate", 10000)
    recorded.assert_nothing_lost()
    compare(recorded)
    assert outside(recorded) == 20000 + truth_bytes(recorded)
    assert counts(recorded) == {}


def test_who_woke_whom_by_span(tmp_path: Path) -> None:
    recorded = spans_of(tmp_path, "c_spans", "ping_pong", 1000, kinds="switch")
    ping, pong = (span["span_id"] for span in recorded.truth["spans"])
    rows = recorded.rows(
        "select span_id, waker_span, count(*) as n from events "
        "where kind = 'wait' and state = 'sleeping' and waker_span is not null group by all"
    )
    found = {(row["span_id"], row["waker_span"]): row["n"] for row in rows}
    mutual = found.get((ping, pong), 0) + found.get((pong, ping), 0)
    assert mutual > 500
    # each waits for the other alone, from its enter to its exit
    assert set(found) <= {(ping, pong), (pong, ping), (None, ping), (None, pong)}


def test_a_million_spans(tmp_path: Path) -> None:
    recorded = spans_of(tmp_path, "c_spans", "many", 1_000_000, kinds="profile")
    manifest = recorded.manifest.status
    for kind in ("trace_exit", "trace_close"):
        told = manifest.kinds[kind]
        assert told.received + told.lost == recorded.truth["one of many"], kind
        rows = recorded.value(f"select count(*) from events where kind = '{kind}'")
        assert rows == told.received
    named = recorded.value(
        "select count(*) from events where kind = 'trace_close' and trace_name = 'one of many'"
    )
    unnamed = recorded.value(
        "select count(*) from events where kind = 'trace_close' and trace_name is null"
    )
    assert named + unnamed == manifest.kinds["trace_close"].received
    assert unnamed <= counts(recorded).get("unnamed", 0)


def test_ten_thousand_spans_open_on_one_thread(tmp_path: Path) -> None:
    recorded = spans_of(tmp_path, "c_spans", "open_at_once", 10_000)
    recorded.assert_nothing_lost()
    rows = recorded.rows(
        "select count(*) as n, min(enters) as least, max(enters) as most, bool_or(open) as open "
        "from events where kind = 'trace_close' and trace_name = 'heap'"
    )
    assert rows == [{"n": 10_000, "least": 1, "most": 1, "open": False}]
    exits = "select count(*) from events where kind = 'trace_exit' and trace_name = 'heap'"
    assert recorded.value(exits) == 10_000
    assert counts(recorded)["too_deep"] == 10_000 - 16
    assert outside(recorded) == 90 + truth_bytes(recorded)
    bytes_after = recorded.value(
        "select sum(amount)::bigint from events where kind = 'vfs_write' and trace_name = 'after'"
    )
    assert bytes_after == 100


def test_the_layout_of_other_emitters(tmp_path: Path) -> None:
    recorded = spans_of(tmp_path, "crate_layout")
    recorded.assert_nothing_lost()
    compare(recorded, times=False, most=16)
    assert counts(recorded) == {}


def test_other_kinds_bear_spans(tmp_path: Path) -> None:
    recorded = spans_of(tmp_path, "c_spans", "bytes", kinds="profile:u:999,switch,rss::1,vfs,net")
    labelled = {
        row["kind"]: row["n"]
        for row in recorded.rows(
            "select kind, count(*) as n from events where span_id is not null group by kind"
        )
    }
    assert labelled["profile"] > 0
    assert labelled["switch"] > 0
    assert labelled["wait"] > 0
    row_spans = recorded.rows(
        "select e.span_id, count(*) as n from events e where kind = 'wait' "
        "and state = 'sleeping' and duration > 2500000 and span_id is not null group by all"
    )
    queries = {s["span_id"] for s in recorded.truth["spans"] if s["name"] == "query"}
    assert {row["span_id"] for row in row_spans} == queries  # where the program naps


def test_one_span_of_all_sorts_of_bytes(tmp_path: Path) -> None:
    folder = block_backed()
    if folder is None:
        pytest.skip("no file system on a block device")
    recorded = spans_of(tmp_path, "wide_spans", folder, kinds="vfs,block,rss::1,net")
    recorded.assert_nothing_lost()
    (key,) = compare(recorded)
    moved = recorded.rows(
        """
        select span_id is not null as inside,
               sum(amount) filter (kind = 'blk_write')::bigint as blk_written,
               sum(amount) filter (kind = 'tcp_send')::bigint as sent,
               sum(amount) filter (kind = 'tcp_recv')::bigint as received,
               sum(delta) filter (kind = 'rss')::bigint as grown
        from events where tgid = $tgid group by all
        """,
        tgid=recorded.truth["tgid"],
    )
    truth = recorded.truth
    (inside,) = [row for row in moved if row["inside"]]
    # fsync writes the file system's own blocks, too: an inode, a journal
    written = inside["blk_written"]
    metadata = written - truth["inside"]["blk_written"]
    assert 0 <= metadata <= 64 << 10
    truth["inside"]["blk_written"] = written
    assert metadata % 4096 == 0
    assert inside == {"inside": True, **truth["inside"]}
    (outside_it,) = [row for row in moved if not row["inside"]]
    for name in ("sent", "received"):
        assert outside_it[name] == truth["outside"][name]
    # where its blocks are is written too, at the first time
    assert outside_it["blk_written"] >= truth["outside"]["blk_written"]
    (costs,) = recorded.rows("select * from span_costs")
    assert (costs["span_id"], costs["written_bytes"]) == (
        key[1],
        truth["spans"][0]["written_bytes"],
    )
    found = {
        "blk_written": costs["blk_written_bytes"],
        "sent": costs["sent_bytes"],
        "received": costs["received_bytes"],
        "grown": costs["growth_bytes"],
    }
    assert found == truth["inside"]
