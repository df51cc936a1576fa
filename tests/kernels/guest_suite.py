"""Records known work on the kernel and with the BCC that are here, and compares.

Comes in: `workload` beside this file (workload.c, static), and the project on Python's path. Goes
out: a line for each check, `ok` or `FAIL`, the instructions of each BPF program that the verifier
went through, and exit status 1 when a check failed.
"""

from __future__ import annotations

import ctypes
import json
import os
import platform
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import duckdb

from stacks_tui import kinds

HERE = Path(__file__).resolve().parent

PROGRAMS = {
    "profile": "profile:uk:99",
    "switch": "switch:uk",
    "rss": "rss:uk:29",
    "block": "block:uk",
    "vfs": "vfs:uk",
    "net": "net:uk",
}

KINDS = {program.name: tuple(kind.label for kind in program.kinds) for program in kinds.PROGRAMS}
"""The kinds stored by each program."""

NEEDS = {"net": ("sock_send_length", "sock_recv_length")}
"""Raw tracepoints that not every supported kernel has, by program."""

STACKS = {"profile", "switch", "wait", "vfs_read", "vfs_write", "tcp_send", "udp_send"}
"""Kinds of which each event of the workload itself has a user stack that can be complete."""

BLOCK_BYTES = 16384
"""Of each direct read and write of the workload; the file system's own are of 4096."""

RSS_SLACK = (29 + 64) * 4096
"""Bytes: a move below the threshold is no row; until 6.1 a thread keeps 64 pages to itself."""

PYTHON_WORK = """
import time
def deep(n):
    return sum(i for i in range(200)) + deep(n - 1) if n else 0
end = time.monotonic() + 5
while time.monotonic() < end:
    deep(30)
    time.sleep(0.0005)
"""

START = "from stacks_tui.cli.main import run; run()"

EMULATED = "TCG" in Path("/proc/cpuinfo").read_text()

COMPLETE = 0.8 if EMULATED else 0.95
"""Least share of complete user stacks. Tables take seconds in a guest, and stacks that wait for
them may overflow their ring: `stacks_lost` counts those, and the share is of the others."""

failures = 0


def check(good: bool, text: str) -> None:
    """Print a check's outcome and count it."""
    global failures
    failures += not good
    print(f"{'ok  ' if good else 'FAIL'} {text}", flush=True)


@dataclass(slots=True)
class Recording:
    """A finished run of the recorder."""

    status: int
    folder: Path
    summary: dict[str, Any]
    messages: str
    verified: dict[str, int] = field(default_factory=dict)
    """Program name → instructions that the verifier went through."""
    skipped: dict[str, int] = field(default_factory=dict)
    """Program name → runs that the kernel skipped (recursion_misses), where there were any."""
    seconds: float = 0.0

    def ask(self, query: str, *values: object) -> tuple[Any, ...]:
        """The first row of a query over the tables `events` and `stacks`."""
        with duckdb.connect() as db:
            for table in ("events", "stacks"):
                files = f"{self.folder}/{table}-*.parquet"
                db.execute(f"CREATE VIEW {table} AS FROM read_parquet('{files}')")
            row = db.execute(query, values).fetchone()
        assert row is not None
        return row

    @property
    def notes(self) -> str:
        """What the recorder told: in its summary, and while it ran."""
        return "\n".join([*self.summary.get("notes", ()), self.messages])


def program_ids(pid: int) -> Iterator[tuple[int, int, int]]:
    """(id, verified instructions, skipped runs) of the BPF programs that a process holds."""
    try:
        paths = list(Path(f"/proc/{pid}/fdinfo").iterdir())
    except OSError:
        return
    for path in paths:
        try:
            lines = path.read_text().splitlines()
        except OSError:
            continue
        values = dict(line.split(":", 1) for line in lines if ":" in line)
        if "prog_id" in values:
            numbers = (values.get(name, "0") for name in ("verified_insns", "recursion_misses"))
            verified, skipped = map(int, numbers)
            yield int(values["prog_id"]), verified, skipped


def program_name(identity: int) -> str:
    """The name of a BPF program, by bpf(2): BPF_PROG_GET_FD_BY_ID, then BPF_OBJ_GET_INFO_BY_FD."""
    libc = ctypes.CDLL(None, use_errno=True)
    number = {"x86_64": 321, "aarch64": 280}[platform.machine()]
    attributes = ctypes.create_string_buffer(struct.pack("<III", identity, 0, 0), 128)
    fd = libc.syscall(number, 13, attributes, 128)
    if fd < 0:
        return f"program {identity}"
    info = ctypes.create_string_buffer(232)
    asked = struct.pack("<IIQ", fd, len(info), ctypes.addressof(info))
    attributes = ctypes.create_string_buffer(asked, 128)
    failed = libc.syscall(number, 15, attributes, 128)
    os.close(fd)
    name = info.raw[64:80].split(b"\0")[0].decode(errors="backslashreplace")
    return name if name and not failed else f"program {identity}"


