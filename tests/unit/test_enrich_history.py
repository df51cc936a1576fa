from __future__ import annotations

import os
import time

from hypothesis import given
from hypothesis import strategies as st

from stacks_tui.enrich import history
from stacks_tui.enrich.history import SpaceHistory
from stacks_tui.spaces import AddressSpace, Mapping, make_space

NOBODY = 1 << 22  # larger than any pid


def mapping(start: int, end: int, path: str = "/lib/x.so") -> Mapping:
    return Mapping(start, end, 0, path)


def paths(space: AddressSpace | None) -> list[str]:
    assert space is not None
    return [one.path for one in space.mappings]


def test_exec_begins_anew_and_the_past_stays() -> None:
    one = SpaceHistory(NOBODY)
    one.exec(10)
    one.map(11, mapping(0, 4, "/bin/sh"))
    one.map(12, mapping(4, 8, "/lib/c"))
    one.exec(20)
    one.map(21, mapping(0, 4, "/bin/true"))
    assert paths(one.at(11)) == ["/bin/sh"]
    assert paths(one.at(19)) == ["/bin/sh", "/lib/c"]
    assert paths(one.at(20)) == []
    assert paths(one.at(99)) == ["/bin/true"]
    before, after = one.at(19), one.at(21)
    assert before is not None
    assert after is not None
    assert before.generation != after.generation
    assert before.tgid == after.tgid == NOBODY


def test_a_child_has_what_the_parent_had_then() -> None:
    parent = SpaceHistory(NOBODY)
    parent.exec(1)
    parent.map(2, mapping(0, 4, "/a"))
    child = SpaceHistory(NOBODY + 1, 5, parent)
    grandchild = SpaceHistory(NOBODY + 2, 6, child)
    parent.map(7, mapping(4, 8, "/b"))
    child.map(8, mapping(8, 12, "/c"))
    assert paths(child.at(9)) == ["/a", "/c"]
    assert paths(grandchild.at(9)) == ["/a"]
    assert paths(parent.at(9)) == ["/a", "/b"]
    found = grandchild.at(9)
    assert found is not None
    assert found.tgid == NOBODY + 2


def test_a_late_mapping_takes_its_place_in_time() -> None:
    one = SpaceHistory(NOBODY)
    one.exec(1)
    one.map(10, mapping(0, 4, "/newer"))
    assert paths(one.at(20)) == ["/newer"]
    one.map(5, mapping(0, 4, "/older"))
    assert paths(one.at(7)) == ["/older"]
    assert paths(one.at(20)) == ["/newer"]


def test_what_ran_before_is_read_when_asked_for() -> None:
    me = SpaceHistory(os.getpid())
    me.map(1, mapping(0, 4096, "/long/gone"))
    space = me.at(time.monotonic_ns())
    assert space is not None
    assert any("libc" in one.path for one in space.mappings)
    assert "/long/gone" not in paths(space)
    assert list(space.starts) == sorted(one.start for one in space.mappings)
    me.map(2, mapping(0, 4096, "/told/before"))  # older than the reading: nothing new
    assert me.at(time.monotonic_ns()) == space
    now = time.monotonic_ns()
    me.map(now, mapping(0, 4096, "/new"))
    assert paths(me.at(now))[0] == "/new"
    child = SpaceHistory(NOBODY, now, me)
    assert paths(child.at(now)) == paths(me.at(now))


def test_an_exec_told_after_the_reading_is_no_second_one() -> None:
    me = SpaceHistory(os.getpid())
    told = time.monotonic_ns()
    first = me.at(told)
    assert first is not None
    me.exec(told)
    second = me.at(told)
    assert second is not None
    assert second.mappings == first.mappings
    assert second.generation > first.generation


def test_nothing_known_is_none() -> None:
    assert SpaceHistory(NOBODY).at(5) is None
    assert SpaceHistory(NOBODY, alive=False).at(5) is None


@given(
    st.lists(st.tuples(st.integers(0, 30), st.integers(1, 12)), max_size=40),
    st.lists(st.integers(0, 45), max_size=10),
)
def test_spaces_are_those_of_single_steps(ranges: list[tuple[int, int]], asked: list[int]) -> None:
    """In whatever order times are asked for, a space is what one mapping after another made."""
    one = SpaceHistory(NOBODY)
    one.exec(0)
    space = make_space(NOBODY, 0, [])
    steps = [space]
    for time_, (start, length) in enumerate(ranges, 1):
        new = mapping(start, start + length, f"/{time_}")
        one.map(time_, new)
        space = space.with_mapping(new)
        steps.append(space)
    for when in asked:
        found = one.at(when)
        assert found is not None
        wanted = steps[min(when, len(ranges))]
        assert found.mappings == wanted.mappings
        assert found.starts == wanted.starts


def test_memory_is_bounded_and_the_present_right() -> None:
    one = SpaceHistory(NOBODY)
    one.exec(0)
    for when in range(1, 2000):
        one.map(when, mapping(when % 10 * 4, when % 10 * 4 + 4, f"/{when}"))
        one.forget_before(when - 20)
    epoch = one._epochs[-1]
    assert len(epoch.log) <= history._FOLD + 21
    assert sorted(paths(one.at(1999))) == [f"/{n}" for n in range(1990, 2000)]
    assert sorted(paths(one.at(1985))) == [f"/{n}" for n in range(1976, 1986)]
    for when in range(2000, 2100):
        one.exec(when)
        one.forget_before(when - 5)
    assert len(one._epochs) <= 7
