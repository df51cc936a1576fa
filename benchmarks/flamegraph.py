"""Flame graphs and speedscope files of 100,000 distinct stacks of 30 frames: time and size.

Prints a Markdown table. Where chromium is installed, also how long it takes to show the flame
graph, beyond an empty page.
"""

from __future__ import annotations

import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import pyarrow as pa

from stacks_tui.export.model import (
    Label,
    Line,
    Location,
    Origin,
    Samples,
    Stacks,
    ValueType,
    Window,
)
from stacks_tui.export.registry import find_format
from stacks_tui.export.task import ExportOptions, Task

STACKS, DEPTH, NAMES = 100_000, 30, 20_000
SHARES = (None, 0.0005, 0.0)
ASKED = (*(("flamegraph", share) for share in SHARES), ("speedscope", None))


def samples(stacks: int, depth: int, names: int) -> Samples:
    """Stacks that share what is near the root and differ near the leaf: half of each is random."""
    random = np.random.default_rng(1)
    locations = tuple(
        Location(
            (Line(f"namespace::function_{at}(int)", f"/src/file_{at % 500}.cc", at % 900),),
            0x1000 * at,
            f"/usr/lib/lib{at % 40}.so",
            None,
        )
        for at in range(names)
    )
    places = np.empty((stacks, depth), np.int32)
    shared = depth // 2
    places[:, :shared] = random.integers(0, names, (stacks, shared))
    # from the root on, each level has a few times more different frames
    for level in range(depth - shared):
        few = min(2 ** (level // 2 + 1), names)
        places[:, depth - 1 - level] = random.integers(0, few, stacks)
    hits = random.zipf(1.5, stacks).clip(1, 10**6)
    values = np.stack([hits, hits * 10_101_010], axis=1).astype(np.int64)
    return Samples(
        Stacks(locations, places.ravel(), np.arange(stacks + 1, dtype=np.int64) * depth),
        np.arange(stacks),
        (ValueType("count", "count"), ValueType("cpu", "nanoseconds")),
        values,
        (Label("pid", pa.array(random.integers(1, 5, stacks))),),
        1,
        Origin(("/rec",), ("cpu",), ("Where was CPU time spent?",), "", "", Window(0, 10**10)),
    )


def shown_in(page: Path) -> float:
    """Seconds until chromium has loaded and drawn the page."""
    command = [
        "chromium",
        "--headless",
        "--no-sandbox",
        "--disable-gpu",
        "--dump-dom",
        f"file://{page}",
    ]
    begin = time.perf_counter()
    subprocess.run(command, check=True, capture_output=True, timeout=120)
    return time.perf_counter() - begin


def main() -> None:
    """Print the table."""
    given = samples(STACKS, DEPTH, NAMES)
    print("| format | seconds | MB | notes |\n|---|---|---|---|")
    with tempfile.TemporaryDirectory() as folder:
        for name, share in ASKED:
            task = Task(ExportOptions(minimum_share=share))
            form = find_format(name)
            path = Path(folder) / f"{name}-{share}{form.extension}"
            begin = time.perf_counter()
            with path.open("wb") as file:
                form.write(given, file, task)
            took = time.perf_counter() - begin
            asked = f", --minimum {share}" if share is not None else ""
            size = path.stat().st_size / 1e6
            notes = " ".join(task.notes)
            print(f"| {name}{asked} | {took:.2f} | {size:.1f} | {notes} |", flush=True)
        if shutil.which("chromium"):
            empty = Path(folder) / "empty.html"
            empty.write_text("<!doctype html><title>empty</title>")
            nothing = shown_in(empty)
            for share in SHARES:
                more = shown_in(Path(folder) / f"flamegraph-{share}.html") - nothing
                print(f"| in chromium, --minimum {share} | {more:.2f} | | beyond an empty page |")
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(f"\nPeak memory {peak:.0f} MiB.", file=sys.stderr)


if __name__ == "__main__":
    main()
