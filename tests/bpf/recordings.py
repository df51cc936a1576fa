"""Runs the recorder as a user does, and opens what it wrote beside what the workload says it did.

Comes in: options, and a workload's arguments. Goes out: `Recorded`: rows, manifest, summary, truth.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from stacks_tui.store.manifest import KindCounts, Manifest
from stacks_tui.store.reader import Recording, open_recording

DEADLINE_S = 90.0
"""After which something hangs. Not a measure of anything."""

_SCRIPT = Path(sys.executable).parent / "stacks-tui"
_START = "from stacks_tui.cli.main import run; run()"
COMMAND: tuple[str, ...] = (
    (str(_SCRIPT),) if _SCRIPT.exists() else (sys.executable, "-P", "-c", _START)
)

Row = dict[str, Any]
Truth = dict[str, Any]


def environment(changes: Mapping[str, str] | None = None) -> dict[str, str]:
    """Ours, without who called sudo: what is launched must reach the folders of the tests."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith("SUDO_")}
    kept["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))
    return {**kept, **(changes or {})}


@dataclass(frozen=True)
class Recorded:
    """A finished recording and all that its recorder said."""

    directory: Path
    exit_code: int
    stdout: str
    stderr: str
    truth: Truth = field(default_factory=dict)

    @property
    def summary(self) -> dict[str, Any]:
        """The JSON object on stdout: its last line, for what is launched writes there too."""
        found: dict[str, Any] = json.loads(self.stdout.splitlines()[-1])
        return found

    @property
    def notes(self) -> list[str]:
        """What the user was told on the way and at the end."""
        told = [note for status in statuses(self.stderr) for note in status.get("notes", [])]
        return told + list(self.summary["notes"])

    def open(self) -> Recording:
        """Its views."""
        return open_recording(self.directory)

    def rows(self, query: str, **parameters: Any) -> list[Row]:
        """The result of one SELECT."""
        with self.open() as recording:
            found: list[Row] = recording.table(query, **parameters).to_pylist()
        return found

    def value(self, query: str, **parameters: Any) -> Any:
        """The one value of the one row of a SELECT."""
        (row,) = self.rows(query, **parameters)
        (value,) = row.values()
        return value

    @property
    def manifest(self) -> Manifest:
        """What it says of itself."""
        with self.open() as recording:
            assert recording.manifest is not None
            return recording.manifest

    def counts(self, kind: str) -> KindCounts:
        """Of one kind; zeros where nothing happened."""
        return self.manifest.status.kinds.get(kind, KindCounts())

    def epoch_ns(self, monotonic_ns: int) -> int:
        """A workload's CLOCK_MONOTONIC as the timestamps of the rows have it."""
        return monotonic_ns + self.manifest.header.clock_offset

    def assert_nothing_lost(self) -> None:
        """Everything that happened was received, stacks included."""
        status = self.manifest.status
        lost = {label: counts.lost for label, counts in status.kinds.items() if counts.lost}
        for name in ("stacks_lost", "sideband_lost", "skipped_runs"):
            if number := getattr(status.totals, name):
                lost[name] = number
        if lost:
            raise AssertionError(f"lost: {lost}")

    def assert_well_told(self) -> None:
        """No traceback, and no byte that steers a terminal."""
        assert_well_told(self.stdout + self.stderr)


def assert_well_told(output: str) -> None:
    """No traceback, and no byte that steers a terminal."""
    assert "Traceback" not in output
    assert not re.search(r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e]", output)


def statuses(stderr: str) -> list[dict[str, Any]]:
    """The JSON objects on stderr, errors among them; other lines belong to what is launched."""
    found = []
    for line in stderr.splitlines():
        with contextlib.suppress(ValueError):
            value = json.loads(line)
            if isinstance(value, dict):
                found.append(value)
    return found


def record_argv(directory: Path, programs: str, *arguments: str) -> list[str]:
    """What starts a recorder."""
    own = ("--record", "--json", "-p", programs, "-d", str(directory))
    return [*COMMAND, *own, *arguments]


def record(
    directory: Path,
    programs: str,
    workload: Sequence[str | Path],
    *options: str,
    expect: int = 0,
    environ: Mapping[str, str] | None = None,
) -> Recorded:
    """Launch a workload that ends by itself under the recorder; with its truth, if it tells one.

    `expect` is the exit code that the workload, and hence the recorder, must have.
    """
    truth_file = directory.with_suffix(".truth.json")
    argv = record_argv(directory, programs, *options, "--", *map(str, workload))
    argv = [part.replace("TRUTH", str(truth_file)) for part in argv]
    done = subprocess.run(
        argv,
        capture_output=True,
        text=True,
        errors="surrogateescape",
        timeout=DEADLINE_S,
        env=environment(environ),
        stdin=subprocess.DEVNULL,
        check=False,
    )
    truth = json.loads(truth_file.read_text()) if truth_file.exists() else {}
    recorded = Recorded(directory, done.returncode, done.stdout, done.stderr, truth)
    recorded.assert_well_told()
    assert done.returncode == expect, done.stderr
    return recorded


def run(*arguments: str | Path, environ: Mapping[str, str] | None = None) -> Recorded:
    """Run the command with just these arguments, to its end, whatever that is."""
    done = subprocess.run(
        [*COMMAND, *map(str, arguments)],
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        env=environment(environ),
        stdin=subprocess.DEVNULL,
        check=False,
    )
    return Recorded(Path(), done.returncode, done.stdout, done.stderr)


class Recorder:
    """A recorder that runs beside the test."""

    def __init__(self, directory: Path, programs: str, *arguments: str) -> None:
        self.directory = directory
        self._out = directory.with_suffix(".stdout")
        self._lines: list[str] = []
        with self._out.open("wb") as stdout:
            self.process = subprocess.Popen(
                record_argv(directory, programs, *arguments),
                stdout=stdout,
                stderr=subprocess.PIPE,
                stdin=subprocess.DEVNULL,
                env=environment(),
                errors="surrogateescape",
                text=True,
            )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def _read(self) -> None:
        assert self.process.stderr is not None
        self._lines.extend(iter(self.process.stderr.readline, ""))

    @property
    def stderr(self) -> str:
        """What it has said so far."""
        return "".join(self._lines)

    def until_recording(self) -> None:
        """Wait until every program is attached."""

        def recording() -> bool:
            if self.process.poll() is not None:
                raise AssertionError(f"the recorder ended: {self.stderr}")
            return any(status.get("elapsed_s", 0) > 0 for status in statuses(self.stderr))

        until(recording)

    def stop(self, number: signal.Signals = signal.SIGINT, expect: int = 0) -> Recorded:
        """Send it a signal, and wait for its end."""
        if self.process.poll() is None:
            self.process.send_signal(number)
        return self.finish(expect)

    def finish(self, expect: int = 0) -> Recorded:
        """Wait for its end."""
        code = self.process.wait(DEADLINE_S)
        self._reader.join(DEADLINE_S)
        assert self.process.stderr is not None
        self.process.stderr.close()
        output = self._out.read_text(errors="surrogateescape")
        recorded = Recorded(self.directory, code, output, self.stderr)
        recorded.assert_well_told()
        assert code == expect, self.stderr
        return recorded


@contextlib.contextmanager
def recording(directory: Path, programs: str, *arguments: str) -> Iterator[Recorder]:
    """A recorder that records already; killed at the end if the test has not stopped it."""
    recorder = Recorder(directory, programs, *arguments)
    try:
        recorder.until_recording()
        yield recorder
    finally:
        if recorder.process.poll() is None:
            recorder.process.kill()
            recorder.finish(expect=-signal.SIGKILL)


class Puppet:
    """The workload of this name: does as told, and is quiet in between."""

    def __init__(self, path: Path) -> None:
        self.process = subprocess.Popen([path], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        self.until_quiet()

    @property
    def pid(self) -> int:
        return self.process.pid

    def order(self, what: str) -> None:
        """Have it done; returns when it has been and all is quiet again."""
        assert self.process.stdin is not None
        assert self.process.stdout is not None
        self.process.stdin.write(what.encode() + b"\n")
        self.process.stdin.flush()
        assert self.process.stdout.readline() == b"done\n"
        self.until_quiet()

    def until_quiet(self) -> None:
        """Wait until all threads sleep, and have not run for a while."""
        seen: list[int] = [-1]

        def quiet() -> bool:
            before, seen[0] = seen[0], self.switches()
            return before == seen[0] and self.states() == {"S"}

        until(quiet, pause_s=0.1)

    def states(self) -> set[str]:
        """The letters of its threads' states."""
        return {self._field(pid, "State").split()[0] for pid in self.threads()}

    def threads(self) -> list[int]:
        """Their pids."""
        return [int(name) for name in os.listdir(f"/proc/{self.pid}/task")]

    def switches(self) -> int:
        """How often a thread of it has left the CPU, as the kernel counts it."""
        names = ("voluntary_ctxt_switches", "nonvoluntary_ctxt_switches")
        return sum(int(self._field(pid, name)) for pid in self.threads() for name in names)

    def _field(self, pid: int, name: str) -> str:
        text = Path(f"/proc/{self.pid}/task/{pid}/status").read_text()
        found = re.search(rf"^{name}:\s*(.*)$", text, re.MULTILINE)
        assert found
        return found[1]

    def end(self) -> None:
        """End it."""
        self.process.kill()
        self.process.wait()
        for stream in (self.process.stdin, self.process.stdout):
            if stream is not None:
                with contextlib.suppress(BrokenPipeError):
                    stream.close()


@contextlib.contextmanager
def puppet(path: Path) -> Iterator[Puppet]:
    """A puppet that has come to rest, ended when it is no longer needed."""
    one = Puppet(path)
    try:
        yield one
    finally:
        one.end()


def until(done: Callable[[], bool], pause_s: float = 0.05) -> None:
    """Wait until it is so; fails after `DEADLINE_S`."""
    end = time.monotonic() + DEADLINE_S
    while not done():
        assert time.monotonic() < end, "it did not come about"
        time.sleep(pause_s)


def names(frames: Sequence[Row] | None) -> list[str]:
    """The names of a stack's frames, leaf first."""
    return [frame["name"] for frame in frames or ()]
