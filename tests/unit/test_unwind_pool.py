"""The allocator never gives one element twice, never crosses a chunk, and joins what is free."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from stacks_tui.unwind.pool import Extent, Pool

CHUNK = 64


def test_all_of_it_can_be_taken_and_is_whole_again_when_given_back() -> None:
    pool = Pool(3, CHUNK, 4)
    taken = [pool.take(4) for _ in range(3 * CHUNK // 4)]
    assert None not in taken
    assert pool.take(1) is None
    assert pool.used == pool.total == 3 * CHUNK
    for extent in taken[::2] + taken[1::2]:
        assert extent is not None
        pool.give(extent)
    assert pool.used == 0
    assert [pool.take(CHUNK) is not None for _ in range(4)] == [True, True, True, False]


def test_best_fit_keeps_the_large_extents_whole() -> None:
    pool = Pool(2, CHUNK, 1)
    first, gap, rest = pool.take(10), pool.take(8), pool.take(CHUNK - 18)
    assert first is not None
    assert gap is not None
    assert rest is not None
    pool.give(gap)
    assert pool.take(8) == gap
    assert pool.take(CHUNK) == Extent(1 if first.chunk == 0 else 0, 0, CHUNK)


def test_pieces_are_few_and_not_small() -> None:
    pool = Pool(3, CHUNK, 1)
    pieces = pool.take_pieces(2 * CHUNK + 10, 16)
    assert pieces is not None
    assert [piece.count for piece in pieces] == [CHUNK, CHUNK, 10]
    assert pool.take_pieces(CHUNK, 16) is None
    assert pool.used == 2 * CHUNK + 10, "what was taken for nothing is free again"


@given(
    st.lists(st.tuples(st.booleans(), st.integers(1, 2 * CHUNK), st.integers(0, 99)), max_size=80)
)
def test_against_a_plain_set_of_elements(steps: list[tuple[bool, int, int]]) -> None:
    pool = Pool(3, CHUNK, 4)
    owner: dict[tuple[int, int], int] = {}
    held: dict[int, Extent] = {}
    for number, (take, count, which) in enumerate(steps):
        if take:
            extent = pool.take(min(count, CHUNK))
            if extent is None:
                continue
            assert extent.count == min(count, CHUNK)
            held[number] = extent
            for at in range(extent.first, extent.first + extent.count):
                assert 0 <= at < CHUNK
                assert (extent.chunk, at) not in owner
                owner[extent.chunk, at] = number
        elif held:
            number = sorted(held)[which % len(held)]
            pool.give(held.pop(number))
            owner = {place: other for place, other in owner.items() if other != number}
        assert pool.used == sum(-(-extent.count // 4) * 4 for extent in held.values())
    for extent in held.values():
        pool.give(extent)
    assert all(pool.take(CHUNK) is not None for _ in range(3))
