"""Spans with known content for the tests of the live ledger: events, and what joins to them."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from live_events import OFFSET, Story, batches, story

from stacks_tui.enrich.spans import SPAN, Opened
from stacks_tui.kinds import Kind
from stacks_tui.records import EVENT, EventFlag
from stacks_tui.schema import EVENTS

NAMES = ("GET /", "GET /items", "query", "render", "[/] evil\x1b")


@dataclass
class Labelled:
    """Events with the labels of spans, and the spans by (tgid, number)."""

    events: npt.NDArray[np.void]
    stacks: tuple[object, ...]
    spans: dict[tuple[int, int], tuple[str, int, int, bool]] = field(default_factory=dict)
    """Name, parent, id, since seen."""
    told: int = -1
    """Up to when `opened` has told of spans."""

    def opened(self, events: npt.NDArray[np.void]) -> Opened:
        """The spans that are entered in the time of these events, in order."""
        closes = self.events[self.events["kind"] == Kind.TRACE_CLOSE]
        first = closes["time"] - closes["duration"]
        order = np.argsort(first, kind="stable")
        closes, first = closes[order], first[order]
        inside = (first > self.told) & (first <= events["time"].max())
        self.told = max(self.told, int(events["time"].max()))
        closes, first = closes[inside], first[inside]
        spans = np.zeros(len(closes), SPAN)
        for name in ("span_id", "tgid", "pid"):
            spans[name] = closes[name]
        spans["first"], spans["born"] = first, closes["span_born"]
        found = [
            self.spans[key]
            for key in zip(closes["tgid"].tolist(), closes["span_id"].tolist(), strict=True)
        ]
        for name, place in (("parent_id", 1), ("id", 2), ("seen", 3)):
            spans[name] = [one[place] for one in found]
        names = pa.array([one[0] for one in found], pa.string()).dictionary_encode()
        return Opened(spans, names)

    def rows(self, events: npt.NDArray[np.void]) -> pa.RecordBatch:
        """Events as they are stored."""
        plain = batches().arrow(events)
        keys = zip(events["tgid"].tolist(), events["span_id"].tolist(), strict=True)
        found = [self.spans.get(key) for key in keys]
        traces = np.isin(events["kind"], [Kind.TRACE_EXIT, Kind.TRACE_CLOSE]).tolist()
        joined = {
            "trace_name": [one and one[0] for one in found],
            "parent_id": [one and (one[1] or None) for one in found],
            "id": [one and (one[2] or None) for one in found],
            "since_seen": [
                bool(one and one[3]) if trace else None
                for one, trace in zip(found, traces, strict=True)
            ],
        }
        for name, values in joined.items():
            kind = EVENTS.field(name).type
            plain_kind = kind.value_type if pa.types.is_dictionary(kind) else kind
            column = pa.array(values, plain_kind)
            if column.type != kind:
                column = column.dictionary_encode()
            plain = plain.set_column(plain.schema.get_field_index(name), EVENTS.field(name), column)
        return plain.cast(EVENTS) if plain.schema != EVENTS else plain


def with_spans(count: int, seconds: int, seed: int = 5) -> Labelled:
    """A story in which most events lie in spans: requests with children, ids used again, some that
    are never closed, and the rows that tell of those at the end."""
    told: Story = story(count, seconds, seed)
    rng = np.random.default_rng(seed)
    end = seconds * 10**9 - 1
    spans: dict[tuple[int, int], tuple[str, int, int, bool]] = {}
    extra: list[npt.NDArray[np.void]] = []
    events = told.events.copy()
    for tgid in range(1000, 1006):
        at, number = 10**8, 0
        while at < end - 10**9:
            took = int(rng.integers(10**6, 3 * 10**9))
            parent = number % 7 + 1 if tgid == 1003 else number + 1  # 1003 uses ids again
            child = parent + 7 if tgid == 1003 else number + 2
            number += 2
            stays = bool(rng.random() < 0.02)
            until = end if stays else min(at + took, end)
            inner = (at + (until - at) // 4, at + (until - at) // 2)
            seen = bool(rng.random() < 0.1)
            if tgid == 1003:
                spans[tgid, parent] = (NAMES[parent % 2], 0, 0, False)
                spans[tgid, child] = (NAMES[2 + child % 3], parent, 0, False)
            else:
                spans[tgid, parent] = (NAMES[number // 2 % 2], 0, number, seen)
                spans[tgid, child] = (NAMES[2 + number % 3], parent, number, False)
            for span, begins, ends, is_open in (
                (parent, at, until, stays), (child, *inner, False),
            ):  # fmt: skip
                inside = (events["tgid"] == tgid) & (events["time"] > begins)
                inside &= (events["time"] < ends) & (rng.random(len(events)) < 0.9)
                events["span_id"][inside] = span
                events["span_born"][inside] = begins & 0xFFFFFFFF
                extra.append(_told(tgid, span, begins, ends, is_open, rng))
            if stays:
                break
            at = until + int(rng.integers(1, 10**8))
    every = np.concatenate([events, *extra])
    return Labelled(every[np.argsort(every["time"], kind="stable")], told.stacks, spans)


def _told(
    tgid: int, span: int, begin: int, end: int, is_open: bool, rng: np.random.Generator
) -> npt.NDArray[np.void]:
    """An exit in the middle, and the closing, or what is told of it at the end."""
    found = np.zeros(2, EVENT)
    found["tgid"], found["pid"] = tgid, tgid * 10
    found["span_id"], found["span_born"] = span, begin & 0xFFFFFFFF
    found["kind"] = (Kind.TRACE_EXIT, Kind.TRACE_CLOSE)
    busy = (end - begin) // 3
    found["time"] = (begin + busy, end)
    found["duration"] = (busy, end - begin)
    found["word0"][1], found["state"][1] = busy, 1
    found["flags"][1] = EventFlag.OPEN if is_open else 0
    found["ustack"][0] = rng.choice([0, 101, 105])
    return found


def moment(ns: int) -> int:
    """Of the story, ns since the Unix epoch."""
    return OFFSET + ns
