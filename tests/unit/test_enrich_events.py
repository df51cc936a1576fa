from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from stacks_tui.capture.sideband import Comm, Fork
from stacks_tui.enrich.clock import Clock
from stacks_tui.enrich.events import EventBatches
from stacks_tui.enrich.spans import Spans
from stacks_tui.enrich.tasks import Tasks
from stacks_tui.kinds import Kind
from stacks_tui.records import EVENT, EventFlag
from stacks_tui.schema import EVENTS

OFFSET = 1_700_000_000_000_000_000
PID = 4_000_000
STATES: dict[int, str] = {0: "running", 1: "sleeping", 2: "disk", 4: "stopped", 8: "traced"}


@pytest.fixture(scope="module")
def batches() -> EventBatches:
    tasks = Tasks()
    tasks.apply([Fork(1, PID, 1, PID, 1), Comm(2, PID, PID, "main", True)])
    tasks.apply([Fork(3, PID, PID, PID + 1, PID), Comm(4, PID, PID + 1, "worker", False)])
    return EventBatches(tasks, Spans(lambda *span: None), Clock(OFFSET, 0))


WORD = st.sampled_from([0, 1, 1 << 63, (1 << 64) - 1, 12345])
RECORD = st.fixed_dictionaries(
    {
        "time": st.integers(5, 1 << 50),
        "duration": WORD,
        "amount": WORD,
        "ustack": WORD,
        "kstack": WORD,
        "span_id": WORD,
        "word0": WORD,
        "word1": WORD,
        "tgid": st.just(PID),
        "pid": st.sampled_from([PID, PID + 1]),
        "waker": st.sampled_from([0, 7]),
        "state": st.sampled_from(list(STATES)),
        "cpu": st.integers(0, 65535),
        "kind": st.sampled_from(list(Kind)).map(int),
        "flags": st.integers(0, 63),
    }
)


def model(one: dict[str, int]) -> dict[str, Any]:
    """One row, by the contract, field by field."""
    kind = Kind(one["kind"])
    switched = kind in (Kind.SWITCH, Kind.WAIT)
    state = "preempted" if one["flags"] & EventFlag.PREEMPTED else STATES[one["state"]]
    wait, close = kind == Kind.WAIT, kind == Kind.TRACE_CLOSE
    trace = close or kind == Kind.TRACE_EXIT
    delta = one["word0"] - (1 << 64 if one["word0"] >> 63 else 0)
    return {
        "timestamp": one["time"] + OFFSET,
        "duration": one["duration"],
        "kind": kind.label,
        "cpu": one["cpu"],
        "tgid": PID,
        "pid": one["pid"],
        "command": "main",
        "thread": "main" if one["pid"] == PID else "worker",
        "span_id": one["span_id"] or None,
        "parent_id": None,
        "id": None,
        "amount": one["amount"],
        "trace_name": None,
        "buildid": None,
        "state": state if switched else None,
        "delta": delta if kind == Kind.RSS else None,
        "waker": (one["waker"] or None) if wait else None,
        "open": bool(one["flags"] & EventFlag.OPEN) if wait or close else None,
        "ustack": one["ustack"] or None,
        "kstack": one["kstack"] or None,
        "wstack": (one["word0"] or None) if wait else None,
        "busy": one["word0"] if close and one["state"] else None,
        "enters": (one["state"] or None) if close else None,
        "waker_span": (one["word1"] or None) if wait else None,
        "since_seen": bool(one["flags"] & EventFlag.SINCE_SEEN) if trace else None,
    }


@given(st.lists(RECORD, max_size=40))
def test_rows_are_those_of_a_model_row_by_row(
    batches: EventBatches, rows: list[dict[str, int]]
) -> None:
    events = np.zeros(len(rows), EVENT)
    for at, one in enumerate(rows):
        for name, value in one.items():
            events[at][name] = value
    batch = batches.arrow(events)
    batch.validate(full=True)
    assert batch.schema == EVENTS
    assert batch.to_pylist() == [model(one) for one in rows]


def test_a_part_of_a_batch_is_as_the_whole(batches: EventBatches) -> None:
    events = np.zeros(1000, EVENT)
    events["time"] = np.arange(1000)
    events["kind"] = np.arange(1000) % 14 + 1
    events["tgid"] = events["pid"] = PID
    events["word0"] = np.arange(1000)
    whole = batches.arrow(events).to_pylist()
    assert batches.arrow(events[::3]).to_pylist() == whole[::3]
    events[:] = np.zeros(1, EVENT)  # a batch doesn't look at the records again
    assert whole[500]["timestamp"] == OFFSET + 500


@pytest.mark.parametrize(
    ("state", "flags", "text"),
    [
        (0, 0, "running"),
        (0, EventFlag.PREEMPTED, "preempted"),
        (1, EventFlag.PREEMPTED, "preempted"),
        (1, 0, "sleeping"),
        (0x2001, 0, "sleeping"),  # freezable
        (0x102, 0, "disk"),  # killable
        (0x402, 0, "idle"),
        (0x1000, 0, "disk"),  # a lock under PREEMPT_RT
        (0x10, 0, "exiting"),
        (0x20, 0, "exiting"),
        (0x80, 0, "dead"),
        (0x40, 0, "parked"),
        (0x44, 0, "stopped"),
        (0x8000, 0, "frozen"),
        (0x104, 0, "stopped"),
        (0x108, 0, "traced"),
        (0x800, 0, "other"),
    ],
)
def test_why_it_left(batches: EventBatches, state: int, flags: int, text: str) -> None:
    events = np.zeros(1, EVENT)
    events["kind"], events["state"], events["flags"] = Kind.SWITCH, state, flags
    assert batches.arrow(events)["state"].to_pylist() == [text]


@pytest.mark.parametrize("kind", [0, 15, 255])
def test_a_code_that_is_no_kind_is_refused(batches: EventBatches, kind: int) -> None:
    events = np.zeros(2, EVENT)
    events["kind"] = [1, kind]
    with pytest.raises(ValueError, match=f"unknown kind {kind}"):
        batches.arrow(events)
