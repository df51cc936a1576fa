"""What recording costs, beside `perf record` on the same load: run as root, on a quiet machine.

Prints Markdown tables: user-space CPU per event, losses, bytes per event, memory; the target's
slowdown; start-up; idle cost. Every ratio is of runs within this one run.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

START = [sys.executable, "-P", "-c", "from stacks_tui.cli.main import run; run()"]
CALLS = 4_000_000
"""Of dd: a read and a write each."""


@dataclass(frozen=True)
class Run:
    """One run of the recorder."""

    target_s: float
    cpu_s: float
    events: int
    lost: int
    bytes_on_disk: int
    peak_mb: float


def dd(calls: int) -> float:
    """Run it; seconds that it took."""
    began = time.perf_counter()
    subprocess.run(
        ["taskset", "-c", "0", "dd", "if=/dev/zero", "of=/dev/null", "bs=1", f"count={calls}"],
        check=True,
        capture_output=True,
    )
    return time.perf_counter() - began


def start_recorder(programs: str, folder: Path, *targets: str) -> subprocess.Popen[str]:
    """Start it and wait until it records."""
    process = subprocess.Popen(
        [*START, "--record", "--json", "-p", programs, "-d", str(folder), *targets],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    assert process.stderr is not None
    for line in process.stderr:
        if json.loads(line).get("phase") == "recording":
            return process
    raise SystemExit(f"the recorder did not start: {process.wait()}")


def stop(process: subprocess.Popen[str]) -> tuple[dict[str, object], float, float]:
    """End it; (summary, CPU seconds, peak memory in MB)."""
    peak = 0.0
    for line in Path(f"/proc/{process.pid}/status").read_text().splitlines():
        if line.startswith("VmHWM"):
            peak = int(line.split()[1]) / 1024
    used = os.times()
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate()
    after = os.times()
    cpu = after.children_user + after.children_system - used.children_user - used.children_system
    return json.loads(out), cpu, peak


def record_dd(programs: str, calls: int) -> Run:
    """dd under the recorder, by name."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as scratch:
        folder = Path(scratch, "r")
        process = start_recorder(programs, folder, "dd")
        took = dd(calls)
        summary, cpu, peak = stop(process)
        kinds = summary["kinds"]
        assert isinstance(kinds, dict)
        size = sum(path.stat().st_size for path in folder.iterdir())
        events = sum(kind["events"] for kind in kinds.values())
        lost = sum(kind["lost"] for kind in kinds.values())
        return Run(took, cpu, events, lost, size, peak)


def record_nothing(programs: str, seconds: float) -> float:
    """CPU seconds of a recorder to which nothing happens for so long."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as scratch:
        process = start_recorder(programs, Path(scratch, "r"), "no-such-target")
        time.sleep(seconds)
        return stop(process)[1]


def perf_dd(calls: int, *, stacks: bool) -> tuple[float, float, int]:
    """dd under `perf record` on the exits of the same calls: (seconds, bytes per event, lost)."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as scratch:
        data = Path(scratch, "perf.data")
        command = ["perf", "record", *(["-g"] if stacks else []), "-m", "4096", "-o", str(data)]
        command += ["-e", "syscalls:sys_exit_read", "-e", "syscalls:sys_exit_write", "--"]
        command += ["taskset", "-c", "0", "dd", "if=/dev/zero", "of=/dev/null", "bs=1"]
        done = subprocess.run([*command, f"count={calls}"], capture_output=True, text=True)
        took = float(done.stderr.split(" copied, ")[1].split(" s,")[0])
        lost = 0
        for line in done.stderr.splitlines():
            if "lost" in line.lower():
                print(f"perf: {line.strip()}", file=sys.stderr)
                lost = 1
        return took, data.stat().st_size / (2 * calls), lost


def flood() -> None:
    """CPU per event, loss, size, memory, slowdown."""
    print("| load | events | lost | user-space CPU per event | bytes per event | peak memory |")
    print("|---|---|---|---|---|---|")
    bare = [dd(CALLS) for _ in range(3)]
    idle = record_nothing("vfs", statistics.median(bare))
    runs = {}
    for programs in ("vfs", "vfs:u", "vfs:uk"):
        calls = CALLS if programs == "vfs" else CALLS // 2
        run = record_dd(programs, calls)
        runs[programs] = run, calls
        per_event = (run.cpu_s - idle) / run.events * 1e9
        size = run.bytes_on_disk / run.events
        print(
            f"| dd bs=1, `-p {programs}` | {run.events:,} | {run.lost:,} | {per_event:.0f} ns "
            f"| {size:.2f} | {run.peak_mb:.0f} MB |"
        )
    print()
    print("| dd bs=1, its own time | seconds per million calls | slowdown |")
    print("|---|---|---|")
    base = statistics.median(bare) / CALLS
    print(f"| alone | {base * 5e5:.2f} | 1 |")
    other = statistics.median(record_elsewhere(CALLS) for _ in range(2)) / CALLS
    print(f"| `-p vfs` on another target | {other * 5e5:.2f} | {other / base:.2f} |")
    for programs, (run, calls) in runs.items():
        each = run.target_s / calls
        print(f"| `-p {programs}` | {each * 5e5:.2f} | {each / base:.2f} |")
    if shutil.which("perf"):
        for stacks in (False, True):
            calls = CALLS // 2
            took, size, lost = perf_dd(calls, stacks=stacks)
            name = "perf record -g" if stacks else "perf record"
            print(
                f"| `{name}` on the exits, {size:.0f} bytes per event{', LOST' if lost else ''} "
                f"| {took / (CALLS // 2) * 5e5:.2f} | {took / (CALLS // 2) / base:.2f} |"
            )


def record_elsewhere(calls: int) -> float:
    """dd while another process is the target of `vfs`."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as scratch:
        process = start_recorder("vfs", Path(scratch, "r"), "no-such-target")
        took = dd(calls)
        stop(process)
        return took


def start_up() -> None:
    """From the command to its first event, with nothing in the caches and with all."""
    cold = first_event(clear=True)
    warm = statistics.median(first_event(clear=False) for _ in range(5))
    print(
        f"\nFirst event after the command: {cold:.2f} s with cold caches, {warm:.2f} s with warm."
    )


def first_event(*, clear: bool) -> float:
    """Seconds from the start of the command to the first event in its recording."""
    if clear:
        shutil.rmtree("/var/cache/stacks-tui", ignore_errors=True)
    with tempfile.TemporaryDirectory(dir="/var/tmp") as scratch:
        folder = Path(scratch, "r")
        began = time.time()
        subprocess.run(
            [*START, "--record", "--json", "-d", str(folder), "--", "sleep", "0.2"],
            capture_output=True,
            check=True,
        )
        from stacks_tui.store.reader import open_recording

        with open_recording(folder) as recording:
            (row,) = recording.table("select min(timestamp)::bigint as t from events").to_pylist()
    return float(row["t"] / 1e9 - began)


def idle() -> None:
    """Share of a core that default kinds on a quiet target cost."""
    seconds = 30.0
    short, long = record_nothing("profile:u:99,rss:u:29,switch:uk", 2), 0.0
    long = record_nothing("profile:u:99,rss:u:29,switch:uk", 2 + seconds)
    print(f"\nIdle, default kinds, quiet target: {(long - short) / seconds:.2%} of a core.")


if __name__ == "__main__":
    if os.geteuid() != 0:
        raise SystemExit("run as root: it records")
    flood()
    start_up()
    idle()
