"""Spans told in the ring, joined to what bears them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from stacks_tui.columns import Events
from stacks_tui.enrich import spans as module
from stacks_tui.enrich.spans import Spans
from stacks_tui.kinds import Kind
from stacks_tui.records import EVENT, EventFlag, RecordCode

TGID = 7


@dataclass(frozen=True)
class State:
    first: int = 100
    busy: int = 40
    amount: int = 9
    enters: int = 3
    pid: int = 8


def opened(
    time: int, span_id: int, name: bytes, tgid: int = TGID, **fields: int
) -> np.ndarray[Any, Any]:
    records = np.zeros(2, EVENT)
    records["kind"] = RecordCode.SPAN, RecordCode.NAME
    records[0]["time"] = records[0]["span_born"] = time
    records[0]["span_id"], records[0]["tgid"] = span_id, tgid
    for field, value in fields.items():
        records[0][field] = value
    raw = records.view(np.uint8).reshape(2, -1)
    raw[1, :64] = np.frombuffer(name[:63].ljust(64, b"\0"), np.uint8)
    return records


def event(time: int, kind: int, span_id: int, born: int, tgid: int = TGID) -> np.ndarray[Any, Any]:
    records = np.zeros(1, EVENT)
    records["time"], records["kind"], records["span_id"] = time, kind, span_id
    records["span_born"], records["tgid"] = born, tgid
    return records


def nothing(tgid: int, image: int, span_id: int, born: int) -> State | None:
    return None


def names(spans: Spans, events: Events) -> list[str | None]:
    found: list[str | None] = spans.columns(events).trace_name.to_pylist()
    return found


def test_one_id_of_two_processes_and_two_times() -> None:
    spans = Spans(nothing)
    ring = np.concatenate(
        [
            opened(1, 5, b"first", word0=11, word1=12),
            event(2, Kind.RSS, 5, 1),
            event(3, Kind.TRACE_CLOSE, 5, 1),
            opened(4, 5, b"second"),
            opened(5, 5, b"other process", tgid=9),
            event(6, Kind.RSS, 5, 4),
            event(7, Kind.WAIT, 5, 1),  # that began in the first
            event(8, Kind.RSS, 5, 5, tgid=9),
            event(9, Kind.RSS, 5, 77),  # of which nothing was told
            event(10, Kind.RSS, 0, 0),
        ]
    )
    events, added = spans.take_in(ring)
    assert not len(added)
    assert names(spans, events) == [
        *("first", "first", "second", "first", "other process", None, None)
    ]
    columns = spans.columns(events)
    assert columns.id.to_pylist()[:3] == [11, 11, None]
    assert columns.parent_id.to_pylist()[:3] == [12, 12, None]


def test_a_process_that_ends_leaves_open_ones() -> None:
    taken: list[tuple[int, int, int]] = []

    def take(tgid: int, image: int, span_id: int, born: int) -> State | None:
        taken.append((tgid, span_id, born))
        return State() if span_id == 1 else None

    spans = Spans(take)
    ring = np.concatenate(
        [
            opened(100, 1, b"a"),
            opened(110, 2, b"b", amount=5, flags=int(EventFlag.SINCE_SEEN)),
            opened(120, 3, b"closed"),
            event(130, Kind.TRACE_CLOSE, 3, 120),
            event(150, RecordCode.PROCESS_ENDED, 0, 0),
            opened(160, 4, b"of the next"),
        ]
    )
    _, added = spans.take_in(ring)
    assert taken == [(TGID, 1, 100), (TGID, 2, 110)]
    assert added["span_id"].tolist() == [1, 2]
    assert added["duration"].tolist() == [50, 40]
    assert added["word0"].tolist() == [40, 0]
    assert added["state"].tolist() == [3, 0]
    assert (added["flags"] & EventFlag.OPEN).all()
    assert spans.evicted == 1
    left = spans.unfinished(200)
    assert left["span_id"].tolist() == [4]
    assert left["duration"].tolist() == [40]


def test_closes_that_the_kernel_side_does_not_know() -> None:
    spans = Spans(nothing)
    ring = np.concatenate(
        [
            opened(100, 1, b"gave way", amount=6),
            event(150, RecordCode.UNKNOWN_CLOSE, 1, 0),
            event(160, RecordCode.UNKNOWN_CLOSE, 2, 0),
        ]
    )
    _, added = spans.take_in(ring)
    assert added[["span_id", "duration", "amount", "state"]].tolist() == [(1, 50, 6, 0)]
    assert not (added["flags"] & EventFlag.OPEN).any()
    assert (spans.evicted, spans.unknown_close) == (1, 1)


def test_long_names_end_with_a_whole_character() -> None:
    spans = Spans(nothing)
    texts = [
        b"x" * 62 + "é".encode(),
        b"x" * 61 + "é".encode(),
        b"y" * 80,
        b"\xff\xfe",
        b"",
        b"a\0b",
    ]
    ring = [part for n, text in enumerate(texts, 1) for part in
            (opened(n, n, text), event(50 + n, Kind.RSS, n, n))]  # fmt: skip
    events, _ = spans.take_in(np.concatenate(ring))
    assert names(spans, events) == [*("x" * 62, "x" * 61 + "é", "y" * 63, r"\xff\xfe", None, "a")]


@given(st.lists(st.tuples(st.integers(1, 40), st.booleans()), max_size=120), st.integers(1, 50))
def test_what_is_forgotten_is_null_and_never_wrong(
    steps: list[tuple[int, bool]], batch: int
) -> None:
    module_closed, module.MOST_CLOSED = module.MOST_CLOSED, 4
    try:
        spans = Spans(nothing)
        live: dict[int, int] = {}
        ring: list[np.ndarray[Any, Any]] = []
        told: list[str] = []
        for now, (span_id, close) in enumerate(steps, 1):
            if span_id not in live:
                live[span_id] = now
                ring.append(opened(now, span_id, f"{span_id}@{now}".encode()))
            born = live[span_id]
            ring.append(event(now, Kind.TRACE_CLOSE if close else Kind.RSS, span_id, born))
            told.append(f"{span_id}@{born}")
            if close:
                del live[span_id]
        at = 0
        for start in range(0, len(ring), batch):
            events, added = spans.take_in(np.concatenate(ring[start : start + batch]))
            assert not len(added)
            assert names(spans, events) == told[at : at + len(events)]
            at += len(events)
            spans.drop_old()
        assert sorted(spans.unfinished(10**6)["span_id"].tolist()) == sorted(live)
    finally:
        module.MOST_CLOSED = module_closed
