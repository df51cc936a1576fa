"""Lists of stack ids, or frames themselves, as distinct stacks of distinct locations.

Comes in: the first column of a query's rows, and the `stacks` of a recording. Goes out: for each
row an index into `Stacks`. Frames cross into Python once each; everything else is arrays, so that
a million stacks fit.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from hashlib import blake2b
from typing import Any

import duckdb
import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from stacks_tui.errors import UsageError
from stacks_tui.export.model import KERNEL_BEGIN, Line, Location, Stacks
from stacks_tui.export.questions import Question, batches
from stacks_tui.export.task import Task
from stacks_tui.python.shown import NO_PYTHON, Shown
from stacks_tui.resources import read_sql
from stacks_tui.store.reader import Recording

I32 = npt.NDArray[np.int32]
I64 = npt.NDArray[np.int64]
U64 = npt.NDArray[np.uint64]

_SIGNAL_NAMES = pa.array(
    [
        "__restore_rt",
        "__restore",
        "__kernel_rt_sigreturn",
        "__kernel_sigreturn",
        "runtime.sigreturn",
        "runtime.sigreturn__sigaction",
    ]
)
"""No call made the address in such a frame, nor the one in the frame after it."""
_FEW = 2_000
"""So many stacks are asked for by id; for more, all are read."""
_STACKS_PER_BATCH = 4_096
_PLACE_BYTES = 4

_Named = tuple[str, str | None, int]
"""Name, file, line."""
_Frame = tuple[str | None, bytes | None, int, int, _Named]
"""Module, build id, start of the symbol, offset in it, name and line."""
Key = tuple[str | None, bytes | None, int, int, tuple[_Named, ...]]
"""Module, build id, address, start of the symbol, lines."""


class Framing:
    """Collects the stacks of one export, over all its queries and recordings."""

    def __init__(self, task: Task) -> None:
        self._task = task
        self._locations: list[Location] = []
        self._location_of: dict[Key, int] = {}
        self._known: dict[int, int] = {}
        self._stack_of: dict[bytes, int] = {}
        self._places = bytearray()
        self._lengths: list[int] = []

    def stacks(self) -> Stacks:
        """All that was added so far. Locations are in an order of their own."""
        offsets = np.zeros(len(self._lengths) + 1, np.int64)
        np.cumsum(np.array(self._lengths, np.int64), out=offsets[1:])
        order = sorted(range(len(self._locations)), key=lambda at: _rank(self._locations[at]))
        place_of = np.empty(len(order), np.int32)
        place_of[order] = np.arange(len(order), dtype=np.int32)
        places = place_of[np.frombuffer(self._places, np.int32)]
        return Stacks(tuple(self._locations[at] for at in order), places, offsets)

    def depths(self) -> I64:
        """[stacks] locations in each stack added so far."""
        return np.array(self._lengths, np.int64)

    def add(self, recording: Recording, column: pa.ChunkedArray | pa.Array, what: str) -> I64:
        """[rows] the index of each row's stack; -1 where the row is null.

        Args:
            recording: whose `stacks` the ids mean.
            column: ids, lists of ids (null ones are left out), or lists of frames; leaf first.
            what: the query's name, for messages.

        Raises:
            UsageError: the column holds something else.
        """
        array = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
        kind = array.type
        if is_list(kind) and pa.types.is_struct(kind.value_type):
            return self._add_nested(array, what)
        if is_list(kind) and (
            pa.types.is_integer(kind.value_type) or pa.types.is_null(kind.value_type)
        ):
            return self._add_ids(recording, _columns_of(array), np.asarray(array.is_valid()))
        if pa.types.is_integer(kind) or pa.types.is_null(kind):
            return self._add_ids(recording, [array], np.asarray(array.is_valid()))
        raise UsageError(
            f"{what}: the stack is of type {kind}; give an id (ustack), a list of ids "
            "([kstack, ustack]), or a list of frames."
        )

    def _add_ids(
        self, recording: Recording, columns: list[pa.Array], valid: npt.NDArray[np.bool_]
    ) -> I64:
        """Rows of one id from each column, in order."""
        rows = len(valid)
        given = [(_numbers(column), np.asarray(column.is_valid())) for column in columns]
        used = [np.unique(ids[there]) for ids, there in given]
        wanted = np.unique(np.concatenate(used)) if used else np.zeros(0, np.uint64)
        parts = self._read_parts(recording, wanted)
        # Each row's combination of parts as one number, renumbered after each column.
        code = np.zeros(rows, np.int64)
        combos: list[tuple[int, ...]] = [()]
        for ids, there in given:
            part = np.zeros(rows, np.int64)
            part[there] = np.searchsorted(wanted, ids[there]) + 1
            mixed = code * (len(wanted) + 1) + part
            distinct, code = np.unique(mixed, return_inverse=True)
            code = code.reshape(rows)
            before, added = np.divmod(distinct, len(wanted) + 1)
            combos = [
                combos[b] if a == 0 else (*combos[b], a - 1)
                for b, a in zip(before.tolist(), added.tolist(), strict=True)
            ]
        left = self._told(NO_PYTHON) if self._task.options.shown is Shown.PYTHON else b""
        kept = [
            self._keep(b"".join([parts[at] for at in combo]) or (left if combo else b""))
            for combo in combos
        ]
        index = np.array(kept, np.int64)
        if not rows:
            return np.zeros(0, np.int64)
        found = index[code]
        found[~valid] = -1
        return found

    def _add_nested(self, array: pa.Array, what: str) -> I64:
        names = {field.name for field in array.type.value_type}
        if not {"name", "address"} <= names:
            raise UsageError(f"{what}: its frames have no name and address; take them as they are.")
        if self._task.options.shown is not Shown.MERGED:
            self._task.note(f"{what} returns frames, which are taken as they are.")
        # Hashed as in a recording's own stacks, by DuckDB.
        table = pa.table({"frames": array})
        with duckdb.connect(config={"threads": "1"}) as connection:
            connection.register("given", table)
            keyed = connection.sql(read_sql("export/keyed.sql"))
            found = [
                np.array([self._keep(part) for part in self._frame_batch(batch)], np.int64)
                for batch in batches(keyed, rows=_STACKS_PER_BATCH)
            ]
        result = np.concatenate(found) if found else np.zeros(0, np.int64)
        result[~np.asarray(array.is_valid())] = -1
        return result

    def _keep(self, part: bytes) -> int:
        # a million stacks: a digest is a third of the stack itself
        key = blake2b(part, digest_size=16).digest()
        index = self._stack_of.get(key)
        if index is None:
            index = self._stack_of[key] = len(self._lengths)
            self._places += part
            self._lengths.append(len(part) // _PLACE_BYTES)
        return index

    def _read_parts(self, recording: Recording, wanted: U64) -> list[bytes]:
        """The places of each wanted stack; one that the recording lacks is a frame that says so."""
        parts: list[bytes | None] = [None] * len(wanted)
        if len(wanted):
            few = wanted.tolist() if len(wanted) <= _FEW else None
            shown = self._task.options.shown
            relation = recording.sql(read_sql("export/stacks.sql"), ids=few, shown=shown.value)
            done = 0
            for batch in batches(relation, rows=_STACKS_PER_BATCH):
                ids = _numbers(batch.column("id"))
                at = np.searchsorted(wanted, ids)
                at[at == len(wanted)] = 0
                mine = np.flatnonzero(wanted[at] == ids)
                if len(mine):
                    taken = batch if len(mine) == len(ids) else batch.take(pa.array(mine))
                    for where, part in zip(
                        at[mine].tolist(), self._frame_batch(taken), strict=True
                    ):
                        parts[where] = part
                done += len(mine)
                self._task.step("reading stacks", done, len(wanted))
        lacking = sum(part is None for part in parts)
        if lacking:
            self._task.note(f"{lacking} stacks are not in the recording; they show as one frame.")
        return [self._told("[stack not recorded]") if part is None else part for part in parts]

    def nothing(self) -> int:
        """The index of a stack of one frame which says that there is none.

        Viewers drop a sample without a frame, and their totals would be too small.
        """
        return self._keep(self._told("[no stack]"))

    def _told(self, what: str) -> bytes:
        at = self._locate((None, None, 0, 0, ((what, None, 0),)))
        return np.array([at], np.int32).tobytes()

    def _frame_batch(self, batch: pa.RecordBatch) -> list[bytes]:
        """The places of each row's frames, int32. Columns: `frames`, and `keys` list<u64>."""
        frames, keys = batch.column("frames"), batch.column("keys")
        lengths = np.asarray(frames.value_lengths().fill_null(0)).astype(np.int64)
        ends = np.cumsum(lengths)
        flat = frames.flatten()
        hashes = _numbers(keys.flatten())
        if not len(hashes):
            return [b""] * len(lengths)
        _, first, which = np.unique(hashes, return_index=True, return_inverse=True)
        which = which.reshape(len(hashes))
        given = _Frames(flat.take(pa.array(first)), hashes[first])
        starts = np.zeros(len(hashes), np.bool_)
        starts[(ends - lengths)[lengths > 0]] = True
        signal = given.signal[which]
        user = ~given.kernel[which]
        exact = starts.copy()
        # after a trampoline, and where a waker's kernel part ends
        exact[1:] |= signal[:-1] | (user[1:] & ~user[:-1])
        exact |= signal
        if given.inlined.any():
            return self._with_inlined(given, which, exact, ends - lengths, ends)
        coded, inverse = np.unique(which * 2 + exact, return_inverse=True)
        made = self._locate_all(given, coded)
        places = made[inverse.reshape(len(which))].tobytes()
        return [
            places[begin * _PLACE_BYTES : end * _PLACE_BYTES]
            for begin, end in zip((ends - lengths).tolist(), ends.tolist(), strict=True)
        ]

    def _with_inlined(
        self, given: _Frames, which: I64, exact: npt.NDArray[np.bool_], begins: I64, ends: I64
    ) -> list[bytes]:
        """As `_frame_batch`: inlined frames join the function that follows them."""
        frames = list(given.python(np.arange(len(given.hashes))))
        found = []
        for begin, end in zip(begins.tolist(), ends.tolist(), strict=True):
            part: list[int] = []
            chain: list[_Named] = []
            leaf = True
            for at in range(begin, end):
                index = int(which[at])
                chain.append(frames[index][-1])
                if given.inlined[index] and at + 1 < end:
                    continue
                module, buildid, address, start, _ = _placed(frames[index], leaf or bool(exact[at]))
                part.append(self._locate((module, buildid, address, start, tuple(chain))))
                chain, leaf = [], False
            found.append(np.array(part, np.int32).tobytes())
        return found

    def _locate_all(self, given: _Frames, coded: I64) -> I32:
        """[n] the locations of frames, each coded as twice its index, plus 1 where it is exact."""
        keys = np.where(coded & 1, ~given.hashes[coded >> 1], given.hashes[coded >> 1]).tolist()
        made = [self._known.get(key, -1) for key in keys]
        new = [at for at, location in enumerate(made) if location < 0]
        if new:
            frames = given.python(coded[new] >> 1)
            for at, exact, key in zip(new, (coded[new] & 1).tolist(), frames, strict=True):
                made[at] = self._known[keys[at]] = self._locate(_placed(key, bool(exact)))
        return np.array(made, np.int32)

    def _locate(self, key: Key) -> int:
        at = self._location_of.get(key)
        if at is None:
            at = self._location_of[key] = len(self._locations)
            module, buildid, address, start, lines = key
            if self._task.options.offsets and lines[-1][0][:1] != "[":
                past = address - start
                name, file, line = lines[-1]
                lines = (*lines[:-1], (f"{name}+{past:#x}", file, line))
            self._locations.append(
                Location(
                    tuple(Line(name, file, line) for name, file, line in lines),
                    address,
                    module,
                    buildid,
                    start,
                )
            )
        return at


