# ruff: noqa: E501  # programs in other languages
"""How many user stacks reach a start: by tables, by frame pointers, and by perf's copies of stacks.

Runs as root: `python -P benchmarks/completeness.py [--seconds S] [LOAD...]`. Prints a Markdown table.
Shares are of the events that have a user stack; a stack is whole when its last frame is a start.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from stacks_tui.store.reader import open_recording

KINDS = {
    "profile": ("profile",),
    "switch, wait": ("switch", "wait"),
    "vfs": ("vfs_read", "vfs_write"),
    "rss": ("rss",),
}
PROGRAMS = "profile:u:999,switch:u,vfs:u,rss:u:1"
START = ("-P", "-c", "from stacks_tui.cli.main import run; run()")
STARTS = re.compile(r"^\s*[0-9a-f]+ (_start|__?clone3?|start_thread|_dl_start_user)\b")

_PYTHON = """
import json, time
out = open("/dev/zero", "wb", buffering=0)
def down(n): return json.dumps({"a": list(range(50))}) if n == 0 else down(n - 1)
while True:
    keep = [down(20) for _ in range(300)] + [bytearray(300_000)]
    out.write(b"x"); time.sleep(0.0001)
"""
_PERL = """
open(my $out, ">", "/dev/zero"); $out->autoflush(1);
sub down { my $n = shift; return $n ? down($n - 1) + 1 : join(",", sort map { $_ * 7 % 13 } 1 .. 40) =~ tr/1// }
while (1) { my %h; $h{$_} = down(20) for 1 .. 300; my $s = "x" x 300000; print $out "x";
  select(undef, undef, undef, 0.0001) }
"""
_NODE = """
const fs = require('fs'), out = fs.openSync('/dev/zero', 'w');
function down(n) { return n ? down(n - 1) + 1 : JSON.stringify([...Array(50).keys()]).length; }
function round() { let s = 0; for (let i = 0; i < 300; i++) s += down(20); fs.writeSync(out, 'x');
  setTimeout(round, 0.1); return s; }
round();
"""
_CPP = """
#include <algorithm>
#include <chrono>
#include <fstream>
#include <map>
#include <string>
#include <stdexcept>
#include <thread>
#include <vector>
static int down(int n, std::map<int, std::string> &m) {
  if (!n) { m[rand() % 1000] = std::string(100, 'x'); if (rand() % 8 == 0) throw std::runtime_error("x"); return 0; }
  return down(n - 1, m) + 1;
}
int main() {
  std::ofstream out("/dev/zero");
  std::map<int, std::string> m;
  for (;;) {
    std::vector<int> v(100000);
    for (auto &x : v) x = rand();
    std::sort(v.begin(), v.end());
    for (int i = 0; i < 100; i++) try { down(10, m); } catch (std::exception &) {}
    out << v[5] << std::flush;
    std::this_thread::sleep_for(std::chrono::microseconds(100));
  }
}
"""
_THREADS = """
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int compare(const void *a, const void *b) { return *(int *)a - *(int *)b; }
static int down(int n, int *v) { if (!n) qsort(v, 2000, 4, compare); return n ? down(n - 1, v) + v[n] : v[0]; }
static void *run(void *x) {
  FILE *out = fopen("/dev/zero", "w");
  for (;;) {
    int *v = malloc(300000);
    memset(v, 1, 300000);
    for (int i = 0; i < 2000; i++) v[i] = rand();
    pthread_mutex_lock(&lock);
    fprintf(out, "%d", down(12, v)); fflush(out);
    pthread_mutex_unlock(&lock);
    free(v); usleep(100);
  }
  return x;
}
int main(void) { pthread_t t; for (int i = 0; i < 3; i++) pthread_create(&t, 0, run, 0); run(0); }
"""


def compiled(folder: Path, name: str, source: str, *command: str) -> str:
    """The program made of a source."""
    path = folder / name
    path.write_text(source)
    program = path.with_suffix("")
    subprocess.run([*command, "-O2", "-o", program, path], check=True)
    return str(program)


def big_file(folder: Path) -> str:
    """A file that takes a while to compress."""
    path = folder / "big"
    if not path.exists():
        source = Path("/usr/bin/python3").resolve().read_bytes()
        path.write_bytes(source * 60)
    return str(path)


def project(folder: Path) -> str:
    """A small C project with a Makefile."""
    path = folder / "project"
    path.mkdir(exist_ok=True)
    names = [f"part{n}" for n in range(24)]
    for name in names:
        functions = "".join(
            f"int {name}_{n}(int a) {{ int s = 0; while (a--) s += a * {n}; return s; }}\n"
            for n in range(60)
        )
        (path / f"{name}.c").write_text(f"#include <stdio.h>\n#include <stdlib.h>\n{functions}")
    objects = " ".join(f"{name}.o" for name in names)
    (path / "Makefile").write_text(f"all: {objects}\nclean:\n\trm -f *.o\n")
    return str(path)


Load = Callable[[Path], list[str]]
LOADS: dict[str, Load] = {
    "python3": lambda folder: ["/usr/bin/python3", "-c", _PYTHON],
    "perl": lambda folder: ["perl", "-MIO::Handle", "-e", _PERL],
    "gzip": lambda folder: ["gzip", "-9", "-c", big_file(folder)],
    "openssl": lambda folder: [
        *("openssl", "enc", "-aes-256-cbc", "-pbkdf2", "-iter", "3000000", "-pass", "pass:x"),
        *("-in", big_file(folder), "-out", "/dev/zero"),
    ],
    "sqlite3": lambda folder: [
        *("sqlite3", str(folder / "db"), "DROP TABLE IF EXISTS t; CREATE TABLE t(a, b);"),
        "WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c LIMIT 9000000) INSERT INTO t "
        "SELECT x, hex(randomblob(20)) FROM c ORDER BY random();",
    ],
    "git": lambda folder: ["git", "hash-object", *[big_file(folder)] * 20],
    "bash": lambda folder: [
        *("bash", "-c"),
        "while :; do a=(); for i in {1..300}; do a+=(${i/1/x}); done; echo ${a[*]} > /dev/zero; "
        "read -t 0.0001 < /dev/zero; done",
    ],
    "node": lambda folder: ["node", "-e", _NODE],
    "C++ -O2": lambda folder: [compiled(folder, "load.cpp", _CPP, "g++")],
    "C -O2, 4 threads": lambda folder: [compiled(folder, "load.c", _THREADS, "gcc", "-pthread")],
    "200 short processes": lambda folder: [
        *("sh", "-c", "i=0; while [ $i -lt 200 ]; do /bin/true; i=$((i+1)); done")
    ],
    "make -j2": lambda folder: ["make", "-s", "-j2", "-C", project(folder)],
}
ENDLESS = set(LOADS) - {"200 short processes", "make -j2"}


def command_of(name: str, folder: Path, seconds: float) -> list[str]:
    """A load that ends after these seconds, or by itself; quiet."""
    if name == "make -j2":
        for made in (folder / "project").glob("*.o"):
            made.unlink()
    command = LOADS[name](folder)
    if name in ENDLESS:
        command = ["timeout", f"{seconds:g}", *command]
    quiet = shlex.join(command) + " > /dev/zero 2> /dev/zero < /dev/zero || true"
    return ["sh", "-c", quiet]


def recorded(name: str, folder: Path, seconds: float, *options: str) -> tuple[dict[str, str], str]:
    """(share of whole stacks by kinds, what ended the others) of a load under the recorder."""
    directory = folder / "recording"
    shutil.rmtree(directory, ignore_errors=True)
    load = command_of(name, folder, seconds)
    command = [sys.executable, *START, "--record", "--json", "-d", str(directory), *options]
    done = subprocess.run(
        [*command, "-p", PROGRAMS, "--", *load], capture_output=True, text=True, check=False
    )
    if not directory.exists():
        raise SystemExit(done.stderr)
    with open_recording(directory) as recording:
        rows = recording.table(
            "SELECT kind, status::VARCHAR AS status, complete, count(*) AS n FROM events"
            " JOIN stacks ON ustack = stacks.id GROUP BY ALL"
        ).to_pylist()
        events = recording.table("SELECT count(*) AS n FROM events").to_pylist()[0]["n"]
    shares = {}
    for label, kinds in KINDS.items():
        here = [row for row in rows if row["kind"] in kinds]
        total = sum(row["n"] for row in here)
        whole = sum(row["n"] for row in here if row["complete"])
        shares[label] = f"{100 * whole / total:.2f} % of {total:,}" if total else "–"
    ends = Counter[str]()
    for row in rows:
        if not row["complete"]:
            ends[row["status"]] += row["n"]
    size = sum(path.stat().st_size for path in directory.iterdir())
    shares["bytes"] = f"{size / max(events, 1):.0f}"
    return shares, ", ".join(f"{end} {count:,}" for end, count in ends.most_common(4)) or "–"


def is_whole(stack: list[str]) -> bool:
    """Whether perf's stack reaches a start, or libc's code before it: there many of perf's end."""
    return bool(STARTS.match(stack[-1])) or "__libc_start_" in "".join(stack[-2:])


def by_perf(name: str, folder: Path, seconds: float) -> str:
    """The same load's samples under perf: share of whole stacks, bytes each."""
    if shutil.which("perf") is None:
        return "–"
    data = folder / "perf.data"
    load = command_of(name, folder, seconds)
    record = [
        "perf",
        "record",
        "-q",
        "--buildid-mmap",  # perf 6.1 aborts in `script` on build ids that it reads itself
        "-F",
        "999",
        "-e",
        "cpu-clock:u",
        "--call-graph",
        "dwarf",
    ]
    subprocess.run([*record, "-o", str(data), "--", *load], capture_output=True, check=False)
    # without --no-inline it asks addr2line for each frame: minutes
    script = ["perf", "script", "--no-inline", "-i", str(data), "-F", "ip,sym"]
    try:
        told = subprocess.run(
            script, capture_output=True, text=True, errors="replace", timeout=60, check=False
        )
    except subprocess.TimeoutExpired:
        return f"–, {data.stat().st_size:,} bytes"
    stacks = [stack.splitlines() for stack in told.stdout.split("\n\n") if stack.strip()]
    whole = sum(map(is_whole, stacks))
    size = data.stat().st_size / max(len(stacks), 1)
    share = 100 * whole / max(len(stacks), 1)
    return f"{share:.2f} % of {len(stacks):,}, {size:,.0f} bytes"


def main() -> None:
    """Run the loads; print the table as it grows."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=float, default=12.0)
    parser.add_argument("--perf-seconds", type=float, default=0.7)
    parser.add_argument("--json", type=Path)
    parser.add_argument("loads", nargs="*", choices=[[], *LOADS], metavar="LOAD")
    given = parser.parse_args()
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))
    kinds = list(KINDS)
    print(f"| load | {' | '.join(kinds)} | bytes per event | not whole | frame pointers: profile |"
          " perf, dwarf |")  # fmt: skip
    print("|---" * (len(kinds) + 5) + "|", flush=True)
    results = {}
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        for load in given.loads or LOADS:
            shares, ends = recorded(load, folder, given.seconds)
            pointers, _ = recorded(load, folder, given.seconds / 4, "--no-unwind")
            perf = by_perf(load, folder, given.perf_seconds)
            cells = [*(shares[kind] for kind in kinds), shares["bytes"], ends]
            print(f"| {load} | {' | '.join(cells)} | {pointers['profile']} | {perf} |", flush=True)
            results[load] = {"tables": shares, "ends": ends, "pointers": pointers, "perf": perf}
    if given.json:
        given.json.write_text(json.dumps(results, indent=1))


if __name__ == "__main__":
    main()
