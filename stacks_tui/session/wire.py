"""Frozen dataclasses as JSON and back, by their declared types: the values of the protocol.

Comes in and goes out: plain lists, strings, numbers. A dataclass is the list of its fields; where
a field may hold one of several dataclasses, the name stands first. What doesn't fit the declared
types is a `WireError`; nothing but the declared classes is ever made.
"""

from __future__ import annotations

import functools
import math
import operator
import types
import typing
from collections.abc import Callable, Hashable
from dataclasses import fields, is_dataclass
from enum import Enum
from pathlib import Path
from typing import Any

Packer = Callable[[Any], Any]
Unpacker = Callable[[Any], Any]


class WireError(ValueError):
    """The data does not fit the type."""


def pack(value: Any) -> list[Any]:
    """A dataclass as a list that JSON can hold."""
    packed: list[Any] = _codec(typing.cast("Hashable", type(value)))[0](value)
    return packed


def unpack(kind: type[Any], data: Any) -> Any:
    """The dataclass that `pack` made this list of.

    Raises:
        WireError: it does not fit.
    """
    return _codec(typing.cast("Hashable", kind))[1](data)


def _same(value: Any) -> Any:
    return value


@functools.cache
def _codec(kind: Any) -> tuple[Packer, Unpacker]:
    origin = typing.get_origin(kind)
    if origin in (typing.Union, types.UnionType):
        return _union(typing.get_args(kind))
    if origin is tuple:
        return _tuple(typing.get_args(kind))
    if isinstance(kind, type) and is_dataclass(kind):
        return _dataclass(kind)
    if isinstance(kind, type) and issubclass(kind, Enum):
        return operator.attrgetter("value"), functools.partial(_enum, kind)
    if kind is Path:
        return str, lambda data: Path(_plain(str, data))
    if kind is float:
        return _float, _float
    if kind in (bool, int, str):
        return _same, functools.partial(_plain, kind)
    raise TypeError(f"{kind!r} can't cross the process border")


def _plain(kind: type[Any], data: Any) -> Any:
    if type(data) is not kind:
        raise WireError(f"{kind.__name__} expected, not {type(data).__name__}")
    return data


def _float(data: Any) -> float:
    if type(data) not in (float, int):
        raise WireError(f"float expected, not {type(data).__name__}")
    try:
        value = float(data)
    except OverflowError:
        value = math.inf
    if not math.isfinite(value):
        raise WireError("a number that is not finite")
    return value


def _enum(kind: type[Enum], data: Any) -> Enum:
    try:
        return kind(_plain(type(next(iter(kind)).value), data))
    except ValueError as error:
        raise WireError(f"not a {kind.__name__}") from error


def _tuple(arguments: tuple[Any, ...]) -> tuple[Packer, Unpacker]:
    if len(arguments) != 2 or arguments[1] is not Ellipsis:
        raise TypeError("only tuples of one type cross the process border")
    packer, unpacker = _codec(arguments[0])

    def unpack_all(data: Any) -> tuple[Any, ...]:
        return tuple(map(unpacker, _plain(list, data)))

    if packer is _same:
        return list, unpack_all
    return lambda value: list(map(packer, value)), unpack_all


def _union(members: tuple[Any, ...]) -> tuple[Packer, Unpacker]:
    optional = type(None) in members
    rest = [one for one in members if one is not type(None)]
    if len(rest) == 1:
        packer, unpacker = _codec(rest[0])
    else:
        packer, unpacker = _choice({one.__name__: one for one in rest})
    if not optional:
        return packer, unpacker
    return (
        lambda value: None if value is None else packer(value),
        lambda data: None if data is None else unpacker(data),
    )


def _choice(members: dict[str, Any]) -> tuple[Packer, Unpacker]:
    if not all(map(is_dataclass, members.values())):
        raise TypeError("only dataclasses may stand for one another")

    def pack_one(value: Any) -> list[Any]:
        return [type(value).__name__, *pack(value)]

    def unpack_one(data: Any) -> Any:
        name, *values = _plain(list, data) or [None]
        if not isinstance(name, str) or name not in members:
            raise WireError("of none of the types that may stand here")
        return unpack(members[name], values)

    return pack_one, unpack_one


def _dataclass(kind: type[Any]) -> tuple[Packer, Unpacker]:
    names = [one.name for one in fields(kind)]
    packers: list[Packer] = []
    unpackers: list[Unpacker] = []

    def prepare() -> None:  # late: a class may hold its own kind
        if not packers:
            hints = typing.get_type_hints(kind)
            for name in names:
                packer, unpacker = _codec(hints[name])
                packers.append(packer)
                unpackers.append(unpacker)

    def pack_fields(value: Any) -> list[Any]:
        prepare()
        return [packer(getattr(value, name)) for name, packer in zip(names, packers, strict=True)]

    def unpack_fields(data: Any) -> Any:
        prepare()
        if type(data) is not list or len(data) != len(names):
            raise WireError(f"the fields of {kind.__name__} expected")
        return kind(*(unpacker(one) for unpacker, one in zip(unpackers, data, strict=True)))

    return pack_fields, unpack_fields
