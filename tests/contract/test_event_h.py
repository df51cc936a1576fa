"""`bpf/event.h` and its twins in Python agree: codes, flags, layouts."""

from __future__ import annotations

import re
from enum import IntEnum

import numpy as np
import pytest

from stacks_tui import records
from stacks_tui.kinds import Kind
from stacks_tui.resources import folder

HEADER = (folder("bpf") / "event.h").read_text(encoding="utf-8")
TYPES = {"u8": "u1", "u16": "<u2", "u32": "<u4", "u64": "<u8"}


def without_comments(text: str) -> str:
    return re.sub(r"//[^\n]*|/\*.*?\*/", "", text, flags=re.DOTALL)


def body(what: str, name: str) -> str:
    match = re.search(rf"\b{what} {name} {{(.*?)}};", without_comments(HEADER), re.DOTALL)
    assert match, f"no {what} {name} in event.h"
    return match[1]


def c_enum(name: str) -> dict[str, int]:
    entries = [entry.strip() for entry in body("enum", name).split(",") if entry.strip()]
    pairs = [re.fullmatch(r"(\w+) = (\d+)", entry) for entry in entries]
    assert all(pairs), f"an entry of enum {name} has no plain value"
    return {pair[1]: int(pair[2]) for pair in pairs if pair}


def c_struct(name: str) -> list[tuple[str, str]]:
    members = [line.strip() for line in body("struct", name).split(";") if line.strip()]
    pairs = [re.fullmatch(r"(u8|u16|u32|u64) (\w+)", member) for member in members]
    assert all(pairs), f"a member of struct {name} is no plain number"
    return [(pair[2], TYPES[pair[1]]) for pair in pairs if pair]


@pytest.mark.parametrize(
    ("name", "prefix", "twin", "sentinel"),
    [
        ("kind", "KIND_", Kind, "KIND_COUNT"),
        ("event_flag", "EVENT_", records.EventFlag, None),
        ("stack_status", "STACK_", records.StackStatus, "STACK_STATUS_COUNT"),
        ("stack_flag", "STACK_", records.StackFlag, None),
        ("record", "RECORD_", records.RecordCode, None),
        ("span_count", "SPAN_", records.SpanCount, "SPAN_COUNTS"),
    ],
)
def test_codes(name: str, prefix: str, twin: type[IntEnum], sentinel: str | None) -> None:
    codes = c_enum(name)
    if sentinel is not None:
        assert codes.pop(sentinel) == max(codes.values()) + 1
    assert codes == {f"{prefix}{one.name}": one.value for one in twin}


@pytest.mark.parametrize(
    ("name", "twin"), [("event", records.EVENT), ("stack_header", records.STACK_HEADER)]
)
def test_layouts(name: str, twin: np.dtype[np.void]) -> None:
    members = c_struct(name)
    # aligned as C does it: it must come out the same as packed, that is without holes
    assert np.dtype(members, align=True) == np.dtype(members) == twin
    assert twin.itemsize % 8 == 0
