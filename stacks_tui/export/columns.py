"""JSON text, and other text, by column: no call for each row.

Comes in: arrays of numbers and names. Goes out: arrays of text, joined row by row, and their bytes.
"""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from stacks_tui import text

_TYPE = pa.large_string()


def chosen(texts: list[str | None], which: npt.NDArray[np.integer[Any]]) -> pa.Array:
    """[rows] the text of each row's index; null where it is negative, or that text is None."""
    mask = which < 0
    return pa.array(texts, _TYPE).take(pa.array(np.where(mask, 0, which), mask=mask))


def joined(*columns: pa.Array | str) -> pa.Array:
    """[rows] the texts of each row after one another; null where one of them is."""
    scalars = [pa.scalar(one, _TYPE) if isinstance(one, str) else one for one in columns]
    return pc.binary_join_element_wise(*scalars, pa.scalar("", _TYPE))


def or_nothing(column: pa.Array, there: npt.NDArray[np.bool_] | None = None) -> pa.Array:
    """Empty text in place of null, and where `there` is false."""
    if there is not None:
        column = pc.if_else(pa.array(there), column, pa.scalar(None, _TYPE))
    return column.fill_null("")


def part(column: pa.Array, rows: slice) -> pa.Array:
    """Some rows of a column."""
    return column.slice(rows.start, rows.stop - rows.start)


def whole(values: npt.NDArray[np.int64]) -> pa.Array:
    """Numbers in digits."""
    return pa.array(values).cast(_TYPE)


def whole_where(
    before: str, values: npt.NDArray[np.int64], there: npt.NDArray[np.bool_]
) -> pa.Array:
    """Numbers in digits after a text; nothing where they are not there."""
    return or_nothing(joined(before, whole(values)), there)


def microseconds(ns: npt.NDArray[np.int64]) -> pa.Array:
    """Times in µs, to the ns: `12.345`."""
    size = np.abs(ns)
    rest = pc.utf8_lpad(whole(size % 1000), width=3, padding="0")
    sign = chosen(["", "-"], (ns < 0).astype(np.int64))
    return joined(sign, whole(size // 1000), ".", rest)


def json_texts(column: pa.Array) -> pa.Array:
    """[rows] each value as JSON has it; null stays."""
    if pa.types.is_integer(column.type):
        return column.cast(_TYPE)
    coded = column if pa.types.is_dictionary(column.type) else column.dictionary_encode()
    texts = [None if one is None else quoted(one) for one in coded.dictionary.to_pylist()]
    return pa.array(texts, _TYPE).take(coded.indices)


def quoted(value: str) -> str:
    """A JSON string; harmless inside HTML's scripts too."""
    return json_of(text.valid(value))


def json_of(value: Any) -> str:
    """A value as JSON, as harmless."""
    return json.dumps(value).replace("<", "\\u003c")


def data_of(column: pa.Array) -> bytes:
    """The texts of all rows after one another."""
    _, offsets, data = column.buffers()
    if not len(column) or data is None:
        return b""
    ends = np.frombuffer(offsets, np.int64)[column.offset : column.offset + len(column) + 1]
    return bytes(memoryview(data)[ends[0] : ends[-1]])
