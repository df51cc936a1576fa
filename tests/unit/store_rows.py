"""Rows for the tests of the store: events, stacks and a header with known content."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from stacks_tui.owner import User, invoking_user
from stacks_tui.records import PythonPart, StackStatus
from stacks_tui.schema import EVENTS
from stacks_tui.store.manifest import ManifestHeader

EPOCH = 1_700_000_000_000_000_000


@dataclass(frozen=True)
class Frame:
    name: str
    address: int = 0
    offset: int = 0
    module: str | None = None
    buildid: bytes | None = None
    file: str | None = None
    line: int | None = None
    inlined: bool = False


@dataclass(frozen=True)
class Stack:
    id: int
    frames: Sequence[Frame]
    complete: bool = True
    truncated: bool = False
    status: StackStatus = StackStatus.COMPLETE
    native: Sequence[Frame] | None = None
    python: PythonPart | None = None


def me() -> User:
    """Ourselves, also where the tests run under sudo."""
    return invoking_user({})


def header(name: str = "test") -> ManifestHeader:
    return ManifestHeader(
        tool_version="0.1.0",
        host="host",
        kernel="6.1.0",
        clock_offset=EPOCH,
        begin=EPOCH,
        targets=("python3",),
        programs=("profile:u:99",),
        name=name,
    )


def events(
    times: Sequence[int],
    *,
    kind: str = "profile",
    ustack: int | None = None,
    command: str | None = "job",
    **columns: object,
) -> pa.RecordBatch:
    """A batch with these end times (ns after `EPOCH`); `id` counts them by their time."""
    n = len(times)
    values: dict[str, list[object]] = {
        "timestamp": [EPOCH + time for time in times],
        "duration": [10] * n,
        "kind": [kind] * n,
        "cpu": [1] * n,
        "tgid": [100] * n,
        "pid": [101] * n,
        "command": [command] * n,
        "thread": ["worker"] * n,
        "id": list(times),
        "amount": [0] * n,
        "ustack": [ustack] * n,
    }
    values.update({name: [value] * n for name, value in columns.items()})
    arrays = []
    for field in EVENTS:
        plain = field.type.value_type if pa.types.is_dictionary(field.type) else field.type
        array = pa.array(values.get(field.name, [None] * n), plain)
        arrays.append(array.cast(field.type) if plain != field.type else array)
    return pa.RecordBatch.from_arrays(arrays, schema=EVENTS)


def names(folder: Path) -> list[str]:
    return sorted(entry.name for entry in folder.iterdir())
