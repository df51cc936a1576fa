"""The kernel side's own books of spans: what is open, since when, and what went wrong.

Comes in: the maps of bpf/spans.h. Goes out: states by span, spans still open as events, counts.
"""

from __future__ import annotations

import secrets
import struct
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from stacks_tui.capture.bpf import BpfMap
from stacks_tui.kinds import Kind
from stacks_tui.records import EVENT, EventFlag, SpanCount

DEPTH = 16
_KEY = struct.Struct("<QII")
_KEYS = np.dtype([("span_id", "<u8"), ("tgid", "<u4"), ("image", "<u4")])
_STATE = np.dtype(
    [
        ("first", "<u8"),
        ("busy", "<u8"),
        ("amount", "<u8"),
        ("deep", "<u8"),
        ("enters", "<u4"),
        ("inside", "<u4"),
        ("pid", "<u4"),
        ("flags", "<u4"),
        ("told", "<u4"),
        ("reserved", "<u4"),
    ]
)
"""`struct span_state` of bpf/spans.h."""
_OPEN = np.dtype([("span_id", "<u8"), ("entered", "<u8"), ("born", "<u4"), ("reserved", "<u4")])
_THREAD = np.dtype(
    [
        ("depth", "<u8"),
        ("awaits_of", "<u8"),
        ("awaits", "<u8"),
        ("awaits_flags", "<u8"),
        ("open", _OPEN, (DEPTH,)),
    ]
)
"""`struct thread_spans`."""


@dataclass(frozen=True, slots=True)
class SpanState:
    """What the kernel side knows of an open span."""

    first: int
    """When it was entered first, ns, CLOCK_MONOTONIC."""
    busy: int
    """ns entered so far, but for the enters that have no exit yet."""
    amount: int
    enters: int
    pid: int
    """The thread that entered it last."""


class SpanMaps:
    """The maps of spans, read and emptied."""

    def __init__(self, maps: Mapping[str, BpfMap]) -> None:
        self._threads = maps["thread_spans"]
        self._open = maps["open_spans"]
        self._counters = maps["span_counters"]

    def counts(self) -> dict[str, int]:
        """By `SpanCount` (lower case), since the programs were loaded; only what is not 0."""
        raw = self._counters.get(bytes(4)) or b""
        sums = np.frombuffer(raw, "<u8").reshape(-1, len(SpanCount)).sum(axis=0).tolist()
        return {one.name.lower(): sums[one] for one in SpanCount if sums[one]}

    def take(self, tgid: int, image: int, span_id: int, born: int) -> SpanState | None:
        """The state of a span that nobody will close any more, which is forgotten with that."""
        key = _KEY.pack(span_id, tgid, image)
        raw = self._open.get(key)
        if raw is None:
            return None
        state = np.frombuffer(raw, _STATE)[0]
        if int(state["first"]) & 0xFFFFFFFF != born:
            return None  # another one of the same id
        self._open.drop(key)
        return SpanState(
            *(int(state[name]) for name in ("first", "busy", "amount", "enters", "pid"))
        )

    def forget(self) -> None:
        """Empty them: what was entered while nobody listened is not known."""
        for table in (self._threads, self._open):
            for key in [key for key, _ in table.items()]:
                table.drop(key)

    def still_open(self, now: int) -> npt.NDArray[np.void]:
        """The spans that are open, as closes (dtype `EVENT`, flag OPEN) at `now`.

        While the probes go on, one that is being left at this moment may lack that stretch.
        """
        raw = self._open.at_once()
        keys, states = np.frombuffer(raw[0], _KEYS), np.frombuffer(raw[1], _STATE)
        chosen = states["first"] <= now
        keys, states = keys[chosen], states[chosen]
        events = np.zeros(len(keys), EVENT)
        events["time"] = now
        events["duration"] = now - states["first"]
        events["amount"] = states["amount"]
        events["span_id"] = keys["span_id"]
        events["span_born"] = states["first"] & np.uint64(0xFFFFFFFF)
        events["tgid"] = keys["tgid"]
        events["pid"] = states["pid"]
        events["state"] = states["enters"]
        events["kind"] = Kind.TRACE_CLOSE
        events["flags"] = states["flags"].astype(np.uint8) | np.uint8(EventFlag.OPEN)
        events["word0"] = states["busy"] + self._entered_now(events, now)
        deep = states["deep"]
        events["word0"] += np.where((deep > 0) & (deep <= now), now - deep, 0)
        return events

    def _entered_now(self, events: npt.NDArray[np.void], now: int) -> npt.NDArray[np.uint64]:
        """ns of each of these spans since the enters on stacks that have no exit yet."""
        threads = np.frombuffer(self._threads.at_once()[1], _THREAD)
        entered = threads["open"][np.arange(DEPTH) < threads["depth"][:, None]]
        entered = entered[entered["entered"] <= now]
        # whose process it is they don't say: no two spans of one id begin at the same moment
        every = np.concatenate([_moments(entered, "born"), _moments(events, "span_born")])
        spans, places = np.unique(every, return_inverse=True)
        times = np.zeros(len(spans), np.uint64)
        np.add.at(times, places[: len(entered)], np.uint64(now) - entered["entered"])
        found: npt.NDArray[np.uint64] = times[places[len(entered) :]]
        return found


def _moments(spans: npt.NDArray[np.void], born: str) -> npt.NDArray[np.uint64]:
    """The ids and beginnings of spans in one number, to compare."""
    mixed: npt.NDArray[np.uint64] = spans["span_id"] * _ODD + spans[born].astype(np.uint64)
    return mixed


_ODD = np.uint64(secrets.randbits(64) | 1)
