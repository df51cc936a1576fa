"""Protobuf messages by column: as many messages as there are rows, with no call for each.

Comes in: arrays of numbers. Goes out: bytes. A field is a few matrices of bytes, a row for each
message, and which of these bytes are there (a varint has one to ten); those that are there, row by
row, are the messages. (Encoding: protobuf.dev, "Encoding".)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

U8 = npt.NDArray[np.uint8]
U64 = npt.NDArray[np.uint64]
Mask = npt.NDArray[np.bool_]

_VARINT, _FIXED64, _LENGTH = 0, 1, 2


@dataclass(frozen=True, slots=True)
class Piece:
    """Some bytes of every row."""

    parts: tuple[tuple[U8, Mask], ...]
    """Bytes, and which of them are written: [rows, width] each, after one another."""
    lengths: U64
    """[rows] bytes that are written."""


def to_bytes(piece: Piece) -> bytes:
    """All rows after one another."""
    data = np.concatenate([data for data, _ in piece.parts], axis=1)
    there = np.concatenate([there for _, there in piece.parts], axis=1)
    return bytes(data[there].tobytes())


def joined(*pieces: Piece) -> Piece:
    """Pieces of the same rows after one another."""
    lengths: U64 = np.stack([one.lengths for one in pieces]).sum(axis=0, dtype=np.uint64)
    return Piece(tuple(part for one in pieces for part in one.parts), lengths)


def only(piece: Piece, rows: Mask) -> Piece:
    """The piece in these rows; nothing in others."""
    parts = tuple((data, there & rows[:, None]) for data, there in piece.parts)
    return Piece(parts, piece.lengths * rows)


def integer(number: int, values: npt.NDArray[np.integer], rows: Mask | None = None) -> Piece:
    """A field of an integer type (uint32, int64, enum, bool …), in these rows."""
    found = joined(_tag(number, _VARINT, len(values)), _varint(values.astype(np.uint64)))
    return found if rows is None else only(found, rows)


def fixed64(number: int, values: U64, rows: Mask) -> Piece:
    """A field of type fixed64, in these rows."""
    data = values.astype("<u8").view(np.uint8).reshape(len(values), 8)
    return only(joined(_tag(number, _FIXED64, len(values)), _whole(data)), rows)


def message(number: int, *fields: Piece, rows: Mask | None = None) -> Piece:
    """A field that is a message of these fields, in these rows."""
    inside = joined(*fields)
    head = _tag(number, _LENGTH, len(inside.lengths)), _varint(inside.lengths)
    found = joined(*head, inside)
    return found if rows is None else only(found, rows)


def _tag(number: int, wire: int, rows: int) -> Piece:
    ((one, _),) = _varint(np.array([number << 3 | wire], np.uint64)).parts
    return _whole(np.repeat(one, rows, axis=0))


def _whole(data: U8) -> Piece:
    rows, width = data.shape
    return Piece(((data, np.ones(data.shape, np.bool_)),), np.full(rows, width, np.uint64))


def _varint(values: U64) -> Piece:
    """Seven bits a byte, the low ones first; the highest bit says that there are more."""
    width = max((int(values.max(initial=0)).bit_length() + 6) // 7, 1)
    data = np.empty((len(values), width), np.uint8)
    there = np.empty((len(values), width), np.bool_)
    lengths = np.ones(len(values), np.uint64)
    rest: npt.NDArray[Any] = values
    for at in range(width):
        there[:, at] = rest > 0 if at else True
        more = rest >= 0x80
        data[:, at] = (rest & 0x7F) | more.astype(np.uint64) << 7
        lengths += more
        rest = rest >> 7
    return Piece(((data, there),), lengths)
