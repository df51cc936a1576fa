"""Protobuf messages by column: as many messages as there are rows, with no call for each.

Comes in: arrays of numbers. Goes out: bytes. A field is a matrix of its bytes, a row each, and
which of them are there (a varint has one to ten); those that are there, row by row, are the
messages.
(Encoding: protobuf.dev, "Encoding".)
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

U8 = npt.NDArray[np.uint8]
U64 = npt.NDArray[np.uint64]
Mask = npt.NDArray[np.bool_]

_VARINT, _FIXED64, _LENGTH = 0, 1, 2


@dataclass(frozen=True, slots=True)
class Piece:
    """Bytes of every row."""

    data: U8
    """[rows, width]"""
    there: Mask
    """[rows, width] which of them are written."""

    def lengths(self) -> U64:
        """[rows] bytes of each."""
        return self.there.sum(axis=1, dtype=np.uint64)

    def to_bytes(self) -> bytes:
        """All rows after one another."""
        return bytes(self.data[self.there].tobytes())


def joined(*pieces: Piece) -> Piece:
    """Pieces of the same rows after one another."""
    return Piece(
        np.concatenate([one.data for one in pieces], axis=1),
        np.concatenate([one.there for one in pieces], axis=1),
    )


def only(piece: Piece, there: Mask) -> Piece:
    """The piece in these rows; nothing in others."""
    return Piece(piece.data, piece.there & there[:, None])


def integer(number: int, values: npt.NDArray[np.integer], there: Mask | None = None) -> Piece:
    """A field of an integer type (uint32, int64, enum, bool …)."""
    found = joined(_tag(number, _VARINT, len(values)), _varint(values.astype(np.uint64)))
    return found if there is None else only(found, there)


def fixed64(number: int, values: U64, there: Mask) -> Piece:
    """A field of type fixed64."""
    data = values.astype("<u8").view(np.uint8).reshape(len(values), 8)
    value = Piece(data, np.ones(data.shape, np.bool_))
    return only(joined(_tag(number, _FIXED64, len(values)), value), there)


def message(number: int, *fields: Piece, there: Mask | None = None) -> Piece:
    """A field that is a message of these fields."""
    inside = joined(*fields)
    lengths = inside.lengths()
    found = joined(_tag(number, _LENGTH, len(lengths)), _varint(lengths), inside)
    return found if there is None else only(found, there)


def _tag(number: int, wire: int, rows: int) -> Piece:
    one = _varint(np.array([number << 3 | wire], np.uint64))
    data = np.repeat(one.data, rows, axis=0)
    return Piece(data, np.ones(data.shape, np.bool_))


def _varint(values: U64) -> Piece:
    """Seven bits a byte, the low ones first; the highest bit says that there are more."""
    width = max((int(values.max(initial=0)).bit_length() + 6) // 7, 1)
    rest = values[:, None] >> (np.arange(width, dtype=np.uint64) * np.uint64(7))
    data = (rest & np.uint64(0x7F)).astype(np.uint8)
    there = rest > 0
    there[:, 0] = True
    more = rest >= np.uint64(0x80)
    data[more] |= 0x80
    return Piece(data, there)
