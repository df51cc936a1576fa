"""How long the ledger's queries take on a large recording: by default 1,000,000 spans.

    python3 benchmarks/ledger.py [SPANS]

Makes a recording of requests with four parts each, nine events a span, in a temporary folder; with
ids of their own, and with a thousand ids that are used again. Prints a Markdown table.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from stacks_tui.export.questions import TABLES, ask, batches, find_question, recorded
from stacks_tui.export.selection import Selection
from stacks_tui.export.task import Task
from stacks_tui.schema import EVENTS
from stacks_tui.store.reader import Recording, open_recording

EPOCH = 1_700_000_000_000_000_000
PARTS = 5
KINDS = ("trace_close", "trace_exit", "wait", "switch", "profile", "vfs_read")
PER_FILE = 1_000_000
QUERIES = (
    "spans", "spans_with_children", "span_histogram", "slowest_spans", "span_stacks", "stuck_spans",
    "deadlocks", "locks", "span_blockers",
)  # fmt: skip
VIEWS = ("spans", "span_costs", "span_costs_with_children")

Ints = npt.NDArray[np.int64]


def write(folder: Path, spans: int, reused: bool) -> int:
    """Write events only, as they are stored; returns how many."""
    rng = np.random.default_rng(1)
    roots = spans // PARTS
    part = np.tile(np.arange(PARTS), roots)
    root = np.repeat(np.arange(roots), PARTS)
    lasts = rng.lognormal(16, 1, roots).astype(np.int64)[root]
    begin = np.sort(rng.integers(0, 120 * 10**9, roots))[root] + lasts * part // 8
    lasts = np.where(part > 0, lasts // 8, lasts)
    number = np.arange(roots * PARTS) + (1 << 48)
    above = root * PARTS + (1 << 48)
    if reused:
        number, above = number % 1000 + 1, above % 1000 + 1
    name = rng.integers(0, 20, roots)[root] * PARTS + part
    thread = 101 + rng.integers(0, 16, roots)[root]
    told: list[tuple[int, Ints, Ints]] = [(0, begin + lasts, lasts)]
    told += [(1, begin + lasts // at, lasts // 4) for at in (3, 1)]
    told += [(2, begin + lasts * at // 10, lasts // 8) for at in (1, 3, 5)]
    told += [(kind, begin + lasts // 10, lasts // 8) for kind in (3, 4, 5)]
    end = np.concatenate([times for _, times, _ in told])
    order = np.argsort(end, kind="stable")
    kind = np.repeat([kind for kind, _, _ in told], roots * PARTS)[order]
    duration = np.concatenate([took for _, _, took in told])[order]
    at = np.tile(np.arange(roots * PARTS), len(told))[order]
    end = end[order] + EPOCH
    for begins in range(0, len(end), PER_FILE):
        chosen = slice(begins, begins + PER_FILE)
        one, close = at[chosen], kind[chosen] == 0
        columns = {field.name: pa.nulls(len(one), field.type) for field in EVENTS}
        plain = {
            "timestamp": end[chosen], "duration": duration[chosen], "pid": thread[one],
            "tgid": np.full(len(one), 100), "cpu": np.zeros(len(one)), "span_id": number[one],
            "amount": duration[chosen] // 2, "ustack": one % 5000 + 1,
        }  # fmt: skip
        for label, values in plain.items():
            columns[label] = pa.array(values.astype(np.uint64)).cast(EVENTS.field(label).type)
        columns["parent_id"] = pa.array(above[one], pa.uint64(), mask=part[one] == 0)
        columns["busy"] = pa.array(duration[chosen] // 2, pa.uint64(), mask=~close)
        columns["enters"] = pa.array(np.full(len(one), 2), pa.uint32(), mask=~close)
        columns["open"] = pa.array(np.zeros(len(one), np.bool_), mask=~close)
        columns["kind"] = _named(kind[chosen], list(KINDS))
        columns["command"] = _named(np.zeros(len(one), np.int64), ["job"])
        columns["trace_name"] = _named(name[one], [f"span {one}" for one in range(100)])
        table = pa.table([columns[field.name] for field in EVENTS], schema=EVENTS)
        file = folder / f"events-{begins // PER_FILE + 1:06}.parquet"
        pq.write_table(table, file, compression="zstd", row_group_size=65536)
    return len(end)


def _named(codes: Ints, names: list[str]) -> pa.DictionaryArray:
    return pa.DictionaryArray.from_arrays(pa.array(codes, pa.int32()), pa.array(names))


def seconds(recording: Recording, query: str, view: bool) -> float:
    """To have all rows."""
    began = time.monotonic()
    if view:
        recording.table(f"select count(*), sum(hash(v)) from {query} v")
    else:
        question = find_question(query, TABLES)
        span = recorded(recording)
        for _ in batches(ask(recording, question, Selection(), span, span.begin, Task())):
            pass
    return time.monotonic() - began


def main() -> None:
    """Make the recordings, ask, print."""
    spans = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    found: dict[str, list[float]] = {}
    for reused in (False, True):
        with tempfile.TemporaryDirectory() as name:
            events = write(Path(name), spans, reused)
            with open_recording(Path(name)) as recording:
                for view in VIEWS:
                    found.setdefault(f"view `{view}`", []).append(seconds(recording, view, True))
                for query in QUERIES:
                    found.setdefault(f"`{query}`", []).append(seconds(recording, query, False))
    print(f"{spans:,} spans, {events:,} events; seconds\n")
    print("| | ids of their own | 1,000 ids used again |\n|---|---|---|")
    for query, took in found.items():
        print(f"| {query} | " + " | ".join(f"{one:.1f}" for one in took) + " |")


if __name__ == "__main__":
    main()
