from __future__ import annotations

import numpy as np
import pyarrow as pa
from hypothesis import given
from hypothesis import strategies as st

from stacks_tui.enrich import timeline
from stacks_tui.enrich.processes import readable
from stacks_tui.enrich.timeline import ABSENT, PID_LIMIT, UNKNOWN, Timeline

PIDS = (1, 2, 3, 77, PID_LIMIT - 1)
TIMES = st.integers(1, 40)


def expected(changes: list[tuple[int, int, str | None]], time: int, pid: int) -> str | None:
    """One event by one event: the last change before it; before the first, the first."""
    mine = [(when, name) for when, who, name in changes if who == pid]
    before = [name for when, name in mine if when <= time]
    if before:
        return before[-1]
    return mine[0][1] if mine else None


@given(
    changes=st.lists(
        st.tuples(TIMES, st.sampled_from(PIDS), st.sampled_from(["a", "b", "c", "d", None]))
    ),
    events=st.lists(st.tuples(TIMES, st.sampled_from((*PIDS, 5, 4_294_967_295))), max_size=60),
    horizon=st.integers(0, 20),
)
def test_codes_are_those_of_a_model_event_by_event(
    changes: list[tuple[int, int, str | None]], events: list[tuple[int, int]], horizon: int
) -> None:
    changes.sort(key=lambda change: change[0])
    line: Timeline[str] = Timeline(pa.string())
    for time, pid, name in changes:
        line.change(pid, time, line.code(name))
    line.forget_before(horizon)
    events = [event for event in events if event[0] >= horizon]
    times = np.array([time for time, _ in events], np.uint64)
    pids = np.array([pid for _, pid in events], np.uint32)
    found = line.array(line.codes(times, pids)).to_pylist()
    told = {pid for _, pid, _ in changes}
    for (time, pid), name in zip(events, found, strict=True):
        if pid in told:
            assert name == expected(changes, time, pid), (time, pid)
        elif pid < PID_LIMIT - 1:
            assert name is None


def test_times_of_a_real_clock_and_a_change_within_a_batch() -> None:
    line: Timeline[str] = Timeline(pa.string())
    day = 86_400 * 10**9
    line.change(5, day, line.code("old"))
    line.change(5, day + 1000, line.code("new"))
    times = np.array([0, day - 1, day, day + 999, day + 1000, day + 1001, 10 * day], np.uint64)
    codes = line.codes(times, np.full(7, 5, np.uint32))
    names = line.array(codes).to_pylist()
    assert names == ["old", "old", "old", "old", "new", "new", "new"]


def test_what_is_learned_holds_for_the_unknown_stretch_only() -> None:
    line: Timeline[bytes] = Timeline(pa.binary())
    line.change(9, 10, line.code(b"first"))
    line.change(9, 20, UNKNOWN)
    times, pids = np.array([15, 25], np.uint64), np.array([9, 9], np.uint32)
    codes = line.codes(times, pids)
    assert line.unknown(codes, pids) == [9]
    line.learn(9, line.code(b"second"))
    line.learn(9, line.code(b"third"))
    assert line.array(line.codes(times, pids)).to_pylist() == [b"first", b"second"]
    line.change(9, 30, ABSENT)
    assert line.array(line.codes(np.array([35], np.uint64), pids[:1])).to_pylist() == [None]


def test_a_forgotten_pid_is_unknown() -> None:
    line: Timeline[str] = Timeline(pa.string())
    line.change(9, 10, line.code("a"))
    line.change(9, 20, line.code("b"))
    line.forget(9)
    pids = np.array([9, 9], np.uint32)
    codes = line.codes(np.array([15, 25], np.uint64), pids)
    assert line.unknown(codes, pids) == [9]


def test_changes_are_not_kept_past_the_horizon() -> None:
    line: Timeline[str] = Timeline(pa.string())
    for n in range(1000):
        line.change(n % 7, n, line.code(f"name{n}"))
    line.forget_before(990)
    assert len(line._changes) == 10
    assert len(line._log) <= 7


def test_dictionaries_hold_what_occurs_and_few_more() -> None:
    line: Timeline[str] = Timeline(pa.string())
    many = 3000
    for pid in range(many):
        line.change(pid, 1, line.code(f"n{pid}"))
    for pids in (np.arange(0, many, 2), np.array([7, 2999, 7, 3100])):
        times = np.full(len(pids), 5, np.uint64)
        array = line.array(line.codes(times, pids.astype(np.uint32)))
        array.validate(full=True)
        assert array.to_pylist() == [f"n{pid}" if pid < many else None for pid in pids]
        assert len(array.dictionary) <= len(set(pids.tolist()))


def test_names_nobody_has_any_more_are_given_back() -> None:
    line: Timeline[str] = Timeline(pa.string())
    line.change(1, 1, line.code("stays"))
    for n in range(timeline._MOST + 10):
        line.change(2, n, line.code(f"n{n}"))
    line.change(3, 5, line.code("stays too"))
    line.forget_before(timeline._MOST + 5)
    assert len(line._values) < 20
    pids = np.array([1, 2, 3], np.uint32)
    last = f"n{timeline._MOST + 9}"
    times = np.full(3, 1 << 40, np.uint64)
    assert line.array(line.codes(times, pids)).to_pylist() == ["stays", last, "stays too"]
    assert line.code("stays") == line.current(1)


def test_hostile_names_become_valid_text() -> None:
    line: Timeline[str] = Timeline(pa.string(), readable)
    raw = b"\xff\x1b]8;;\n'\"".decode("utf-8", "surrogateescape")
    line.change(1, 1, line.code(raw))
    array = line.array(line.codes(np.array([1], np.uint64), np.array([1], np.uint32)))
    array.validate(full=True)
    assert array.to_pylist() == ["\\xff\x1b]8;;\n'\""]
    assert line.value(line.current(1)) == raw
