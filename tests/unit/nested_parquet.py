"""Writes the nested layout byte by byte, with its stacks as bare repeated groups.

PyArrow and DuckDB only write annotated lists, while recordings in this layout come with
`repeated group ustack {…}` and no annotation: hence this small writer (PLAIN, not compressed).
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from pathlib import Path

INT32, INT64, BYTES = 1, 2, 6
UTF8, U16, U32, U64 = 0, 12, 13, 14
REQUIRED, REPEATED = 0, 2

COLUMNS: dict[str, tuple[int, int | None]] = {
    "timestamp": (INT64, U64),
    "duration": (INT64, U64),
    "kind": (BYTES, UTF8),
    "cpu": (INT32, U16),
    "tgid": (INT32, U32),
    "span_id": (INT64, U64),
    "parent_id": (INT64, U64),
    "id": (INT64, U64),
    "amount": (INT64, U64),
    "pid": (INT32, U32),
    "command": (BYTES, UTF8),
    "trace_name": (BYTES, UTF8),
    "buildid": (BYTES, None),
}
FRAME: dict[str, tuple[int, int | None]] = {
    "name": (BYTES, UTF8),
    "address": (INT64, U64),
    "offset": (INT64, U64),
}
EMPTY: dict[str, object] = {
    name: (0 if kind != BYTES else "" if annotation == UTF8 else b"")
    for name, (kind, annotation) in COLUMNS.items()
} | {"ustack": [], "kstack": []}

STRUCT, LIST, I32, I64, BINARY = 12, 9, 5, 6, 8


def write_nested(path: Path, rows: Sequence[dict[str, object]]) -> None:
    """Write rows: a dict per row over `EMPTY`; stacks are lists of (name, address, offset)."""
    filled = [EMPTY | row for row in rows]
    body = bytearray(b"PAR1")
    chunks: list[bytes] = []

    def add(path: list[str], kind: int, levels: bytes, values: list[object], count: int) -> None:
        page = levels + b"".join(_plain(kind, value) for value in values)
        header = _struct(
            (1, I32, _int(0)),
            (2, I32, _int(len(page))),
            (3, I32, _int(len(page))),
            (
                5,
                STRUCT,
                _struct(
                    (1, I32, _int(count)),
                    (2, I32, _int(0)),
                    (3, I32, _int(3)),
                    (4, I32, _int(3)),
                ),
            ),
        )
        at = len(body)
        body.extend(header + page)
        size = _int(len(header) + len(page))
        meta = _struct(
            (1, I32, _int(kind)),
            (2, LIST, _list(I32, [_int(0), _int(3)])),
            (3, LIST, _list(BINARY, [_binary(part.encode()) for part in path])),
            (4, I32, _int(0)),
            (5, I64, _int(count)),
            (6, I64, size),
            (7, I64, size),
            (9, I64, _int(at)),
        )
        chunks.append(_struct((2, I64, _int(at)), (3, STRUCT, meta)))

    for name, (kind, _) in COLUMNS.items():
        add([name], kind, b"", [row[name] for row in filled], len(filled))
    for stack in ("ustack", "kstack"):
        lists = [row[stack] for row in filled]
        repetition: list[int] = []
        definition: list[int] = []
        frames: list[tuple[object, ...]] = []
        for frames_of_row in lists:
            assert isinstance(frames_of_row, list)
            repetition += [0] + [1] * (len(frames_of_row) - 1)
            definition += [1] * len(frames_of_row) or [0]
            frames += frames_of_row
        levels = _levels(repetition) + _levels(definition)
        for position, (name, (kind, _)) in enumerate(FRAME.items()):
            values = [frame[position] for frame in frames]
            add([stack, name], kind, levels, values, len(repetition))

    schema = [_struct((4, BINARY, _binary(b"schema")), (5, I32, _int(len(EMPTY))))]
    schema += [_leaf(name, *kind) for name, kind in COLUMNS.items()]
    for stack in ("ustack", "kstack"):
        schema.append(
            _struct(
                (3, I32, _int(REPEATED)),
                (4, BINARY, _binary(stack.encode())),
                (5, I32, _int(len(FRAME))),
            )
        )
        schema += [_leaf(name, *kind) for name, kind in FRAME.items()]
    group = _struct(
        (1, LIST, _list(STRUCT, chunks)),
        (2, I64, _int(len(body))),
        (3, I64, _int(len(filled))),
    )
    footer = _struct(
        (1, I32, _int(1)),
        (2, LIST, _list(STRUCT, schema)),
        (3, I64, _int(len(filled))),
        (4, LIST, _list(STRUCT, [group])),
    )
    path.write_bytes(bytes(body) + footer + struct.pack("<I", len(footer)) + b"PAR1")


def _leaf(name: str, kind: int, annotation: int | None) -> bytes:
    fields = [
        (1, I32, _int(kind)),
        (3, I32, _int(REQUIRED)),
        (4, BINARY, _binary(name.encode())),
    ]
    if annotation is not None:
        fields.append((6, I32, _int(annotation)))
    return _struct(*fields)


def _plain(kind: int, value: object) -> bytes:
    if isinstance(value, int):
        return value.to_bytes(4 if kind == INT32 else 8, "little")
    data = value.encode() if isinstance(value, str) else value
    assert isinstance(data, bytes)
    return struct.pack("<I", len(data)) + data


def _levels(levels: list[int]) -> bytes:
    """Runs of length one, each one bit wide."""
    data = b"".join(_varint(1 << 1) + bytes([level]) for level in levels)
    return struct.pack("<I", len(data)) + data


def _varint(number: int) -> bytes:
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def _int(number: int) -> bytes:
    return _varint(number << 1)  # zigzag of what is never negative


def _binary(data: bytes) -> bytes:
    return _varint(len(data)) + data


def _list(element: int, items: list[bytes]) -> bytes:
    many = len(items) >= 15
    head = bytes([0xF0 | element]) + _varint(len(items)) if many else None
    return (head or bytes([len(items) << 4 | element])) + b"".join(items)


def _struct(*fields: tuple[int, int, bytes]) -> bytes:
    out = bytearray()
    last = 0
    for number, kind, data in fields:
        out.append((number - last) << 4 | kind)
        out += data
        last = number
    out.append(0)
    return bytes(out)
