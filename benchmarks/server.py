"""What recording costs a web server whose every request is a span: run as root, on a quiet machine.

    .venv/bin/python benchmarks/server.py [--seconds N] [--rounds N]

Starlette under uvicorn with OpenTelemetry's instrumentation, its spans told by tracing_stacks; load
comes from another process of this machine. One server answers all rounds; each round is a run alone
and a run recorded, with `-p profile,switch,net,usdt`. Prints a Markdown table of medians, whose
ratios are those of neighbouring runs.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from cost import start_recorder, stop

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT / "tests" / "spans"))

from span_programs import SOURCES, environ  # noqa: E402

PROGRAMS = "profile,switch,net,usdt"
PAGE = "/basket/7"
LOADS = {
    "1,000 requests/s": ["--rate", "1000", "--connections", "64"],
    "as fast as it can": ["--connections", "16"],
}


@dataclass(frozen=True)
class Run:
    """One run of load."""

    requests: int
    per_second: float
    p50_ms: float
    p99_ms: float
    cpu_us: float
    """The server's, of a request."""
    spans: int = 0
    lost: int = 0


@contextmanager
def serving() -> Iterator[tuple[int, str]]:
    """A server: its pid and port."""
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        port = str(unused.getsockname()[1])
    server = subprocess.Popen(
        [sys.executable, SOURCES / "otel_app.py", port],
        env=environ() | {"OTEL_PYTHON_CONTEXT": "tracing_stacks"},
        stdout=subprocess.DEVNULL,
    )
    try:
        yield server.pid, port
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(30)


def cpu_seconds(pid: int) -> float:
    """Of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def load(pid: int, port: str, seconds: float, options: list[str]) -> Run:
    """Ask, and measure."""
    command = [sys.executable, SOURCES / "http_load.py", port, str(seconds), *options, PAGE]
    before = cpu_seconds(pid)
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    used = cpu_seconds(pid) - before
    told = json.loads(done.stdout)
    requests = sum(told["requests"].values())
    if told["requests"] != {f"{PAGE} 200": requests}:
        raise SystemExit(f"the server failed: {told['requests']}")
    at = told["latency_ms"]
    return Run(requests, told["per_second"], at["50"], at["99"], used / requests * 1e6)


def recorded(pid: int, port: str, seconds: float, options: list[str]) -> Run:
    """The same while it is recorded."""
    with tempfile.TemporaryDirectory(dir="/var/tmp") as scratch:
        recorder = start_recorder(PROGRAMS, Path(scratch, "r"), "--pid", str(pid))
        run = load(pid, port, seconds, options)
        summary, _, _ = stop(recorder)
    kinds = summary["kinds"]
    assert isinstance(kinds, dict)
    lost = sum(kind["lost"] for kind in kinds.values())
    spans = kinds.get("trace_close", {"events": 0})["events"]
    if spans < run.requests:
        raise SystemExit(f"{run.requests} requests, but {spans} spans")
    return Run(**{**vars(run), "spans": spans, "lost": lost})


def row(name: str, pairs: list[tuple[Run, Run]]) -> str:
    """Of the table."""

    def medians(value: Callable[[Run], float], digits: int) -> str:
        alone = statistics.median(value(one) for one, _ in pairs)
        heard = statistics.median(value(one) for _, one in pairs)
        ratio = statistics.median(value(after) / value(before) for before, after in pairs)
        return f"{alone:,.{digits}f} | {heard:,.{digits}f} | {ratio:.3f}"

    spans = sum(one.spans for _, one in pairs) / sum(one.requests for _, one in pairs)
    return (
        f"| {name} | {medians(lambda run: run.per_second, 0)} "
        f"| {medians(lambda run: run.cpu_us, 0)} | {medians(lambda run: run.p50_ms, 2)} "
        f"| {medians(lambda run: run.p99_ms, 2)} "
        f"| {spans:.1f} | {sum(one.lost for _, one in pairs)} |"
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--seconds", type=float, default=8)
    parser.add_argument("--rounds", type=int, default=5)
    given = parser.parse_args()
    columns = ["requests/s", "server's CPU, µs a request", "median, ms", "99 %, ms"]
    titles = [part for one in columns for part in (one, "recorded", "ratio")]
    titles = ["load", *titles, "spans a request", "lost"]
    print(f"| {' | '.join(titles)} |\n|{'---|' * len(titles)}")
    with serving() as (pid, port):
        load(pid, port, 2, LOADS["as fast as it can"])  # warm
        for name, options in LOADS.items():
            pairs = []
            for number in range(given.rounds):
                runs = [load, recorded] if number % 2 == 0 else [recorded, load]
                both = {run: run(pid, port, given.seconds, options) for run in runs}
                pairs.append((both[load], both[recorded]))
            print(row(name, pairs), flush=True)


if __name__ == "__main__":
    if os.geteuid() != 0:
        raise SystemExit("run as root: it records")
    main()