def watch_programs(
    pid: int, found: dict[str, int], missed: dict[str, int], done: threading.Event
) -> None:
    """Until `done`, note the programs that a process has loaded, and their skipped runs."""
    names: dict[int, str] = {}
    while not done.wait(0.1):
        for identity, verified, skipped in program_ids(pid):
            if identity not in names:
                names[identity] = program_name(identity)
                found[names[identity]] = verified
            if skipped:
                missed[names[identity]] = skipped


def record(programs: list[str], command: list[str], work: Path) -> Recording:
    """Run the recorder on a command, to its end."""
    folder = Path(tempfile.mkdtemp(dir=work)) / "recording"
    own = [sys.executable, "-P", "-c", START, "--record", "--json", "--debug"]
    asked = ["-p", ",".join(programs), "-d", str(folder)]
    messages = work / "messages"
    verified: dict[str, int] = {}
    skipped: dict[str, int] = {}
    done = threading.Event()
    began = time.monotonic()
    with messages.open("wb") as stderr:
        process = subprocess.Popen(
            [*own, *asked, "--", *command], stdout=subprocess.PIPE, stderr=stderr
        )
        watcher = threading.Thread(
            target=watch_programs, args=(process.pid, verified, skipped, done)
        )
        watcher.start()
        answer, _ = process.communicate()
    seconds = time.monotonic() - began
    done.set()
    watcher.join()
    text = answer.decode(errors="backslashreplace").strip()
    try:
        summary = json.loads(text.splitlines()[-1])
    except (ValueError, IndexError):
        summary = {}
    told = messages.read_text(errors="backslashreplace")
    return Recording(process.returncode, folder, summary, told, verified, skipped, seconds)


def has_tracepoints(program: str) -> bool:
    """Whether the running kernel has what a program attaches to."""
    types = Path("/sys/kernel/btf/vmlinux").read_bytes()
    return all(b"btf_trace_%s\0" % name.encode() in types for name in NEEDS.get(program, ()))


def check_counts(recording: Recording, kind: str, pid: int, calls: int, total: int) -> None:
    """Events and bytes of one kind and process, against what the process counted."""
    rows, amount = recording.ask(
        "SELECT count(*), coalesce(sum(amount), 0) FROM events WHERE kind = ? AND tgid = ?",
        kind,
        pid,
    )
    check(
        (rows, amount) == (calls, total),
        f"{kind}: {rows} events, {amount} bytes; the program did {calls}, {total}",
    )


def check_vfs(recording: Recording, truth: dict[str, int]) -> None:
    """Each call an event, the bytes equal."""
    for way in ("read", "write"):
        calls, total = truth[f"{way}_calls"], truth[f"{way}_bytes"]
        check_counts(recording, f"vfs_{way}", truth["pid"], calls, total)


def check_net(recording: Recording, truth: dict[str, int]) -> None:
    """Each call an event, the bytes equal."""
    for kind in KINDS["net"]:
        calls, total = truth[f"{kind}_calls"], truth[f"{kind}_bytes"]
        check_counts(recording, kind, truth["pid"], calls, total)


def check_block(recording: Recording, truth: dict[str, int]) -> None:
    """Each direct call a request; what else the file system wrote is of another size."""
    for kind, calls in (("blk_read", truth["read_calls"]), ("blk_write", truth["write_calls"])):
        (rows,) = recording.ask(
            "SELECT count(*) FROM events WHERE kind = ? AND tgid = ? AND amount = ?",
            kind,
            truth["pid"],
            BLOCK_BYTES,
        )
        check(
            rows == calls,
            f"{kind}: {rows} requests of {BLOCK_BYTES} bytes, the program did {calls}",
        )


def check_switch(recording: Recording, truth: dict[str, int]) -> None:
    """As many switches and waits as the kernel counted; the waits fill the sleeps."""
    for kind in KINDS["switch"]:
        rows, duration = recording.ask(
            "SELECT count(*), coalesce(sum(duration), 0) FROM events "
            "WHERE kind = ? AND tgid = ? AND timestamp BETWEEN ? AND ?",
            kind,
            truth["pid"],
            truth["begin_ns"],
            truth["end_ns"],
        )
        good = rows == truth["switches"]
        text = f"{kind}: {rows} events, the kernel counted {truth['switches']}"
        if kind == "wait":
            good = good and truth["asked_ns"] <= duration <= truth["end_ns"] - truth["begin_ns"]
            text += (
                f"; {duration / 1e6:.1f} ms, of {truth['asked_ns'] / 1e6:.1f} asked for "
                f"and {truth['slept_ns'] / 1e6:.1f} slept"
            )
        check(good, text)


def check_rss(recording: Recording, truth: dict[str, int]) -> None:
    """The peak is what the program touched; a delta is the distance from the row before."""
    grown = truth["grown_bytes"]
    rows, peak, freed, breaks = recording.ask(
        """
        SELECT count(*), max(amount), -sum(least(delta, 0)),
               count(*) FILTER (delta != amount::BIGINT - before::BIGINT)
        FROM (SELECT amount, delta, lag(amount) OVER (ORDER BY timestamp) AS before
              FROM events WHERE kind = 'rss' AND tgid = ?)
        """,
        truth["pid"],
    )
    good = rows > 0 and grown - RSS_SLACK <= peak <= grown + (2 << 20) and not breaks
    good = good and freed >= grown - RSS_SLACK
    check(
        good,
        f"rss: {rows} rows, peak {peak}, freed {freed}; the program touched {grown}; "
        f"{breaks} deltas that don't add up",
    )


