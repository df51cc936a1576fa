"""What recording costs, beside `perf record` on the same load: run as root, on a quiet machine.

Prints Markdown tables, each part by its name, all without one:
    flood    user-space CPU per event, losses, bytes per event, memory
    slower   what the same costs the target
    start    from the command to its first event
    idle     what a target that does nothing costs
Each takes less than a minute and a half. Every ratio is of runs within one part.
"""

from __future__ import annotations

import argparse
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
LOADS = ("vfs", "vfs:u", "vfs:uk")
DEFAULT = "profile:u:99,rss:u:29,switch:uk"


@dataclass(frozen=True)
class Run:
    """One run of the recorder."""

    target_s: float
    cpu_s: float
    events: int
    lost: int
    bytes_on_disk: int
    rss_mb: float
    """At the end, the rings counted twice, for the kernel maps them twice in a row."""
    own_mb: float
    """Private and shared memory, each page once (Pss)."""


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


def stop(process: subprocess.Popen[str]) -> tuple[dict[str, object], float]:
    """End it; (summary, CPU seconds)."""
    used = os.times()
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate()
    after = os.times()
    cpu = after.children_user + after.children_system - used.children_user - used.children_system
    return json.loads(out), cpu


def cpu_of(process: subprocess.Popen[str]) -> float:
    """CPU seconds used so far."""
    fields = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def memory(process: subprocess.Popen[str]) -> tuple[float, float]:
    """(peak of what is resident, each page once), MB."""
    found = {}
    for name in ("status", "smaps_rollup"):
        for line in Path(f"/proc/{process.pid}/{name}").read_text().splitlines():
            if line.startswith(("VmHWM:", "Pss:")):
                found[line.split(":")[0]] = int(line.split()[1]) / 1024
    return found["VmHWM"], found["Pss"]


def record_dd(programs: str, calls: int) -> Run:
    """dd under the recorder, by name."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as scratch:
        folder = Path(scratch, "r")
        process = start_recorder(programs, folder, "dd")
        took = dd(calls)
        rss, own = memory(process)
        summary, cpu = stop(process)
        kinds = summary["kinds"]
        assert isinstance(kinds, dict)
        size = sum(path.stat().st_size for path in folder.iterdir())
        events = sum(kind["events"] for kind in kinds.values())
        lost = sum(kind["lost"] for kind in kinds.values())
        return Run(took, cpu, events, lost, size, rss, own)


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
    """CPU per event, loss, size, memory."""
    print("| load | events | lost | user-space CPU per event | bytes per event | memory | RSS |")
    print("|---|---|---|---|---|---|---|")
    idle = record_nothing("vfs", 1)
    for programs in LOADS:
        run = record_dd(programs, CALLS if programs == "vfs" else CALLS // 2)
        each = (run.cpu_s - idle) / run.events * 1e9
        print(
            f"| dd bs=1, `-p {programs}` | {run.events:,} | {run.lost:,} | {each:.0f} ns "
            f"| {run.bytes_on_disk / run.events:.2f} | {run.own_mb:.0f} MB | {run.rss_mb:.0f} MB |"
        )


def slower() -> None:
    """What recording costs the target, beside perf."""
    print("| dd bs=1, its own time | seconds per million calls | slowdown |")
    print("|---|---|---|")
    calls = CALLS // 2
    base = statistics.median(dd(calls) for _ in range(3))

    def tell(name: str, took: float) -> None:
        print(f"| {name} | {took / calls * 5e5:.2f} | {took / base:.2f} |")

    tell("alone", base)
    tell("`-p vfs` on another target", statistics.median(record_elsewhere(calls) for _ in range(2)))
    for programs in LOADS:
        tell(f"`-p {programs}`", record_dd(programs, calls).target_s)
    for stacks in (False, True) if shutil.which("perf") else ():
        took, size, lost = perf_dd(calls, stacks=stacks)
        name = "perf record -g" if stacks else "perf record"
        tell(f"`{name}` on the exits, {size:.0f} bytes per event{', LOST' * lost}", took)


def record_elsewhere(calls: int) -> float:
    """dd while another process is the target of `vfs`."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as scratch:
        process = start_recorder("vfs", Path(scratch, "r"), "no-such-target")
        took = dd(calls)
        stop(process)
        return took


def start() -> None:
    """From the command to its first event, with nothing in the caches and with all."""
    cold = statistics.median(first_event(clear=True) for _ in range(3))
    warm = statistics.median(first_event(clear=False) for _ in range(5))
    print(f"First event after the command: {cold:.2f} s with cold caches, {warm:.2f} s with warm.")


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
    """Share of a core that default kinds on a target that sleeps cost."""
    seconds = 20.0
    with tempfile.TemporaryDirectory(dir="/var/tmp") as scratch:
        target = subprocess.Popen(["sleep", "1000"])
        process = start_recorder(DEFAULT, Path(scratch, "r"), "--pid", str(target.pid))
        time.sleep(2)
        before = cpu_of(process)
        time.sleep(seconds)
        used = cpu_of(process) - before
        stop(process)
        target.kill()
        target.wait()
    print(f"Idle, default kinds, quiet target: {used / seconds:.2%} of a core.")


PARTS = {"flood": flood, "slower": slower, "start": start, "idle": idle}


if __name__ == "__main__":
    if os.geteuid() != 0:
        raise SystemExit("run as root: it records")
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("parts", nargs="*", metavar="PART", help=" ".join(PARTS))
    chosen = parser.parse_args().parts or list(PARTS)
    if unknown := set(chosen) - PARTS.keys():
        parser.error(f"no part {', '.join(sorted(unknown))}; there are {', '.join(PARTS)}")
    for name in chosen:
        PARTS[name]()
        print()
