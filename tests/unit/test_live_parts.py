"""Parts of the live model by themselves: keys, reasons, filters, the timeline's steps, stacks."""

from __future__ import annotations

import re

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from live_events import story

from stacks_tui.errors import UsageError
from stacks_tui.kinds import Kind
from stacks_tui.live.cells import NONE, OTHER, OTHER_PID, UNNAMED
from stacks_tui.live.filters import LONGEST, Term, parse
from stacks_tui.live.keys import KEY, Keys, binned, coarser, keys_of
from stacks_tui.live.rhythm import MOST_STEPS, Rhythm, gauges
from stacks_tui.live.stacks import NO_PYTHON_STACK, OTHER_ID, Place, StackTable
from stacks_tui.live.terms import also
from stacks_tui.live.totals import span_of
from stacks_tui.live.view import ALL, Window
from stacks_tui.python.shown import MODULE, Shown
from stacks_tui.reasons import NO_STACK, PREEMPTED, UNKNOWN, reason


def test_equal_keys_have_one_number_and_different_ones_two() -> None:
    events = story(30_000, 5, stacks=3000).events
    keys = Keys()
    first = keys.of_events(events)
    assert np.array_equal(first, keys.of_events(events))
    told = keys_of(events)
    assert np.array_equal(keys.table[first], told)
    distinct = {key.tobytes() for key in told}
    assert len(np.unique(first)) == len(keys)
    assert len(keys) == len(distinct)


def test_keys_survive_growing_and_forgetting() -> None:
    events = story(30_000, 5, seed=2, stacks=3000).events
    keys = Keys()
    for at in range(0, len(events), 999):
        keys.of_events(events[at : at + 999].copy())
    ids = keys.of_events(events)
    used = np.zeros(keys.capacity, np.bool_)
    used[ids[:5000]] = True
    renamed = keys.keep(used)
    assert len(keys) == len(np.unique(ids[:5000]))
    assert np.array_equal(renamed[ids[:5000]], keys.of_events(events[:5000]))
    assert np.array_equal(keys.table[renamed[ids[:5000]]], keys_of(events[:5000]))


def test_spilled_keys_are_found_again() -> None:
    keys = Keys()
    events = story(2000, 2, stacks=500).events
    keys._slot_hash[:] = 1  # every slot is taken by a hash that none has
    ids = keys.of_events(events)
    assert len(keys._spilled) == len(keys) > 0
    assert np.array_equal(ids, keys.of_events(events))
    assert np.array_equal(keys.table[ids], keys_of(events))


@given(st.integers(0, 2**50))
def test_bins_are_powers_of_two(value: int) -> None:
    (found,) = binned(np.array([value], np.uint64)).tolist()
    assert found == max(value.bit_length() - 1, 0)


def test_coarser_keys_mark_what_they_leave_out() -> None:
    key = np.zeros(1, KEY)
    key["kind"], key["ustack"], key["tgid"], key["pid"] = Kind.WAIT, 5, 7, 8
    key["duration_bin"], key["amount_bin"], key["waker"] = 3, NONE, 9
    first = coarser(key, 1)[0]
    assert (first["duration_bin"], first["amount_bin"]) == (OTHER, NONE)
    assert (first["waker"], first["wstack"], first["ustack"]) == (OTHER_PID, 0, 5)
    assert coarser(key, 2)[0]["ustack"] == OTHER_ID
    assert coarser(key, 2)[0]["pid"] == 8
    assert coarser(key, 3)[0]["pid"] == OTHER_PID
    assert (coarser(key, 3)[0]["tgid"], coarser(key, 4)[0]["tgid"]) == (7, 0)
    assert key["ustack"] == 5


