"""What exports cost: 10 million samples with 100,000 distinct stacks to pprof, beside perf's way.

Prints Markdown tables: time and peak memory of our exports; the same of `perf script` and
stackcollapse-perf.pl (where it is not installed, a Python stand-in of it: said), per sample; the
first screen of a recording of 10 million events. Needs 3 GB in /tmp.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "tests" / "unit")]

from synthetic import write_synthetic  # noqa: E402

EXPORT = [sys.executable, "-P", "-c", "from stacks_tui.cli.export import run; run()"]
EVENTS = 10_000_000
KINDS = ("profile", "switch", "wait", "vfs_read", "vfs_write", "rss")
COLLAPSE = """
import sys
from collections import Counter
found, stack, comm = Counter(), [], ""
for line in sys.stdin:
    if not line.strip():
        if stack:
            found[";".join([comm, *reversed(stack)])] += 1
        stack = []
    elif line[0].isspace():
        stack.append(line.split(None, 1)[1].rpartition(" (")[0].partition("+0x")[0])
    else:
        comm = line.split()[0]
for name in sorted(found):
    print(name, found[name])
"""
"""What stackcollapse-perf.pl does, with less."""
FIRST = """
import sys, time
from pathlib import Path
from stacks_tui.live.snapshot import Snapshot
from stacks_tui.session.playback import RecordingSource
began = time.perf_counter()
source = RecordingSource(Path(sys.argv[1]))
while not isinstance(frame := source.poll(60), Snapshot):
    assert frame is not None
print(time.perf_counter() - began, flush=True)
source.close()
"""


def timed(command: list[str], **more: object) -> tuple[float, float]:
    """Run it; (seconds, peak MB)."""
    began = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, **more)  # type: ignore[call-overload]
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    assert process.returncode == 0, command
    return time.perf_counter() - began, used.ru_maxrss / 1024


def ours(folder: Path) -> float:
    """Our exports; µs for each sample of the first."""
    print("| export | rows | stacks | seconds | peak memory |\n|---|---|---|---|---|")
    first = 0.0
    for events, stacks, words in (
        (EVENTS, 100_000, ["pprof", "cpu"]),
        (EVENTS, 100_000, ["folded", "cpu"]),
        (1_000_000, 1_000_000, ["pprof", "cpu"]),
        (1_000_000, 100_000, ["csv"]),
        (1_000_000, 100_000, ["arrow"]),
        (1_000_000, 100_000, ["nested"]),
    ):
        path = folder / f"{events}-{stacks}"
        if not path.exists():
            write_synthetic(path, events, stacks)
        out = folder / "out"
        seconds, peak = timed([*EXPORT, *words, "-r", str(path), "-o", str(out), "-n"])
        first = first or seconds / events * 1e6
        name = " ".join(words)
        print(f"| `{name}` | {events:,} | {stacks:,} | {seconds:.1f} | {peak:.0f} MB |", flush=True)
        out.unlink()
    print()
    return first


def by_perf(folder: Path, ours_us: float) -> None:
    """perf script and what folds its text, of samples with user stacks that perf took itself."""
    data, text = folder / "perf.data", folder / "perf.txt"
    load = "import json\nfor _ in range(4000): json.loads(json.dumps(list(range(2000))))"
    record = ["perf", "record", "-q", "-F", "4999", "-g", "-e", "cpu-clock", "-o", str(data), "--"]
    subprocess.run([*record, sys.executable, "-X", "perf", "-c", load], check=True)
    script = ["perf", "script", "-i", str(data), "-F", "comm,pid,tid,time,event,ip,sym,symoff,dso"]
    began = time.perf_counter()
    with text.open("wb") as file:
        subprocess.run(script, stdout=file, stderr=subprocess.DEVNULL, check=True)
    scripted = time.perf_counter() - began
    samples = text.read_text(errors="replace").count("\n\n")
    tool = shutil.which("stackcollapse-perf.pl")
    command = [tool] if tool else [sys.executable, "-c", COLLAPSE]
    with text.open("rb") as file:
        folded, _ = timed(command, stdin=file)
    each = (scripted + folded) / samples * 1e6
    named = "`stackcollapse-perf.pl`" if tool else "a Python stand-in for stackcollapse-perf.pl"
    print("| way | µs for each sample | ratio |\n|---|---|---|")
    print(f"| `stacks-export pprof cpu` | {ours_us:.2f} | 1 |")
    print(f"| `perf script` ({samples:,} samples), {named} | {each:.1f} | {each / ours_us:.0f} |\n")


def first_screen(folder: Path) -> None:
    """From opening to the rows of the first view, in a new process."""
    print("| first rows of a recording | distinct stacks | seconds |\n|---|---|---|")
    for stacks in (1_000, 10_000, 100_000):
        path = write_synthetic(folder / f"mixed-{stacks}", EVENTS, stacks, kinds=KINDS)
        command = [sys.executable, "-P", "-c", FIRST, str(path)]
        took = [
            float(subprocess.run(command, capture_output=True, check=True, text=True).stdout)
            for _ in range(3)
        ]
        print(
            f"| {EVENTS:,} events of {len(KINDS)} kinds | {stacks:,} | {min(took):.2f} |",
            flush=True,
        )
        shutil.rmtree(path)


def main() -> None:
    os.environ["PYTHONPATH"] = str(ROOT)
    with tempfile.TemporaryDirectory() as scratch:
        each = ours(Path(scratch))
        if shutil.which("perf") is None:
            print("perf is not installed: nothing to compare with.\n")
        else:
            by_perf(Path(scratch), each)
        first_screen(Path(scratch))


if __name__ == "__main__":
    main()
