"""Named stacks as arrays: frames and call paths, each kept once.

Comes in: stacks with their frames' names and modules. Goes out: for a stack id its row; for a row
its path; for a path its frames. Names are compared only when a frame is new; after that everything
goes by numbers. Of a stack with Python's frames there are three paths: this is the one place where
they are told apart.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from hashlib import blake2b
from typing import Any

import numpy as np
import numpy.typing as npt

from stacks_tui.live.cells import NONE, OTHER, UNNAMED
from stacks_tui.python.shown import MODULE, NO_PYTHON, Shown
from stacks_tui.reasons import reason

Rows = npt.NDArray[np.int32]

NO_STACK, UNNAMED_STACK, NO_PYTHON_STACK = 0, 1, 2
"""Paths of one frame: of a stack that was not taken, of one that has no names yet, and of one that
has no frame of Python where only those are shown."""
OTHER_ID = 2**64 - 1
"""Stands for the ids that gave way."""


@dataclass(frozen=True, slots=True)
class Place:
    """A frame as one stack has it."""

    name: str
    module: str = ""
    file: str = ""
    line: int = 0
    inlined: bool = False


class StackTable:
    """Grows; `keep` makes a smaller one. One thread writes, others may read meanwhile."""

    def __init__(self) -> None:
        self.names: list[str] = []
        """Of frames, by number: a frame is a name in a module."""
        self.modules: list[str] = []
        """By number of the frame."""
        self.module_names: list[str] = []
        self._module_ids: dict[str, int] = {}
        self._module_of = _Growing(np.int32)
        self._frames: dict[tuple[str, str], int] = {}
        self._places: dict[Place, int] = {}
        self._place_list: list[Place] = []
        self._frame_of = _Growing(np.int32)
        """Number of the frame, by number of the place."""
        self._ids: dict[int, int] = {}
        self._paths: dict[bytes, int] = {}
        self._path_of = {shown: _Growing(np.int32) for shown in Shown}
        self._native: dict[int, Rows] = {}
        """Places of the stack with the interpreter's frames, by row, where it is another one."""
        self._native_size = 0
        self._marks = _Growing(np.uint8)
        self._place_starts = _Growing(np.int64)
        self._place_flat = _Growing(np.int32)
        self._starts = _Growing(np.int64)
        self._flat = _Growing(np.int32)
        self._starts.append(0)
        self._place_starts.append(0)
        for name in ("[no stack]", "[not named yet]", NO_PYTHON):
            self._intern(np.array([self.frame(name, "")], np.int32))

    def __len__(self) -> int:
        return len(self._ids)

    @property
    def size(self) -> int:
        """Frames of all stacks and paths: what memory goes by."""
        return len(self._flat) + len(self._place_flat) + self._native_size

    @property
    def module_of(self) -> Rows:
        """Number of the module (`module_names`), by number of the frame."""
        found: Rows = self._module_of.array
        return found

    def frame(self, name: str, module: str) -> int:
        """The number of a frame."""
        key = (name, module)
        number = self._frames.get(key)
        if number is None:
            number = len(self.names)
            at = self._module_ids.get(module)
            if at is None:
                self.module_names.append(module)
                at = self._module_ids[module] = len(self.module_names) - 1
            self._module_of.append(at)
            self.modules.append(module)
            self.names.append(name)
            self._frames[key] = number
        return number

    def add(
        self,
        stack: int,
        places: Sequence[Place],
        *,
        complete: bool,
        truncated: bool,
        unresolved: bool,
        native: Sequence[Place] | None = None,
    ) -> None:
        """A stack, leaf first; one that is known stays as it is. `native`: with the interpreter's
        frames, where `places` has Python's in their place."""
        if stack in self._ids:
            return
        numbers = self.place_numbers(places)
        below = None if native is None else self.place_numbers(native)
        self._add(stack, numbers, complete + 2 * truncated + 4 * unresolved, below)

    def place_numbers(self, places: Sequence[Place]) -> Rows:
        """The numbers of frames as stacks have them, for `add_many`."""
        numbers = []
        for place in places:
            number = self._places.get(place)
            if number is None:
                number = self._places[place] = len(self._place_list)
                self._place_list.append(place)
                self._frame_of.append(self.frame(place.name, place.module))
            numbers.append(number)
        return np.array(numbers, np.int32)

    def add_many(
        self,
        ids: npt.NDArray[np.uint64],
        places: Rows,
        ends: npt.NDArray[np.int64],
        marks: npt.NDArray[np.uint8],
        native: Mapping[int, Rows],
    ) -> None:
        """Add stacks; those that are known stay as they are.

        Args:
            ids: of the n stacks.
            places: numbers of the frames of one after the other, leaf first.
            ends: n + 1: where each begins, and the end.
            marks: see `marks`.
            native: by place in `ids`: numbers of the frames with the interpreter's.
        """
        bounds, stacks = ends.tolist(), ids.tolist()
        plain = []
        for at, stack in enumerate(stacks):
            if stack in self._ids:
                continue
            if at in native:
                taken = places[bounds[at] : bounds[at + 1]]
                self._add(stack, taken, int(marks[at]), native[at])
            else:
                plain.append(at)
        lengths = np.diff(ends)
        frames = self._frame_of.array[places]
        paths, new = self._intern_many(frames, bounds, plain)
        fresh = _marked(len(stacks), new)
        self._flat.extend(frames[np.repeat(fresh, lengths)])
        self._starts.extend(self._starts.array[-1] + np.cumsum(lengths[fresh]))
        kept = _marked(len(stacks), plain)
        row, base = len(self._marks), len(self._place_flat)
        self._place_flat.extend(places[np.repeat(kept, lengths)])
        self._place_starts.extend(base + np.cumsum(lengths[kept]))
        python = np.full(len(plain), NO_PYTHON_STACK)
        for shown, found in zip(Shown, (paths, python, paths), strict=True):
            self._path_of[shown].extend(np.array(found, np.int32))
        self._marks.extend(marks[kept])
        self._ids.update(
            zip((stacks[at] for at in plain), range(row, row + len(plain)), strict=True)
        )

    def _add(self, stack: int, places: Rows, marks: int, native: Rows | None) -> None:
        row = len(self._marks)
        self._place_flat.extend(places)
        self._place_starts.append(len(self._place_flat))
        frames = self._frame_of.array[places]
        merged = below = self._intern(frames)
        python = NO_PYTHON_STACK
        if native is not None:
            self._native[row] = native
            self._native_size += len(native)
            below = self._intern(self._frame_of.array[native])
            mine = frames[self.module_of[frames] == self._module_ids.get(MODULE, NONE)]
            python = self._intern(mine) if len(mine) else NO_PYTHON_STACK
        for shown, path in zip(Shown, (merged, python, below), strict=True):
            self._path_of[shown].append(path)
        self._marks.append(marks)
        self._ids[stack] = row

    def places(self, row: int, shown: Shown = Shown.MERGED) -> list[Place]:
        """The frames of one stack as they were, leaf first."""
        if row < 0:
            return []
        begin, end = self._place_starts.array[row : row + 2].tolist()
        numbers = self._place_flat.array[begin:end]
        if shown is Shown.NATIVE:
            numbers = self._native.get(row, numbers)
        found = [self._place_list[one] for one in numbers.tolist()]
        if shown is Shown.PYTHON:
            found = [place for place in found if place.module == MODULE]
        return found

    def rows(self, ids: npt.NDArray[np.uint64]) -> Rows:
        """Rows of stack ids; NONE for 0, OTHER, UNNAMED for those that are not known."""
        unique, places = np.unique(ids, return_inverse=True)
        get = self._ids.get
        found = np.array([get(one, UNNAMED) for one in unique.tolist()], np.int32)
        found[unique == 0] = NONE
        found[unique == np.uint64(OTHER_ID)] = OTHER
        return found[places]

    def paths(self, rows: Rows, shown: Shown = Shown.MERGED) -> Rows:
        """Paths of rows; NONE where there is no stack."""
        known = self._path_of[shown].array
        found = np.full(len(rows), NONE, np.int32)
        there = rows >= 0
        found[there] = known[rows[there]]
        found[rows == UNNAMED] = UNNAMED_STACK
        return found

    def marks(self, rows: Rows) -> npt.NDArray[np.uint8]:
        """Bits by row: 1 complete, 2 truncated, 4 with a frame that has no symbol; 0: no stack."""
        found = np.zeros(len(rows), np.uint8)
        there = rows >= 0
        found[there] = self._marks.array[rows[there]]
        return found

    def lengths(self, paths: Rows) -> npt.NDArray[np.int64]:
        """Frames of paths; 0 for NONE."""
        starts = self._starts.array
        known = np.maximum(paths, 0)
        return np.where(paths >= 0, starts[known + 1] - starts[known], 0)

    def flat(self, paths: Rows) -> tuple[Rows, npt.NDArray[np.int64]]:
        """The frames of these paths one after the other, and where each begins (n + 1)."""
        lengths = self.lengths(paths)
        ends = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])
        begins = self._starts.array[np.maximum(paths, 0)]
        places = np.arange(ends[-1]) + np.repeat(begins - ends[:-1], lengths)
        return self._flat.array[places], ends

    def path(self, path: int) -> Rows:
        """The frames of one path, leaf first."""
        if path < 0:
            return np.zeros(0, np.int32)
        starts = self._starts.array
        return self._flat.array[starts[path] : starts[path + 1]]

    def reasons(self, paths: Rows, states: Sequence[str]) -> list[str]:
        """Why threads with these kernel paths, in these states, wait."""
        return [
            reason((self.names[frame] for frame in self.path(path).tolist()), state)
            for path, state in zip(paths.tolist(), states, strict=True)
        ]

    def key(self, frames: Iterable[int]) -> str:
        """Names a sequence of frames, the same in every table."""
        digest = blake2b(digest_size=8)
        for frame in frames:
            for text in (self.names[frame], self.modules[frame]):
                digest.update(text.encode("utf-8", "surrogatepass") + b"\0")
        return digest.hexdigest()

    def keep(self, ids: npt.NDArray[np.uint64]) -> StackTable:
        """A new table with only these stacks; all is numbered anew."""
        kept = StackTable()
        for one in ids.tolist():
            row = self._ids.get(one)
            if row is not None:
                marks = int(self._marks.array[row])
                kept.add(
                    one,
                    self.places(row),
                    complete=bool(marks & 1),
                    truncated=bool(marks & 2),
                    unresolved=bool(marks & 4),
                    native=self.places(row, Shown.NATIVE) if row in self._native else None,
                )
        return kept

    def _intern_many(
        self, frames: Rows, bounds: list[int], wanted: list[int]
    ) -> tuple[list[int], list[int]]:
        """Paths of the wanted of these lists of frames, and which lists are new: theirs are not
        added yet."""
        raw, size = frames.tobytes(), frames.itemsize
        paths: list[int] = []
        new: list[int] = []
        for at in wanted:
            key = raw[bounds[at] * size : bounds[at + 1] * size]
            path = self._paths.get(key)
            if path is None:
                path = self._paths[key] = len(self._starts) - 1 + len(new)
                new.append(at)
            paths.append(path)
        return paths, new

    def _intern(self, frames: Rows) -> int:
        key = frames.tobytes()
        path = self._paths.get(key)
        if path is None:
            path = self._paths[key] = len(self._starts) - 1
            self._flat.extend(frames)
            self._starts.append(len(self._flat))
        return path


def _marked(count: int, places: list[int]) -> npt.NDArray[np.bool_]:
    found = np.zeros(count, np.bool_)
    found[places] = True
    return found


class _Growing:
    """A NumPy array that grows at its end."""

    def __init__(self, kind: type[np.generic]) -> None:
        self._data: npt.NDArray[np.generic] = np.zeros(64, kind)
        self._size = 0

    def __len__(self) -> int:
        return self._size

    @property
    def array(self) -> npt.NDArray[Any]:
        """What is there now; a view."""
        return self._data[: self._size]

    def append(self, value: int) -> None:
        self._reserve(1)
        self._data[self._size] = value
        self._size += 1

    def extend(self, values: npt.NDArray[np.generic]) -> None:
        self._reserve(len(values))
        self._data[self._size : self._size + len(values)] = values
        self._size += len(values)

    def _reserve(self, more: int) -> None:
        if self._size + more > len(self._data):
            bigger = np.zeros(max(2 * len(self._data), self._size + more), self._data.dtype)
            bigger[: self._size] = self._data[: self._size]
            self._data = bigger
