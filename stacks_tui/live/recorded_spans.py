"""The spans of a recording, as a running session's book gives them.

Comes in: an open `Recording` and a span of time. Goes out: a `SpanSlice`.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pyarrow as pa

from stacks_tui.live.book import MOST_OPEN
from stacks_tui.live.cells import NONE
from stacks_tui.live.instances import (
    COSTS,
    INSTANCE,
    KEPT_OF_NAME,
    WITHIN,
    Durations,
    Instances,
    Ints,
    SpanSlice,
    Within,
    added,
    joined_costs,
)
from stacks_tui.store.reader import Recording


def read_spans(
    recording: Recording,
    begin: int,
    end: int,
    until: int,
    number: Callable[[str], int],
    *,
    children: bool,
) -> SpanSlice:
    """The spans of a span of time, ns since the Unix epoch.

    Args:
        recording: whose.
        begin: of the span.
        end: exclusive.
        until: up to which the open ones last.
        number: gives the place of a name in the list of span names.
        children: with the costs of what lies in them.
    """
    table = recording.ask("screen/span_bins", begin=begin, end=end)
    columns = [_numbers(table.column("tgid")), _names(table.column("name"), number)]
    rest = ("bin", "count", "total", "longest", "since_seen")
    columns += [_numbers(table.column(name)) for name in rest]
    found = recording.ask(
        "screen/span_instances", begin=begin, end=end, kept=KEPT_OF_NAME, most=MOST_OPEN
    )
    instances: Instances = np.zeros(found.num_rows, INSTANCE)
    for name in found.column_names:
        column = found.column(name)
        if name in ("name", "parent_name"):
            instances[name] = _names(column, number)
        else:
            instances[name] = _numbers(column)
    closed = instances["closed"]
    within = _within(recording, begin, end, number) if children else None
    return SpanSlice(
        added([Durations(*columns)]), instances[closed], instances[~closed], until, within=within
    )


def _within(recording: Recording, begin: int, end: int, number: Callable[[str], int]) -> Within:
    table = recording.ask("screen/span_children", begin=begin, end=end)
    found: Within = np.zeros(table.num_rows, WITHIN)
    found["of"] = _names(table.column("name"), number)
    for name in ("tgid", "spans", *COSTS):
        found[name] = _numbers(table.column(name))
    return joined_costs([found])


def _numbers(column: pa.ChunkedArray) -> Ints:
    one = column.combine_chunks()
    empty = pa.scalar(False if pa.types.is_boolean(one.type) else 0, one.type)
    found: Ints = one.fill_null(empty).to_numpy(zero_copy_only=False)
    return found


def _names(column: pa.ChunkedArray, number: Callable[[str], int]) -> Ints:
    encoded = column.combine_chunks()
    if not pa.types.is_dictionary(encoded.type):
        encoded = encoded.dictionary_encode()
    numbers = [number(text) for text in encoded.dictionary.to_pylist()]
    places = encoded.indices.fill_null(-1).to_numpy(zero_copy_only=False)
    found: Ints = np.array([*numbers, NONE], np.int64)[places]
    return found
