"""Message classes of protobuf, made from a table of fields without protoc.

Comes in: a package, and its messages as text. Goes out: classes, in a pool of their own, so that
another file of the same name in the process is no obstacle, and no generated code is tied to a
version of protobuf.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

_POOLS: dict[str, Any] = {}
"""Kept as long as the process: messages of older versions of protobuf don't hold on to them."""


def message_class(package: str, messages: Mapping[str, str], root: str, syntax: str) -> Any:
    """The class of the message `root`; the others are reached through its fields.

    Args:
        package: such as `perftools.profiles`.
        messages: the fields of each, as `name:type number`, with commas between; `type*` is
            repeated. A type is a scalar's or another message of the table.
        root: the message wanted.
        syntax: `proto2` or `proto3`.
    """
    file = descriptor_pb2.FileDescriptorProto(
        name=f"stacks_tui/{package}.proto", package=package, syntax=syntax
    )
    kinds = descriptor_pb2.FieldDescriptorProto
    for name, fields in messages.items():
        message = file.message_type.add(name=name)
        for field in fields.split(", "):
            declared, number = field.split()
            label, kind = declared.split(":")
            plain = kind.removesuffix("*")
            entry = message.field.add(name=label, number=int(number))
            entry.label = kinds.LABEL_REPEATED if kind != plain else kinds.LABEL_OPTIONAL
            if plain in messages:
                entry.type = kinds.TYPE_MESSAGE
                entry.type_name = f".{package}.{plain}"
            else:
                entry.type = kinds.Type.Value(f"TYPE_{plain.upper()}")
    if package not in _POOLS:
        _POOLS[package] = descriptor_pool.DescriptorPool()
        _POOLS[package].Add(file)
    found = _POOLS[package].FindMessageTypeByName(f"{package}.{root}")
    return message_factory.GetMessageClass(found)
