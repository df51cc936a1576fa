"""What a trace costs to write, and how large it is: run on a quiet machine.

    .venv/bin/python benchmarks/traces.py [EVENTS] [STACKS]

Makes a recording of threads that run, wait and wake each other, and prints a Markdown table: for
each format the time from the recording to the whole file, its size, and the peak of memory. Of an
event of the recording there are about one and a half in the trace.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from stacks_tui.enrich.processes import ProcessRow
from stacks_tui.owner import invoking_user
from stacks_tui.records import StackStatus
from stacks_tui.schema import EVENTS
from stacks_tui.store.manifest import KindCounts, ManifestHeader, RecordingStatus
from stacks_tui.store.writer import RecordingWriter

EPOCH = 1_700_000_000_000_000_000
THREADS = 16
DEPTH = 30
NAMES = 2_000
FORMATS = (
    ("Chrome JSON", "json", ()),
    ("Chrome JSON, gzipped", "json.gz", ()),
    ("Perfetto", "pftrace", ("--format", "perfetto")),
    ("page of HTML", "html", ("--format", "html")),
)
START = "from stacks_tui.cli.export import run; run()"


def write_recording(path: Path, events: int, stacks: int) -> None:
    """Slices and waits in turn, a third of them woken by another thread; some samples and reads."""
    user = invoking_user()
    head = ManifestHeader("0", "host", "6", EPOCH, EPOCH, ("bench",), ("switch:uk",), "bench")
    writer = RecordingWriter.create(path, user, head)
    rng = np.random.default_rng(7)
    end = 0
    for first in range(0, events, 65_536):
        n = min(65_536, events - first)
        kind = rng.choice(["switch", "wait", "profile", "vfs_read"], n, p=[0.4, 0.4, 0.1, 0.1])
        time_ns = np.uint64(EPOCH) + (np.arange(first, first + n, dtype=np.uint64) + 1) * 20_000
        end = int(time_ns[-1])
        thread = np.arange(first, first + n) % THREADS
        wait = kind == "wait"
        stack = (rng.integers(0, stacks, n) + 1).astype(np.uint64)
        values = {
            "timestamp": time_ns,
            "duration": rng.integers(1_000, 20_000 * THREADS, n).astype(np.uint64),
            "kind": kind,
            "cpu": np.zeros(n, np.uint16),
            "tgid": np.full(n, 100, np.uint32),
            "pid": (100 + thread).astype(np.uint32),
            "command": np.full(n, "bench"),
            "thread": np.array([f"worker{at}" for at in range(THREADS)])[thread],
            "amount": np.where(wait, 900, 4096).astype(np.uint64),
            "state": pa.array(np.full(n, "sleeping"), mask=~wait & (kind != "switch")),
            "waker": pa.array(
                np.where(thread % 3 == 0, 100 + (thread + 1) % THREADS, 0).astype(np.uint32),
                mask=~wait,
            ),
            "ustack": stack,
            "kstack": np.where(wait, 1, 2).astype(np.uint64),
            "wstack": pa.array(stack, mask=~wait),
        }
        arrays = []
        for field in EVENTS:
            plain = field.type.value_type if pa.types.is_dictionary(field.type) else field.type
            given = values.get(field.name)
            column = pa.nulls(n, plain) if given is None else pa.array(given, plain)
            arrays.append(column.cast(field.type))
        writer.write_events(pa.RecordBatch.from_arrays(arrays, schema=EVENTS))
    for first in range(0, stacks, 4_096):
        numbers = range(first + 1, min(first + 4_096, stacks) + 1)
        writer.write_stacks([stack_of(number) for number in numbers])
    writer.write_processes(
        [ProcessRow(100, EPOCH, None, 1, "bench", "bench", "/bin/bench", b"\1" * 20, "/", None)]
    )
    writer.close(RecordingStatus(end, {"switch": KindCounts(received=events)}))


@dataclass(frozen=True)
class Frame:
    """One of a stack's frames."""

    name: str
    address: int
    offset: int = 8
    module: str = "/bin/bench"
    buildid: bytes = b"\1" * 20
    file: None = None
    line: None = None
    inlined: bool = False


@dataclass(frozen=True)
class Stack:
    """A stack as the store takes it."""

    id: int
    frames: list[Frame]
    complete: bool = True
    truncated: bool = False
    status: StackStatus = StackStatus.COMPLETE
    native: None = None
    python: None = None


FRAMES = [Frame(f"function_{number}", 0x1000 + number * 64) for number in range(NAMES)]


def stack_of(number: int) -> Stack:
    """A path that no other number has; neighbours share most of it, from the outermost frame on."""
    depths = range(DEPTH, 0, -1)
    return Stack(
        number, [FRAMES[(number * depth // DEPTH + depth * 7) % NAMES] for depth in depths]
    )


def export(recording: Path, path: Path, options: tuple[str, ...]) -> str:
    """Write it; the cells of a row."""
    command = [sys.executable, "-P", "-c", START, "trace", "-r", str(recording), "-o", str(path)]
    began = time.perf_counter()
    with tempfile.TemporaryFile() as said:
        child = subprocess.Popen([*command, "--json", *options], stdout=said)
        _, status, usage = os.wait4(child.pid, 0)
        assert status == 0, status
        said.seek(0)
        told = json.load(said)
    seconds = time.perf_counter() - began
    cpu = usage.ru_utime + usage.ru_stime
    size, peak = path.stat().st_size / 1e6, usage.ru_maxrss / 1e3
    return f"{told['rows']:,} | {seconds:.1f} | {cpu:.1f} | {size:.0f} MB | {peak:.0f} MB"


def main() -> None:
    """Print the table."""
    events = int(sys.argv[1]) if len(sys.argv) > 1 else 650_000
    stacks = int(sys.argv[2]) if len(sys.argv) > 2 else 10_000
    with tempfile.TemporaryDirectory() as folder:
        recording = Path(folder) / "recording"
        write_recording(recording, events, stacks)
        print("| file | events in it | seconds | CPU seconds | size | peak memory |")
        print("|---|---|---|---|---|---|")
        for title, ending, options in FORMATS:
            path = Path(folder) / f"trace.{ending}"
            print(f"| {title} | {export(recording, path, options)} |", flush=True)
            path.unlink()


if __name__ == "__main__":
    main()