@pytest.mark.parametrize(
    ("names", "state", "told"),
    [
        ("futex_do_wait __futex_wait", "", "futex (lock or condition)"),
        ("schedule_hrtimeout_range_clock ep_poll", "", "epoll"),
        ("schedule_hrtimeout_range poll_schedule_timeout.constprop.0", "", "poll"),
        ("do_nanosleep hrtimer_nanosleep", "", "sleep"),
        ("anon_pipe_read vfs_read", "", "pipe"),
        ("schedule_timeout wait_woken sk_wait_data tcp_recvmsg", "", "socket"),
        ("schedule_timeout unix_stream_read_generic", "", "unix socket"),
        ("io_schedule folio_wait_bit_common filemap_read", "disk", "disk"),
        ("do_wait kernel_wait4 __x64_sys_wait4", "", "child process"),
        ("rwsem_down_write_slowpath down_write vm_mmap_pgoff", "", "kernel lock"),
        ("schedule_timeout wait_for_completion jbd2_log_wait_commit", "", "sync to disk"),
        ("made_up_wait __x64_sys_flock", "", "file lock"),
        ("made_up_wait", "", UNKNOWN),
        ("futex_wait", "preempted", PREEMPTED),
    ],
)
def test_reasons_of_waits(names: str, state: str, told: str) -> None:
    assert reason(["__schedule", "schedule", *names.split()], state) == told


@pytest.mark.parametrize(("state", "told"), [("sleeping", NO_STACK), ("disk", "disk")])
def test_reasons_without_a_stack(state: str, told: str) -> None:
    assert reason([], state) == told


@given(st.lists(st.text()), st.text())
def test_any_names_have_some_reason(names: list[str], state: str) -> None:
    assert reason(names, state)


def test_the_terms_of_a_filter() -> None:
    assert parse('  js::Run !process:"web server" frame:/^a b\\/c/ thread:x span:y') == (
        Term("js::Run"),
        Term("web server", exclude=True, field="process"),
        Term("^a b\\/c", regex=True, field="frame"),
        Term("x", field="thread"),
        Term("y", field="span"),
    )
    assert parse('frame=read !module="a b" frame=""') == (
        Term("read", field="frame", whole=True),
        Term("a b", exclude=True, field="module", whole=True),
    )
    assert parse('""') == parse("  ") == ()
    assert parse("!") == (Term("!"),)
    assert parse("/usr/lib") == (Term("/usr/lib"),)
    assert parse("other:thing") == (Term("other:thing"),)


@pytest.mark.parametrize(
    "label",
    ["main", "operator new(unsigned long)", 'a "b" c', "x/y[z]*", "/usr/x/", "/x/", "=", "a\tb"],
)
def test_a_row_becomes_a_term_that_finds_it(label: str) -> None:
    (term,) = parse(also("", "frame", label))
    assert term.field == "frame"
    if term.regex:
        assert re.fullmatch(term.text, label)
    else:
        assert (term.text, term.whole) == (label, True)
    assert also(also("x", "frame", label), "frame", label) == also("x", "frame", label)


@pytest.mark.parametrize("text", ["/[/", "frame:/a{2,1}/", "/(?P<x/", "x" * (LONGEST + 1)])
def test_wrong_filters_are_told(text: str) -> None:
    with pytest.raises(UsageError, match=r"\.$"):
        parse(text)


@given(st.text())
def test_any_text_is_a_filter_or_is_told(text: str) -> None:
    try:
        parse(text)
    except UsageError as error:
        assert "\n" not in str(error).replace(text, "")


def test_a_long_timeline_has_longer_steps_and_loses_nothing() -> None:
    rhythm = Rhythm()
    ones = np.ones(1, np.int64)
    seconds = 5 * MOST_STEPS
    for second in range(seconds):
        rhythm.add(100 + second, np.array([Kind.VFS_READ], np.uint8), (ones, ones, 3 * ones))
    found = rhythm.timeline()
    assert (found.begin, found.step_s) == (100 * 10**9, 8)
    (strip,) = found.strips
    assert (strip.kind, strip.unit) == ("vfs_read", "bytes")
    assert len(strip.values) <= MOST_STEPS
    assert (sum(strip.values), sum(strip.counts)) == (3 * seconds, seconds)
    assert set(strip.counts[:-1]) == {8}
    last = rhythm.seconds(100 + seconds, 60)
    assert last.shape[2] == 60 and last[0, Kind.VFS_READ].sum() == 60


