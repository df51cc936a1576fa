"""Rows of `stacks` and `processes` as values, and as Arrow.

Comes in: resolved stacks (whatever satisfies `StackRow`) and `ProcessRow` values. Goes out: record
batches in the schemas of a recording. Text of the system is made valid UTF-8: a byte that was not
(surrogateescape) is written as `\\xNN`.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import chain
from typing import Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from stacks_tui.enrich.processes import ProcessRow
from stacks_tui.records import PythonPart, StackStatus
from stacks_tui.schema import FRAME, PROCESSES, STACKS

_STATUSES = pa.array([status.name.lower() for status in StackStatus])
_PARTS = pa.array([part.name.lower() for part in PythonPart])


class FrameRow(Protocol):
    """One frame of a stack, with a name even if nothing is known of it."""

    @property
    def name(self) -> str:
        """What to call it; never empty."""

    @property
    def address(self) -> int:
        """Start of the symbol, an address of its ELF file (kernel: absolute)."""

    @property
    def offset(self) -> int:
        """From `address` to the instruction."""

    @property
    def module(self) -> str | None:
        """Path of the file it lies in."""

    @property
    def buildid(self) -> bytes | None:
        """Of that file."""

    @property
    def file(self) -> str | None:
        """Source file, where it is known."""

    @property
    def line(self) -> int | None:
        """Line in `file`."""

    @property
    def inlined(self) -> bool:
        """Whether it is part of the function that follows."""


class StackRow(Protocol):
    """One resolved stack, leaf first."""

    @property
    def id(self) -> int:
        """As the events name it."""

    @property
    def frames(self) -> Sequence[FrameRow]:
        """Leaf first."""

    @property
    def complete(self) -> bool:
        """Whether the outermost frame is a start of a thread or program."""

    @property
    def truncated(self) -> bool:
        """Whether it was cut."""

    @property
    def status(self) -> StackStatus:
        """What ended the walk."""

    @property
    def native(self) -> Sequence[FrameRow] | None:
        """The stack with the interpreter's own frames, where `frames` has others for them."""

    @property
    def python(self) -> PythonPart | None:
        """What it has of Python's frames; None: it is of no Python process."""


def stacks_batch(stacks: Sequence[StackRow]) -> pa.RecordBatch:
    """The stacks as a batch of `STACKS`.

    Frames are mostly the same objects in many stacks (resolvers keep them by address): each object
    becomes Arrow once, and the stacks take it by position.
    """
    positions: dict[int, int] = {}
    frames: list[FrameRow] = []
    taken: list[int] = []
    for frame in chain(
        chain.from_iterable(stack.frames for stack in stacks),
        chain.from_iterable(stack.native or () for stack in stacks),
    ):
        key = id(frame)  # alive, hence unique, as long as `stacks` holds it
        position = positions.get(key)
        if position is None:
            position = positions[key] = len(frames)
            frames.append(frame)
        taken.append(position)
    table = pa.StructArray.from_arrays(
        [
            _text([frame.name for frame in frames]),
            pa.array([frame.address for frame in frames], pa.uint64()),
            pa.array([frame.offset for frame in frames], pa.uint64()),
            _text([frame.module for frame in frames]),
            pa.array([frame.buildid for frame in frames], pa.binary()),
            _text([frame.file for frame in frames]),
            pa.array([frame.line for frame in frames], pa.uint32()),
            pa.array([frame.inlined for frame in frames], pa.bool_()),
        ],
        fields=list(FRAME),
    )
    merged = _ends([len(stack.frames) for stack in stacks])
    native = _ends([len(stack.native or ()) for stack in stacks])
    split = int(merged[-1])
    unmerged = np.array([stack.native is None for stack in stacks], bool)
    parts = [stack.python for stack in stacks]
    columns = [
        pa.array([stack.id for stack in stacks], pa.uint64()),
        pa.ListArray.from_arrays(
            pa.array(merged), table.take(pa.array(taken[:split], pa.int64())), pa.list_(FRAME)
        ),
        pa.array([stack.complete for stack in stacks], pa.bool_()),
        pa.array([stack.truncated for stack in stacks], pa.bool_()),
        pa.DictionaryArray.from_arrays(
            pa.array([int(stack.status) for stack in stacks], pa.int8()), _STATUSES
        ),
        pa.ListArray.from_arrays(
            pa.array(native, mask=np.append(unmerged, False)),
            table.take(pa.array(taken[split:], pa.int64())),
            pa.list_(FRAME),
        ),
        pa.DictionaryArray.from_arrays(
            pa.array([None if part is None else int(part) for part in parts], pa.int8()), _PARTS
        ),
    ]
    return pa.RecordBatch.from_arrays(columns, schema=STACKS)


def _ends(lengths: Sequence[int]) -> npt.NDArray[np.int32]:
    """Where lists of these lengths begin in a row, and where the last ends."""
    ends = np.zeros(len(lengths) + 1, np.int32)
    np.cumsum(lengths, out=ends[1:])
    return ends


def processes_batch(rows: Sequence[ProcessRow]) -> pa.RecordBatch:
    """The rows as a batch of `PROCESSES`."""
    columns = []
    for field in PROCESSES:
        values = [getattr(row, field.name) for row in rows]
        text = field.type == pa.string()
        columns.append(_text(values) if text else pa.array(values, field.type))
    return pa.RecordBatch.from_arrays(columns, schema=PROCESSES)


def last_processes(batches: Sequence[pa.RecordBatch]) -> pa.Table:
    """The last row of each (tgid, start), in the order in which each was first told of."""
    table = pa.Table.from_batches(batches, PROCESSES)
    numbered = table.append_column("row", pa.array(np.arange(table.num_rows)))
    grouped = numbered.group_by(["tgid", "start"]).aggregate([("row", "min"), ("row", "max")])
    last = grouped.sort_by("row_min").column("row_max")
    return table.take(last.combine_chunks() if last.num_chunks != 1 else last.chunk(0))


def _text(values: list[str | None] | list[str]) -> pa.Array:
    try:
        return pa.array(values, pa.string())
    except UnicodeEncodeError:
        return pa.array([None if v is None else valid_text(v) for v in values], pa.string())


def valid_text(text: str) -> str:
    r"""Text that can be stored: a lone surrogate becomes `\xNN` (an escaped byte) or `\udNNN`."""
    try:
        raw = text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError:
        return text.encode("utf-8", "backslashreplace").decode("utf-8")
    return raw.decode("utf-8", "backslashreplace")