class _Frames:
    """The distinct frames of a batch."""

    def __init__(self, frames: pa.StructArray, hashes: U64) -> None:
        self.hashes = hashes
        """[n] what tells one from another."""
        self._frames = frames
        self._fields = {field.name for field in frames.type}
        addresses = _numbers(frames.field("address"))
        self.kernel = addresses >= np.uint64(KERNEL_BEGIN)
        """[n] whether its code is the kernel's."""
        signal = pc.is_in(frames.field("name"), value_set=_SIGNAL_NAMES)
        self.signal = np.asarray(signal.fill_null(False))
        """[n] whether it is the trampoline that signal handlers return to."""
        none = np.zeros(len(frames), np.bool_)
        there = "inlined" in self._fields
        self.inlined = np.asarray(frames.field("inlined").fill_null(False)) if there else none
        """[n] whether it is part of the function that follows."""

    def python(self, indices: I64) -> Iterator[_Frame]:
        """These frames as Python's values."""
        taken = self._frames.take(pa.array(indices))

        def column(name: str) -> list[Any]:
            there = name in self._fields
            return taken.field(name).to_pylist() if there else [None] * len(indices)

        for name, start, offset, module, buildid, file, line in zip(
            *map(column, ("name", "address", "offset", "module", "buildid", "file", "line")),
            strict=True,
        ):
            yield (
                module or None,
                buildid or None,
                start or 0,
                offset or 0,
                ("[unnamed]" if name is None else name, file or None, line or 0),
            )


