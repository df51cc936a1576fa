"""Which line of a timeline each event is drawn on.

Comes in: a trace. Goes out: tracks, and for each event its track and how deep it is nested there.
Viewers nest slices of a track by their times, so what overlaps otherwise is moved: what a thread
does (running, waiting), its spans, its calls and its block requests have tracks of their own, and
within these each slice goes on the first track where it nests.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from stacks_tui.export.model import COMPLETE, COUNTER, Trace

I64 = npt.NDArray[np.int64]

_GROUPS = {
    **dict.fromkeys(("switch", "wait", "wakeup", "profile"), 0),
    **dict.fromkeys(("trace_exit", "trace_close", "stuck"), 1),
    **dict.fromkeys(("vfs_read", "vfs_write"), 2),
    **dict.fromkeys(("tcp_send", "tcp_recv", "udp_send", "udp_recv"), 2),
    **dict.fromkeys(("blk_read", "blk_write"), 3),
}
"""By kind; other kinds (of a user's queries) are drawn with the first."""
_TITLES = ("", "spans", "calls", "block IO")
_LANES = 1 << 16
_DEEPEST = 512
"""Deeper nesting than any program has: events that overlap in a chain."""


@dataclass(frozen=True, slots=True)
class Track:
    """One line of a timeline."""

    pid: int
    tid: int
    """-1: of the process."""
    name: str
    """Empty: the thread's (or the process's) own; `calls`, `spans 2` …; a counter's name."""
    counter: bool = False
    unit: str = ""
    """What a counter counts."""


@dataclass(frozen=True, slots=True)
class Layout:
    """Where the events of a trace are drawn."""

    tracks: tuple[Track, ...]
    """Sorted: process by process, its counters, then thread by thread."""
    track: npt.NDArray[np.int32]
    """[events] index into `tracks`."""
    depth: npt.NDArray[np.int32]
    """[events] how many slices of the track a complete event lies in; 0 for others."""


def lay_out(trace: Trace) -> Layout:
    """Find the tracks of a trace."""
    counters = np.flatnonzero(trace.event == COUNTER)
    others = np.flatnonzero(trace.event != COUNTER)
    group = _groups(trace)[others]
    owner, place = _threads(trace, others)
    lane, depth = np.zeros(len(trace), np.int64), np.zeros(len(trace), np.int32)
    slices = np.flatnonzero(trace.event[others] == COMPLETE)
    at = others[slices]
    lane[at], depth[at] = _nest(
        place[slices] * len(_TITLES) + group[slices],
        trace.start_ns[at],
        trace.start_ns[at] + trace.duration_ns[at],
    )
    lane = np.minimum(lane, _LANES - 1)
    first = int(group.min(initial=len(_TITLES) - 1))
    which, inverse = np.unique(
        (place * len(_TITLES) + group) * _LANES + lane[others], return_inverse=True
    )
    made: list[tuple[tuple[int, ...], Track]] = []
    for key in which.tolist():
        thread, rest = divmod(key, len(_TITLES) * _LANES)
        kind, row = divmod(rest, _LANES)
        pid, tid = owner[thread]
        title = _TITLES[kind] if kind != first else ""
        name = f"{title} {row + 1}".strip() if row else title
        made.append(((pid, 1, int(tid != pid), tid, kind, row), Track(pid, tid, name)))
    shown, number = _counters(trace, counters)
    made += [((one.pid, 0, at), one) for at, one in enumerate(shown)]
    order = sorted(range(len(made)), key=lambda one: made[one][0])
    rank = np.empty(len(made), np.int32)
    rank[order] = np.arange(len(made), dtype=np.int32)
    track = np.zeros(len(trace), np.int32)
    track[others] = rank[inverse.reshape(len(others))]
    track[counters] = rank[len(which) + number]
    return Layout(tuple(made[one][1] for one in order), track, depth)


def _groups(trace: Trace) -> I64:
    """[events] index into `_TITLES`."""
    kinds = trace.kind.dictionary.to_pylist()
    table = np.array([*(_GROUPS.get(kind or "", 0) for kind in kinds), 0], np.int64)
    return table[np.asarray(trace.kind.indices.fill_null(len(kinds))).astype(np.int64)]


def _threads(trace: Trace, events: I64) -> tuple[list[tuple[int, int]], I64]:
    """The distinct (pid, tid) of these events, and [events] which of them each one has."""
    first, which = _distinct(trace.pid[events], trace.tid[events])
    at = events[first]
    return list(zip(trace.pid[at].tolist(), trace.tid[at].tolist(), strict=True)), which


def _counters(trace: Trace, events: I64) -> tuple[list[Track], I64]:
    """The counters of these events, and [events] which of them each one is."""
    names = trace.name.dictionary.to_pylist()
    codes = np.asarray(trace.name.indices).astype(np.int64)
    first, which = _distinct(trace.pid[events], codes[events])
    at = events[first]
    unit = trace.detail("unit")
    units = unit.values.take(pa.array(at)).to_pylist() if unit else [None] * len(at)
    made = [
        Track(pid, -1, names[code], counter=True, unit=str(text or ""))
        for pid, code, text in zip(trace.pid[at].tolist(), codes[at].tolist(), units, strict=True)
    ]
    return made, which


def _distinct(left: I64, right: I64) -> tuple[I64, I64]:
    """Where each distinct pair is first, and [n] which of them each one is."""
    columns = [np.unique(column, return_inverse=True) for column in (left, right)]
    codes = [inverse.reshape(len(left)) for _, inverse in columns]
    mixed = codes[0] * max(len(columns[1][0]), 1) + codes[1]
    _, first, which = np.unique(mixed, return_index=True, return_inverse=True)
    return first, which.reshape(len(left))


def _nest(key: I64, start: I64, end: I64) -> tuple[I64, npt.NDArray[np.int32]]:
    """Lane and depth of each slice among those of the same key."""
    order = np.lexsort((start - end, start, key))
    key, start, end = key[order], start[order], end[order]
    depth, bad = _depths(key, start, end)
    lane = np.zeros(len(key), np.int64)
    if bad.any():  # only these are looked at one by one
        again = np.flatnonzero(np.isin(key, np.unique(key[bad])))
        lane[again], depth[again] = _pack(key[again], start[again], end[again])
    lanes, depths = np.empty_like(lane), np.empty_like(depth)
    lanes[order], depths[order] = lane, depth
    return lanes, depths


def _depths(key: I64, start: I64, end: I64) -> tuple[npt.NDArray[np.int32], npt.NDArray[np.bool_]]:
    """Depth of sorted slices, and which of them neither nest in the one above nor follow it.

    Where slices nest, as many lie around one as have begun before it and not ended. An empty one
    counts as lasting half a ns, so that it lies in what begins with it, not in what ends there.
    """
    count = len(key)
    begins, ends = start * 2, np.where(end > start, end * 2, start * 2 + 1)
    by_end = np.lexsort((ends, key))
    # all of smaller keys have ended; of the same key those that end by then
    ended = _merged_rank(key[by_end], ends[by_end], key, begins)
    depth = np.arange(count) - ended
    bad = (depth < 0) | (depth > _DEEPEST)
    deepest = int(depth[~bad].max(initial=0))
    above = np.flatnonzero(depth == 0)
    for level in range(1, deepest + 1):
        here = np.flatnonzero(depth == level)
        if not len(above):
            bad[here] = True
        else:
            parent = above[np.maximum(np.searchsorted(above, here) - 1, 0)]
            bad[here] = (key[parent] != key[here]) | (ends[here] > ends[parent])
        above = here
    return depth.astype(np.int32), bad


def _merged_rank(keys: I64, ends: I64, key: I64, begins: I64) -> I64:
    """How many of the sorted (keys, ends) are not above each of the sorted (key, begins)."""
    order = np.lexsort(
        (
            np.repeat([0, 1], [len(keys), len(key)]),
            np.concatenate([ends, begins]),
            np.concatenate([keys, key]),
        )
    )
    mine = order >= len(keys)
    before = np.cumsum(~mine)
    found = np.empty(len(key), np.int64)
    found[order[mine] - len(keys)] = before[mine]
    return found


def _pack(key: I64, start: I64, end: I64) -> tuple[list[int], list[int]]:
    """Put each of these sorted slices on the first lane where it nests."""
    lanes: list[int] = []
    depths: list[int] = []
    open_ends: list[list[int]] = []
    current = None
    for one, begin, stop in zip(key.tolist(), start.tolist(), end.tolist(), strict=True):
        if one != current:
            current, open_ends = one, []
        lane, ends = len(open_ends), list[int]()
        for at, tried in enumerate(open_ends):
            while tried and tried[-1] <= begin:
                tried.pop()
            if not tried or stop <= tried[-1]:
                lane, ends = at, tried
                break
        else:
            open_ends.append(ends)
        lanes.append(lane)
        depths.append(len(ends))
        ends.append(max(stop, begin))
    return lanes, depths


def process_title(trace: Trace, pid: int) -> str:
    """How a process is called; its name is hostile."""
    return trace.processes.get(pid) or ("the machine" if pid == 0 else f"process {pid}")


def track_title(trace: Trace, track: Track) -> str:
    """How a track is called; names are hostile."""
    if track.counter or track.tid < 0:
        return track.name or "process"
    name = trace.threads.get((track.pid, track.tid)) or f"thread {track.tid}"
    return f"{name} {track.tid}: {track.name}" if track.name else name