def test_gauges_are_rates() -> None:
    past = np.zeros((3, 32, 2), np.int64)
    past[1, Kind.PROFILE] = [10**9, 3 * 10**9]
    past[1, Kind.WAIT], past[2, Kind.WAIT] = [10, 5 * 10**9], [0, 2 * 10**9]
    past[2, Kind.UDP_SEND] = [0, 700]
    kinds = frozenset({Kind.PROFILE, Kind.WAIT})
    found = {one.name: one for one in gauges(past, 2.0, (5.0, 9.0), kinds, whole=False)}
    assert (found["cpu"].value, found["cpu"].past) == (1.5, (0.5, 1.5))
    assert (found["blocked"].value, found["runnable"].value) == (1.5, 1.0)
    assert (found["rss"].value, found["rss"].measured) == (9.0, False)
    assert (found["sent"].value, found["sent"].measured) == (350.0, False)
    assert gauges(past, 2.0, (), kinds, whole=True)[0].value == 1.0


def test_windows_become_seconds() -> None:
    assert span_of(ALL, 100, 250) == (100, 251)
    assert span_of(Window(10), 100, 250) == (241, 251)
    assert span_of(Window(60), 200, 250) == (200, 251)
    assert span_of(Window(600), 0, 1234) == (630, 1235)
    assert span_of(Window(5, 10**9 + 1, 2 * 10**9 + 1), 0, 9) == (1, 3)


def test_a_stack_of_python_has_three_paths() -> None:
    read, handle, loop, main = (
        Place("read", "/libc"), Place("handle", MODULE, "h.py", 9), Place("loop", "/python"),
        Place("main", "/python"),
    )  # fmt: skip
    table = StackTable()
    table.add(
        5,
        [read, handle, main],
        complete=True,
        truncated=False,
        unresolved=False,
        native=[read, loop, main],
    )
    for one in (table, table.keep(np.array([5], np.uint64))):
        rows = one.rows(np.array([5], np.uint64))
        shown = {
            Shown.MERGED: [read, handle, main],
            Shown.PYTHON: [handle],
            Shown.NATIVE: [read, loop, main],
        }
        for how, places in shown.items():
            assert one.places(int(rows[0]), how) == places
            frames = one.path(int(one.paths(rows, how)[0])).tolist()
            assert [one.names[frame] for frame in frames] == [place.name for place in places]


def test_stacks_are_kept_once_and_forgotten_together() -> None:
    table = StackTable()
    leaf, main = Place("leaf", "/a", "a.c", 3), Place("main", "/a")
    table.add(5, [leaf, main], complete=True, truncated=False, unresolved=False)
    moved = Place("leaf", "/a", "a.c", 9)
    table.add(6, [moved, main], complete=False, truncated=True, unresolved=True)
    table.add(5, [main], complete=False, truncated=False, unresolved=False)
    rows = table.rows(np.array([5, 6, 0, OTHER_ID, 77], np.uint64))
    assert rows.tolist()[2:] == [NONE, OTHER, UNNAMED]
    paths = table.paths(rows)
    assert paths[0] == paths[1]  # one path, though the lines differ
    assert table.places(int(rows[0])) == [leaf, main]
    assert table.places(int(rows[1])) == [moved, main]
    assert table.marks(rows).tolist() == [1, 6, 0, 0, 0]
    kept = table.keep(np.array([6, 77], np.uint64))
    assert len(kept) == 1
    assert kept.places(int(kept.rows(np.array([6], np.uint64))[0])) == [moved, main]
    assert kept.rows(np.array([5], np.uint64)).tolist() == [UNNAMED]
    assert table.paths(rows[:1], Shown.NATIVE).tolist() == paths[:1].tolist()
    assert table.paths(rows[:1], Shown.PYTHON).tolist() == [NO_PYTHON_STACK]
    again = StackTable()
    number = again.frame("leaf", "/a")
    assert again.key([number]) == table.key([table.frame("leaf", "/a")])
    assert again.key([number]) != again.key([again.frame("leaf", "/b")])