def _rank(location: Location) -> tuple[Any, ...]:
    """What orders locations; equal only for equal ones."""
    lines = tuple((line.name, line.file or "", line.line) for line in location.lines)
    module, buildid = location.module or "", location.buildid or b""
    return module, buildid, location.address, location.function_address, lines


def _placed(frame: _Frame, exact: bool) -> Key:
    """What makes the location of a frame; a caller's address is one byte inside its call."""
    module, buildid, start, offset, line = frame
    next_one = start + offset
    address = next_one if exact or not next_one else next_one - 1
    return module, buildid, address, start, (line,)


def in_order(stacks: Stacks) -> tuple[Stacks, I64]:
    """The stacks by their frames, outermost first, so that like ones are neighbours; and where each
    went. Equal stacks come out in equal order, however they were read."""
    offsets = stacks.offsets.tolist()
    keys = stacks.places[::-1].astype(">i4").tobytes()
    last = len(stacks.places)
    order = sorted(
        range(len(stacks)),
        key=lambda at: keys[(last - offsets[at + 1]) * 4 : (last - offsets[at]) * 4],
    )
    lengths = np.diff(stacks.offsets)[order]
    ends = np.concatenate([[0], np.cumsum(lengths)])
    at = np.arange(last) + np.repeat(stacks.offsets[:-1][order] - ends[:-1], lengths)
    went = np.empty(len(order), np.int64)
    went[order] = np.arange(len(order))
    return Stacks(stacks.locations, stacks.places[at], ends), went


