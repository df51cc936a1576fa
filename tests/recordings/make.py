"""Makes the recordings that screens are tested and pictured with: real ones, of the programs here.

    sudo python3 tests/recordings/make.py [NAME...]

It needs root, gcc and a kernel that can record. What it makes is committed; tests never run it.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
MOST_BYTES = 1 << 20


@dataclass(frozen=True)
class Made:
    """How one recording is made."""

    source: str
    programs: str
    seconds: int
    packages: tuple[str, ...] = ()
    """From a package index, for a server that OpenTelemetry instruments."""


RECORDINGS = {
    "mixed": Made("mixed.c", "profile:uk:99,rss:u:29,switch:uk,vfs:uk", 4),
    "disk": Made("disk.c", "profile:u:99,switch:uk,block:uk", 3),
    "shop": Made("shop.py", "profile:u:99,switch:uk", 3),
    "server": Made(
        "server.py",
        "profile:uk:99,rss:u:29,switch:uk,vfs:u,net:u,usdt:u",
        4,
        ("aiohttp", "opentelemetry-distro", "opentelemetry-instrumentation-aiohttp-server"),
    ),
}
TELEMETRY = {
    "OTEL_PYTHON_CONTEXT": "tracing_stacks",
    "OTEL_TRACES_EXPORTER": "none",
    "OTEL_METRICS_EXPORTER": "none",
    "OTEL_LOGS_EXPORTER": "none",
}


def _command(made: Made, folder: Path) -> list[str]:
    """The program to record; one in C is compiled."""
    source = HERE / made.source
    if made.packages:
        shutil.copy(source, folder)
        bins = folder / "venv" / "bin"
        subprocess.run(["/usr/bin/python3", "-m", "venv", str(bins.parent)], check=True)
        package = shutil.copytree(ROOT / "tracing_stacks", folder / "tracing_stacks")
        subprocess.run([bins / "pip", "install", "-q", *made.packages, package], check=True)
        return [str(bins / "opentelemetry-instrument"), str(bins / "python"), source.name]
    if source.suffix == ".py":
        shutil.copy(source, folder)
        return ["/usr/bin/python3", "-S", source.name]
    program = folder / source.stem
    compile_it = ["gcc", "-O1", "-g", "-pthread", "-o", str(program), str(source)]
    subprocess.run(compile_it, check=True)
    return [f"./{program.name}"]


def _forget_the_machine(recording: Path) -> None:
    manifest = recording / "manifest.json"
    found = json.loads(manifest.read_text("utf-8"))
    found["host"] = "host"
    found["kernel"] = found["kernel"].partition("-")[0]
    manifest.write_text(json.dumps(found, indent=2) + "\n", "utf-8")
    processes = pq.read_table(recording / "processes.parquet")
    lines = processes["cmdline"].to_pylist()  # without the recorder, before it became the program
    processes = processes.filter(pa.array([str(ROOT) not in (line or "") for line in lines]))
    at = processes.schema.get_field_index("cgroup")
    cgroups = pa.array(["/demo.slice"] * len(processes), pa.string())
    pq.write_table(processes.set_column(at, "cgroup", cgroups), recording / "processes.parquet")


def make(name: str) -> None:
    """Record it, and put it in place."""
    made = RECORDINGS[name]
    folder = Path("/var/tmp") / f"{name}-demo"  # on a disk; its name is in the recording
    folder.mkdir()
    try:
        out = folder / "recording"
        start = "import sys; sys.path.insert(0, sys.argv.pop(1));"
        start += "from stacks_tui.cli.main import run; run()"
        options = ["--record", "-d", str(out), "-p", made.programs, "--compression", "zstd:19"]
        command = [sys.executable, "-P", "-c", start, str(ROOT), *options, "--"]
        command += [*_command(made, folder), str(made.seconds)]
        path = f"{folder / 'venv' / 'bin'}:{os.environ['PATH']}"
        subprocess.run(command, check=True, cwd=folder, env=os.environ | TELEMETRY | {"PATH": path})
        _forget_the_machine(out)
        size = sum(file.stat().st_size for file in out.iterdir())
        if size > MOST_BYTES:
            raise SystemExit(f"the recording has {size:,} bytes, more than {MOST_BYTES:,}")
        shutil.rmtree(HERE / name, ignore_errors=True)
        shutil.copytree(out, HERE / name)
        for file in (HERE / name).iterdir():
            file.chmod(0o644)
        (HERE / name).chmod(0o755)
    finally:
        shutil.rmtree(folder)
    print(f"{HERE / name}: {size:,} bytes")


if __name__ == "__main__":
    if os.geteuid() != 0:
        raise SystemExit("run as root: it records")
    for wanted in sys.argv[1:] or RECORDINGS:
        make(wanted)
