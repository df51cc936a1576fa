"""Events by column are the same events."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
import pytest

from stacks_tui.columns import WORDS, EventBuffer, EventColumns, by_column, joined
from stacks_tui.records import EVENT


def some(count: int, seed: int = 1) -> npt.NDArray[np.void]:
    raw = np.random.default_rng(seed).integers(0, 256, count * EVENT.itemsize, dtype=np.uint8)
    return raw.view(EVENT)


def same(columns: EventColumns, records: npt.NDArray[np.void]) -> bool:
    fields = EVENT.names or ()
    return (
        len(columns) == len(records)
        and all(np.array_equal(columns[name], records[name]) for name in fields)
        and columns.records().tobytes() == records.tobytes()
    )


def test_every_field_of_every_event() -> None:
    records = some(1000)
    columns = by_column(records)
    assert same(columns, records)
    assert by_column(columns) is columns
    assert all(columns[name].flags.c_contiguous for name in EVENT.names or ())


def test_parts_of_them() -> None:
    records = some(1000)
    columns = by_column(records)
    assert same(columns[10:20], records[10:20])
    assert same(columns[np.array([5, 3, 3])], records[[5, 3, 3]])
    chosen = records["kind"] > 100
    assert same(columns[chosen], records[chosen])
    assert same(joined([columns[:10], columns[990:]]), records[np.r_[0:10, 990:1000]])
    assert same(columns[:0], records[:0])


@pytest.mark.parametrize("count", [0, 1, 30, 100])
def test_a_buffer_gives_what_was_added_and_is_empty_then(count: int) -> None:
    buffer = EventBuffer(100)
    given = []
    for seed in range(3):
        records = some(count, seed)
        rows = records.view(np.uint64).reshape(-1, WORDS)
        for at in range(0, count, 7):
            buffer.add(rows[at : at + 7])
        assert same(buffer.newest(count), records)
        given.append((buffer.take(), records))
        assert (buffer.count, buffer.room) == (0, 100)
    for columns, records in given:  # what was taken is not written over
        assert same(columns, records)


def test_the_newest_event_can_be_taken_back() -> None:
    records = some(5)
    buffer = EventBuffer(8)
    buffer.add(records.view(np.uint64).reshape(-1, WORDS))
    buffer.drop_last()
    assert same(buffer.take(), records[:4])