def check_profile(recording: Recording, truth: dict[str, int]) -> None:
    """A sample for each period of CPU time. An emulated clock comes late, and samples fall out."""
    (rows,) = recording.ask(
        "SELECT count(*) FROM events WHERE kind = 'profile' AND tgid = ?", truth["pid"]
    )
    expected = truth["cpu_ns"] * 99e-9
    lowest = 0.5 if EMULATED else 0.95
    check(
        lowest * expected <= rows <= 1.05 * expected + 1,
        f"profile: {rows} samples, {expected:.1f} periods of CPU time",
    )


CHECKS = {
    "profile": check_profile,
    "switch": check_switch,
    "rss": check_rss,
    "block": check_block,
    "vfs": check_vfs,
    "net": check_net,
}


def check_shares(recording: Recording, labels: set[str], comm: str, least: float) -> None:
    """The share of events whose user stack is complete."""
    for kind in sorted(labels):
        rows, taken, complete, ends = recording.ask(
            """
            SELECT sum(n), coalesce(sum(n) FILTER (status != 'none taken'), 0),
                   coalesce(sum(n) FILTER (status = 'complete'), 0),
                   string_agg(status || ' ' || n, ', ' ORDER BY n DESC)
            FROM (SELECT coalesce(s.status, 'none taken') AS status, count(*) AS n
                  FROM events e LEFT JOIN stacks s ON s.id = e.ustack
                  WHERE e.kind = ? AND e.command LIKE ? GROUP BY ALL)
            """,
            kind,
            comm,
        )
        share = complete / max(taken if EMULATED else rows or 0, 1)
        check(share >= least, f"{kind} of {comm}: {share:.2%} complete of {rows or 0} ({ends})")


def check_ended(recording: Recording, name: str) -> bool:
    """The recorder ended well, and lost nothing."""
    check(
        recording.status == 0, f"{name}: exit status {recording.status}, {recording.seconds:.1f} s"
    )
    if recording.status:
        print("\n".join(recording.messages.splitlines()[-40:]))
        return False
    manifest = recording.folder / "manifest.json"
    check(manifest.exists(), f"{name}: manifest.json")
    lost = {kind: row["lost"] for kind, row in recording.summary.get("kinds", {}).items()}
    totals = json.loads(manifest.read_text()).get("totals", {})
    check(bool(lost) and not any(lost.values()), f"{name}: lost {sum(lost.values())}; {totals}")
    check(not totals.get("skipped_runs"), f"{name}: skipped runs {recording.skipped}")
    return True


def record_workload(programs: list[str], work: Path) -> bool:
    """Record the workload with these programs at once, and check each.

    Returns: it could be recorded.
    """
    truth_file = work / "truth.json"
    # /var/tmp: block needs a file system on a disk, and /tmp is none
    command = [str(HERE / "workload"), "/var/tmp", str(truth_file), *programs]
    recording = record([PROGRAMS[name] for name in programs], command, work)
    print_verified(recording)
    if not check_ended(recording, "+".join(programs)):
        return False
    truth = json.loads(truth_file.read_text())
    stacks: set[str] = set()
    for name in programs:
        if has_tracepoints(name):
            CHECKS[name](recording, truth[name])
            stacks |= STACKS & set(KINDS[name])
        else:
            check(f"{name}" in recording.notes, f"{name}: named as missing on this kernel")
            (rows,) = recording.ask(
                "SELECT count(*) FROM events WHERE list_contains(?, kind)", list(KINDS[name])
            )
            check(rows == 0, f"{name}: {rows} events")
    check_shares(recording, stacks, "wl-%", COMPLETE)
    return True


def print_verified(recording: Recording) -> None:
    """The instructions that the verifier went through, by program."""
    for name, verified in sorted(recording.verified.items()):
        print(f"     verified {verified:>8} {name}")


def describe() -> None:
    """What is here."""
    bcc = Path("/usr/lib/python3/dist-packages/bcc/version.py")
    version = bcc.read_text().split("'")[1] if bcc.exists() else "none"
    print(f"kernel {platform.release()}, BCC {version}, Python {platform.python_version()}")


def main() -> int:
    """Everything at once; when that can't be recorded, each program alone, to say which it is."""
    describe()
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        if not record_workload(list(PROGRAMS), work):
            for program in PROGRAMS:
                record_workload([program], work)
        python = record(
            ["profile:uk:199", "switch:uk"],
            ["/usr/bin/python3", "-c", PYTHON_WORK],
            work,
        )
        if check_ended(python, "python3"):
            check_shares(python, {"profile", "switch", "wait"}, "python3%", COMPLETE)
    print(f"{failures} failed" if failures else "all passed")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
