"""Where Python frames go among native ones: by address, all of them or none."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from hypothesis import given
from hypothesis import strategies as st

from stacks_tui.python.merge import MARK, merge
from stacks_tui.records import PYTHON_PAIR

BASE = 0x7FFD_FFFF_FF00
"""The low halves of addresses from here on wrap around."""


def pairs(*entries: int | None) -> npt.NDArray[np.void]:
    """None: a frame. A number: a mark at that distance from BASE."""
    made = np.zeros(len(entries), PYTHON_PAIR)
    for at, entry in enumerate(entries):
        low = BASE + entry & 0xFFFFFFFF if entry is not None else 0
        made[at] = (at + 1, 8) if entry is None else (0, MARK | low)
    return made


def pointers(*heights: int) -> list[int]:
    return [BASE + height & 0xFFFFFFFF for height in heights]


def shown(heights: Sequence[int], *entries: int | None) -> str | None:
    """`n3` is the native frame 3, `p1` the pair 1."""
    merged = merge(pointers(*heights), pairs(*entries))
    if merged is None:
        return None
    return " ".join(f"{'p' if place.python else 'n'}{place.index}" for place in merged.places)


def test_frames_replace_the_loop_that_has_their_mark() -> None:
    assert shown([0, 100, 300, 400, 900], None, None, 150) == "n0 p0 p1 n2 n3 n4"
    assert shown([0, 100, 300, 400, 900], None, 120, None, None, 420) == "n0 p0 n2 p2 p3 n4"


def test_a_mark_belongs_to_the_frame_that_begins_at_or_below_it() -> None:
    assert shown([0, 100, 300, 900], None, 100) == "n0 p0 n2 n3"
    assert shown([0, 100, 300, 900], None, 299) == "n0 p0 n2 n3"
    assert shown([0, 100, 300, 900], None, 300) == "n0 n1 p0 n3"


def test_a_loop_without_frames_stays() -> None:
    assert shown([0, 100, 300, 900], 50, None, 350) == "n0 n1 p1 n3"
    merged = merge(pointers(0, 100, 300, 900), pairs(50, None, 350))
    assert merged is not None and merged.loops == {0, 2}


def test_what_is_not_certain_is_not_merged() -> None:
    heights = [0, 100, 300, 900]
    assert shown(heights, None, None) is None, "no mark ends the chain"
    assert shown(heights, None, 150, None) is None, "nor this one"
    assert shown(heights, None, 150, None, 170) is None, "two loops in one frame"
    assert shown(heights, None, 350, None, 150) is None, "a caller below its callee"
    assert shown(heights, None, 950) is None, "the outermost frame is no loop"
    assert shown(heights, None, -20) is None, "below the stack"
    assert shown([0, 300, 100, 900], None, 150) is None, "more than one stack"
    assert shown([], None, 150) is None
    assert shown(heights) is None


@given(
    st.lists(st.integers(0, 1 << 32), max_size=12),
    st.lists(st.none() | st.integers(-(1 << 31), 1 << 33), max_size=12),
)
def test_each_frame_stands_once_and_in_order(heights: list[int], entries: list[int | None]) -> None:
    merged = merge(pointers(*heights), pairs(*entries))
    if merged is None:
        return
    native = [place.index for place in merged.places if not place.python]
    python = [place.index for place in merged.places if place.python]
    assert python == [at for at, entry in enumerate(entries) if entry is None]
    assert native == sorted(set(native))
    gone = set(range(len(heights))) - set(native)
    assert gone <= merged.loops
