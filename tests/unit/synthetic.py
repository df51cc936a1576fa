"""A large recording made of numbers alone: as many events and distinct stacks as one asks for.

Comes in: how many. Goes out: a recording's folder in the store's layout, whose totals follow from
the counts. The stacks are the paths of a tree, as those of programs are.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from store_rows import EPOCH, header, me

from stacks_tui.enrich.processes import ProcessRow
from stacks_tui.schema import EVENTS, FRAME, STACKS
from stacks_tui.store.manifest import KindCounts, RecordingStatus
from stacks_tui.store.writer import RecordingWriter

PERIOD_NS = 10_101_010
GAP_NS = 20_000
"""Between two events."""
_BATCH = 65_536
_STACKS_PER_FILE = 50_000
_FACTOR = np.uint64(0x9E3779B97F4A7C15)


def write_synthetic(
    path: Path,
    events: int,
    stacks: int,
    *,
    kinds: Sequence[str] = ("profile",),
    depth: int = 30,
    names: int = 20_000,
    tasks: int = 8,
) -> Path:
    """A tree of calls among `names` functions, each at three addresses.

    Event `n` has the stack `n % stacks`, the kind `n % len(kinds)`, the process `n % tasks`.
    """
    writer = RecordingWriter.create(path, me(), header())
    for first in range(0, events, _BATCH):
        numbers = np.arange(first, min(first + _BATCH, events), dtype=np.uint64)
        writer.write_events(_events(numbers, stacks, kinds, tasks))
    rows = [
        ProcessRow(100 + at, EPOCH, None, 1, f"job{at}", "job", "/bin/job", b"\1" * 20, "/a", None)
        for at in range(tasks)
    ]
    writer.write_processes(rows)
    counts = {
        kind: KindCounts(received=len(range(at, events, len(kinds))))
        for at, kind in enumerate(kinds)
    }
    writer.close(RecordingStatus(EPOCH + events * GAP_NS, counts))
    for number, first in enumerate(range(0, stacks, _STACKS_PER_FILE), 1):
        ids = np.arange(first, min(first + _STACKS_PER_FILE, stacks), dtype=np.uint64)
        table = _stacks(ids, stacks, depth, names)
        pq.write_table(
            table, path / f"stacks-{number:06}.parquet", row_group_size=4_096, compression="zstd"
        )
    return path


def stack_id(number: np.ndarray) -> np.ndarray:
    """[n] u64 id of each stack by its number; never 0."""
    return (number + np.uint64(1)) * _FACTOR


def _events(numbers: np.ndarray, stacks: int, kinds: Sequence[str], tasks: int) -> pa.RecordBatch:
    n = len(numbers)
    task = (numbers % tasks).astype(np.int32)
    kind = (numbers % len(kinds)).astype(np.int32)
    durations = {"profile": PERIOD_NS, "rss": 0, "tcp_send": 0, "tcp_recv": 0}
    duration = np.array([durations.get(one, 5_000) for one in kinds], np.uint64)[kind]
    named = pa.array([f"job{at}" for at in range(tasks)])
    filled = {
        "timestamp": pa.array(numbers * np.uint64(GAP_NS) + np.uint64(EPOCH)),
        "duration": pa.array(duration),
        "kind": pa.DictionaryArray.from_arrays(kind, pa.array(kinds)),
        "cpu": pa.array((numbers % 16).astype(np.uint16)),
        "tgid": pa.array((100 + task).astype(np.uint32)),
        "pid": pa.array((100 + task).astype(np.uint32)),
        "command": pa.DictionaryArray.from_arrays(task, named),
        "thread": pa.DictionaryArray.from_arrays(task, named),
        "amount": pa.array(np.full(n, 1_000, np.uint64)),
        "buildid": pa.DictionaryArray.from_arrays(np.zeros(n, np.int32), pa.array([b"\1" * 20])),
        "ustack": pa.array(stack_id(numbers % np.uint64(stacks))),
    }
    arrays = [
        filled[field.name] if field.name in filled else pa.nulls(n, field.type) for field in EVENTS
    ]
    return pa.RecordBatch.from_arrays(arrays, schema=EVENTS)


def _stacks(ids: np.ndarray, stacks: int, depth: int, names: int) -> pa.Table:
    """Leaf first. At each depth there are 1.6 times as many branches as above it."""
    levels = np.arange(depth, 0, -1)
    branches = np.minimum(1.6**levels, stacks).astype(np.uint64)
    branch = ids[:, None] * branches[None, :] // np.uint64(stacks)
    mixed = (
        branch * _FACTOR + levels.astype(np.uint64)[None, :] * np.uint64(0xC2B2AE3D27D4EB4F)
    ) >> np.uint64(20)
    function = (mixed % np.uint64(names)).astype(np.int64).ravel()
    offset = (mixed.ravel() >> np.uint64(24)) % np.uint64(3) * np.uint64(16) + np.uint64(4)
    total = len(function)
    text = pa.array([f"module::function_number_{at}(int)" for at in range(names)])
    frames = pa.StructArray.from_arrays(
        [
            text.take(pa.array(function)),
            pa.array(0x1000 + function.astype(np.uint64) * np.uint64(64)),
            pa.array(offset),
            pa.array(["/bin/job"]).take(pa.array(np.zeros(total, np.int32))),
            pa.array([b"\1" * 20]).take(pa.array(np.zeros(total, np.int32))),
            pa.nulls(total, pa.string()),
            pa.nulls(total, pa.uint32()),
            pa.array(np.zeros(total, np.bool_)),
        ],
        fields=list(FRAME),
    )
    offsets = pa.array(np.arange(len(ids) + 1, dtype=np.int32) * np.int32(depth))
    n = len(ids)
    whole = pa.DictionaryArray.from_arrays(np.zeros(n, np.int8), pa.array(["complete"]))
    arrays = [
        pa.array(stack_id(ids)),
        pa.ListArray.from_arrays(offsets, frames, type=pa.list_(FRAME)),
        pa.array(np.ones(n, np.bool_)),
        pa.array(np.zeros(n, np.bool_)),
        whole.cast(STACKS.field("status").type),
        pa.nulls(n, STACKS.field("native").type),
        pa.nulls(n, STACKS.field("python").type),
    ]
    return pa.Table.from_arrays(arrays, schema=STACKS)