def is_list(kind: pa.DataType) -> bool:
    """Whether an Arrow type is a list of any sort."""
    return bool(
        pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)
    )


def _columns_of(array: pa.Array) -> list[pa.Array]:
    """The first elements of all lists, the second ones …; null where a list is shorter."""
    lengths = np.asarray(array.value_lengths().fill_null(0)).astype(np.int64)
    begins = np.cumsum(lengths) - lengths
    flat = array.flatten()
    if pa.types.is_null(flat.type):
        flat = flat.cast(pa.uint64())
    columns = []
    for at in range(int(lengths.max(initial=0))):
        where = np.where(lengths > at, begins + at, 0)
        columns.append(flat.take(pa.array(where, mask=lengths <= at)))
    return columns


def _numbers(array: pa.Array) -> U64:
    """[n] u64, 0 for null."""
    if pa.types.is_null(array.type):
        return np.zeros(len(array), np.uint64)
    filled = array.fill_null(0) if array.null_count else array
    return np.asarray(filled).astype(np.uint64, copy=False)


def check_question(question: Question, columns: Sequence[str], least: int) -> None:
    """Refuse a result of too few columns.

    Raises:
        UsageError: there are fewer.
    """
    if len(columns) < least:
        raise UsageError(
            f"{question.name}: the query returns {len(columns)} column(s) "
            f"({', '.join(map(repr, columns))}); it must give a stack and a count at least."
        )
