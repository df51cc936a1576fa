"""Which layout Parquet files without a manifest have: ours, or the nested one.

The nested layout has the frames in each row: `ustack` and `kstack` are lists of
(name, address, offset), nothing is null, an empty list or a zero stands for what was not taken.
`sql/legacy.sql` turns it into ours.
"""

from __future__ import annotations

from enum import StrEnum

import pyarrow as pa

from stacks_tui.errors import StacksError
from stacks_tui.schema import EVENTS, SINCE_SCHEMA_2

NESTED = {
    "timestamp": "uint64",
    "duration": "uint64",
    "kind": "string",
    "cpu": "uint16",
    "tgid": "uint32",
    "span_id": "uint64",
    "parent_id": "uint64",
    "id": "uint64",
    "amount": "uint64",
    "pid": "uint32",
    "command": "string",
    "trace_name": "string",
    "buildid": "binary",
    "ustack": "list",
    "kstack": "list",
}
"""Columns and types as Arrow names them."""


class Layout(StrEnum):
    """How the rows of a file are laid out."""

    OURS = "ours"
    NESTED = "nested"


def layout_of(schema: pa.Schema, name: str) -> Layout:
    """The layout of a file of this schema; `name` is for the message.

    Raises:
        StacksError: neither.
    """
    types = {field.name: _plain(field.type) for field in schema}
    if set(EVENTS.names) - SINCE_SCHEMA_2 <= set(types) and types["ustack"] == pa.uint64():
        return Layout.OURS
    lacking = [column for column in NESTED if column not in types]
    if lacking:
        raise StacksError(
            f"{name!r} is not a recording: it lacks the column {lacking[0]!r}; "
            "name a recording's folder or one of its event files."
        )
    for column, expected in NESTED.items():
        found = types[column]
        fits = _is_frames(found) if expected == "list" else str(found) == expected
        if not fits:
            raise StacksError(
                f"{name!r} is not a recording: its column {column!r} is {str(found)[:60]!r}; "
                "name a recording's folder or one of its event files."
            )
    return Layout.NESTED


def _plain(found: pa.DataType) -> pa.DataType:
    return found.value_type if pa.types.is_dictionary(found) else found


def _is_frames(found: pa.DataType) -> bool:
    if not pa.types.is_list(found) or not pa.types.is_struct(found.value_type):
        return False
    fields = [found.value_type.field(i).name for i in range(found.value_type.num_fields)]
    return {"name", "address", "offset"} <= set(fields)
