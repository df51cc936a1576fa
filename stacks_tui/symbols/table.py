"""A symbol table: names of address ranges, in arrays that are searched for many addresses at once.

Comes in: symbols in any order, some nested, some aliases of others. Goes out: a `SymbolTable`, one
symbol for each start; an address past its symbol's end belongs to none (or to an outer symbol).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

U64 = npt.NDArray[np.uint64]
NAME_LIMIT = 4096
"""Bytes of a name that are kept."""
NAMES_LIMIT = 128 << 20
"""Bytes of all names of a table; symbols beyond are dropped."""
_NEST_LIMIT = 64


@dataclass(frozen=True, slots=True)
class SymbolTable:
    """Symbols sorted by start, each start once."""

    starts: U64
    ends: U64
    """First address after each symbol."""
    reach: U64
    """Largest end of this symbol and all before it: tells whether an outer one may hold on."""
    name_at: npt.NDArray[np.uint32]
    """[n + 1] where each name begins in `names`."""
    names: npt.NDArray[np.uint8]

    def __len__(self) -> int:
        """Number of symbols."""
        return len(self.starts)

    @property
    def nbytes(self) -> int:
        """Bytes of all arrays."""
        return sum(array.nbytes for array in self.arrays().values())

    def find(self, addresses: U64) -> npt.NDArray[np.int64]:
        """[m] index of the innermost symbol that holds each address, -1: none."""
        at = np.searchsorted(self.starts, addresses, "right") - 1
        if not len(self.starts):
            return at
        for _ in range(_NEST_LIMIT):
            outside = (at >= 0) & (addresses >= self.ends[at])
            if not outside.any():
                return at
            outer = outside & (addresses < self.reach[at])
            at = np.where(outer, at - 1, np.where(outside, -1, at))
        at[(at >= 0) & (addresses >= self.ends[at])] = -1
        return at

    def name(self, index: int) -> bytes:
        """The name as it stands in the file, without a version (`@@GLIBC_2.34`)."""
        raw = self.names[self.name_at[index] : self.name_at[index + 1]].tobytes()
        if raw.endswith(b"@plt"):
            return raw
        return raw.partition(b"@")[0] or raw

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """The table as named arrays, for a cache."""
        return {
            "starts": self.starts,
            "ends": self.ends,
            "reach": self.reach,
            "name_at": self.name_at,
            "names": self.names,
        }


def table_from_arrays(arrays: dict[str, npt.NDArray[Any]]) -> SymbolTable | None:
    """The table that `SymbolTable.arrays` gave, None: these are not its arrays."""
    try:
        table = SymbolTable(**arrays)
    except TypeError:
        return None
    count = len(table.starts)
    wide = (table.starts, table.ends, table.reach)
    if any(a.dtype != np.uint64 or a.shape != (count,) for a in wide):
        return None
    if table.name_at.dtype != np.uint32 or table.name_at.shape != (count + 1,):
        return None
    return table if table.names.dtype == np.uint8 and table.names.ndim == 1 else None


def empty_table() -> SymbolTable:
    """A table with no symbol."""
    none = np.zeros(0, np.uint64)
    return SymbolTable(none, none, none, np.zeros(1, np.uint32), np.zeros(0, np.uint8))


@dataclass(frozen=True, slots=True)
class RawSymbols:
    """Symbols before aliases are sorted out; columns of one length."""

    starts: U64
    sizes: U64
    """Bytes, 0: up to the next symbol."""
    limits: U64
    """Where the section ends; no symbol goes further."""
    local: npt.NDArray[np.bool_]
    name_at: npt.NDArray[np.int64]
    name_len: npt.NDArray[np.int64]
    names: npt.NDArray[np.uint8]


def join(parts: list[RawSymbols]) -> RawSymbols:
    """All symbols of several tables."""
    shifts = np.cumsum([0, *(len(part.names) for part in parts[:-1])])
    return RawSymbols(
        np.concatenate([part.starts for part in parts]),
        np.concatenate([part.sizes for part in parts]),
        np.concatenate([part.limits for part in parts]),
        np.concatenate([part.local for part in parts]),
        np.concatenate([p.name_at + shift for p, shift in zip(parts, shifts, strict=True)]),
        np.concatenate([part.name_len for part in parts]),
        np.concatenate([part.names for part in parts]),
    )


def build(raw: RawSymbols) -> SymbolTable:
    """The table of these symbols.

    Of several names for one start this is kept: one with a size, then global or weak rather than
    local, then with fewest leading underscores, then the shortest, then the first in the file.
    So `read` stands for `__read` and `__GI___read`. A symbol without a size goes up to the next
    symbol or the end of its section; it is dropped when it lies inside one that has a size.
    """
    order = np.lexsort((raw.name_len, _underscores(raw), raw.local, raw.sizes == 0, raw.starts))
    starts = raw.starts[order]
    first = np.ones(len(starts), np.bool_)
    first[1:] = starts[1:] != starts[:-1]
    order = order[first]
    starts, sizes, limits = raw.starts[order], raw.sizes[order], raw.limits[order]

    sized_ends = np.where(sizes > 0, starts + np.minimum(sizes, limits - starts), np.uint64(0))
    covered = np.zeros(len(starts), np.bool_)
    covered[1:] = np.maximum.accumulate(sized_ends)[:-1] > starts[1:]
    kept = (sizes > 0) | ~covered
    order, starts, limits = order[kept], starts[kept], limits[kept]
    ends = sized_ends[kept]
    following = np.append(starts[1:], np.uint64(2**64 - 1))
    ends = np.where(ends > 0, ends, np.minimum(following, limits)).astype(np.uint64)

    lengths = np.minimum(raw.name_len[order], NAME_LIMIT)
    within = np.cumsum(lengths) <= NAMES_LIMIT
    order, starts, ends, lengths = order[within], starts[within], ends[within], lengths[within]
    name_at = np.zeros(len(order) + 1, np.uint32)
    np.cumsum(lengths, out=name_at[1:])
    place = np.repeat(raw.name_at[order] - name_at[:-1].astype(np.int64), lengths)
    names = raw.names[place + np.arange(len(place))]
    return SymbolTable(starts, ends, np.maximum.accumulate(ends), name_at, names)


def _underscores(raw: RawSymbols) -> npt.NDArray[np.int64]:
    """[n] leading underscores of each name, counted up to 3."""
    count = np.zeros(len(raw.starts), np.int64)
    still = np.ones(len(raw.starts), np.bool_)
    for at in range(3):
        place = np.minimum(raw.name_at + at, max(len(raw.names) - 1, 0))
        letters = raw.names[place] if len(raw.names) else np.zeros(len(place), np.uint8)
        still &= (letters == ord("_")) & (raw.name_len > at)
        count += still
    return count
