"""The manifest of a recording as values, and as JSON.

Comes in: what the session counts. Goes out: `manifest.json`, replaced as a whole by a rename.
Times are ns since the Unix epoch; the ISO forms beside them are for people and are not read back.
"""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from datetime import UTC, datetime
from enum import StrEnum

from stacks_tui.errors import StacksError
from stacks_tui.owner import User, create_file, open_file
from stacks_tui.schema import SCHEMA_VERSION
from stacks_tui.store.disk import remove, write_all, writing

MANIFEST = "manifest.json"
_MOST_BYTES = 16 << 20
"""A manifest with thousands of targets and gaps stays far below."""


class State(StrEnum):
    """How a recording stands."""

    RECORDING = "recording"
    FINISHED = "finished"
    RECOVERED = "recovered"
    """The recorder was killed; what it left was made whole."""
    FAILED = "failed"
    """The recorder stopped by itself before its end; `reason` says why."""


@dataclass(frozen=True, slots=True)
class KindCounts:
    """What is known of one kind so far."""

    received: int = 0
    lost: int = 0
    """Happened, and not received."""
    truncated: int = 0
    """Events with a stack that was cut."""
    unresolved: int = 0
    """Events with a stack in which a frame has no symbol."""
    incomplete: Mapping[str, int] = field(default_factory=dict)
    """Events by what ended their user stack before a start (`StackStatus`, lower case)."""
    gaps: tuple[tuple[int, int], ...] = ()
    """When the kind was switched off: (begin, end); a gap still open ends with the recording."""
    python: Mapping[str, int] = field(default_factory=dict)
    """Events of Python processes by what their user stack has of Python's frames (`PythonPart`,
    lower case); counted when the recording ends."""


@dataclass(frozen=True, slots=True)
class Totals:
    """What belongs to no single kind."""

    stacks: int = 0
    stacks_lost: int = 0
    sideband_lost: int = 0
    """Records of forks, execs, names and mappings that the kernel could not deliver."""
    skipped_runs: int = 0
    """Runs of a program that the kernel itself skipped (recursion)."""
    below_threshold: int = 0
    """Slices and waits shorter than what is stored."""
    spans: Mapping[str, int] = field(default_factory=dict)
    """What went wrong with spans, by what it was (`SPAN_COUNTERS` of records); only what did."""


_TOTAL_NUMBERS = tuple(one.name for one in fields(Totals) if one.name != "spans")


@dataclass(frozen=True, slots=True)
class ManifestHeader:
    """What is known when a recording begins."""

    tool_version: str
    host: str
    kernel: str
    clock_offset: int
    """ns to add to CLOCK_MONOTONIC for the time since the Unix epoch."""
    begin: int
    targets: tuple[str, ...] = ()
    programs: tuple[str, ...] = ()
    """Entries of `-p`."""
    name: str = "recording"
    """For the folder's name: what is recorded, in a word."""


@dataclass(frozen=True, slots=True)
class RecordingStatus:
    """What the session knows at one moment; `end` is that moment."""

    end: int
    kinds: Mapping[str, KindCounts] = field(default_factory=dict)
    """By the kind's label."""
    totals: Totals = Totals()


@dataclass(frozen=True, slots=True)
class Manifest:
    """All that `manifest.json` says."""

    header: ManifestHeader
    status: RecordingStatus
    state: State = State.RECORDING
    reason: str | None = None
    schema_version: int = SCHEMA_VERSION


def iso_time(time_ns: int) -> str:
    """`2025-01-31T12:00:00.123456789Z`, of ns since the Unix epoch."""
    seconds, rest = divmod(time_ns, 10**9)
    try:
        moment = datetime.fromtimestamp(seconds, UTC)
    except (ValueError, OverflowError, OSError):
        return ""
    return f"{moment:%Y-%m-%dT%H:%M:%S}.{rest:09d}Z"


def to_json(manifest: Manifest) -> str:
    """The text of `manifest.json`: ASCII, so that no name in it can do harm to a terminal."""
    header, status = manifest.header, manifest.status
    content = {
        "schema_version": manifest.schema_version,
        "tool_version": header.tool_version,
        "state": str(manifest.state),
        "reason": manifest.reason,
        "name": header.name,
        "host": header.host,
        "kernel": header.kernel,
        "clock_offset": header.clock_offset,
        "targets": list(header.targets),
        "programs": list(header.programs),
        "begin": header.begin,
        "begin_iso": iso_time(header.begin),
        "end": status.end,
        "end_iso": iso_time(status.end),
        "kinds": {
            label: {
                "received": counts.received,
                "lost": counts.lost,
                "truncated": counts.truncated,
                "unresolved": counts.unresolved,
                "incomplete": dict(counts.incomplete),
                "python": dict(counts.python),
                "gaps": [list(gap) for gap in counts.gaps],
            }
            for label, counts in status.kinds.items()
        },
        "totals": {
            **{name: getattr(status.totals, name) for name in _TOTAL_NUMBERS},
            "spans": dict(status.totals.spans),
        },
    }
    return json.dumps(content, indent=2) + "\n"


def parse_manifest(text: str | bytes) -> Manifest:
    """The manifest in this JSON text.

    Raises:
        StacksError: it is no manifest, is damaged, or was written by a newer version.
    """
    try:
        content = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise StacksError(
            f"{MANIFEST} is damaged ({_short(error)}); move it away to open the files without it."
        ) from error
    top = _Object(content, MANIFEST)
    version = top.number("schema_version")
    if version > SCHEMA_VERSION:
        raise StacksError(
            f"this recording has schema version {version}, newer than {SCHEMA_VERSION}, "
            "which this stacks-tui reads; update it."
        )
    try:
        state = State(top.text("state"))
    except ValueError:
        raise _damaged("state") from None
    header = ManifestHeader(
        tool_version=top.text("tool_version"),
        host=top.text("host"),
        kernel=top.text("kernel"),
        clock_offset=top.number("clock_offset", lowest=-(2**63)),
        begin=top.number("begin"),
        targets=top.texts("targets"),
        programs=top.texts("programs"),
        name=top.text("name"),
    )
    kinds = {label: _counts(value) for label, value in top.items("kinds")}
    totals = _Object(top.content.get("totals"), "totals")
    spans = totals.items("spans") if "spans" in totals.content else []
    status = RecordingStatus(
        top.number("end"),
        kinds,
        Totals(
            **{name: totals.number(name) for name in _TOTAL_NUMBERS},
            spans={name: _number(number, "spans") for name, number in spans},
        ),
    )
    reason = None if top.content.get("reason") is None else top.text("reason")
    return Manifest(header, status, state, reason, version)


def write_manifest(dir_fd: int, manifest: Manifest, user: User) -> None:
    """Replace `manifest.json` of an open folder: a reader sees the old or the new one, whole.

    Raises:
        DiskFullError, StacksError: it can't be written; the old one stays.
    """
    partial = MANIFEST + ".partial"
    with writing(MANIFEST):
        remove(dir_fd, partial)
        fd = create_file(dir_fd, partial, user)
        try:
            write_all(fd, to_json(manifest).encode("ascii"))
        except OSError:
            remove(dir_fd, partial)
            raise
        finally:
            os.close(fd)
        os.rename(partial, MANIFEST, src_dir_fd=dir_fd, dst_dir_fd=dir_fd)


def read_manifest(dir_fd: int) -> Manifest:
    """The manifest of an open folder.

    Raises:
        FileNotFoundError: there is none.
        StacksError: as `parse_manifest`, or it can't be read.
    """
    try:
        fd = open_file(dir_fd, MANIFEST)
    except FileNotFoundError:
        raise
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        raise StacksError(f"can't read {MANIFEST}: {reason}.") from error
    with os.fdopen(fd, "rb") as file:
        content = file.read(_MOST_BYTES + 1)
    if len(content) > _MOST_BYTES:
        raise StacksError(f"{MANIFEST} is damaged: larger than {_MOST_BYTES >> 20} MiB.")
    return parse_manifest(content)


def _counts(value: object) -> KindCounts:
    counts = _Object(value, "kinds")
    gaps = counts.content.get("gaps", [])
    if not isinstance(gaps, list):
        raise _damaged("gaps")
    return KindCounts(
        received=counts.number("received"),
        lost=counts.number("lost"),
        truncated=counts.number("truncated"),
        unresolved=counts.number("unresolved"),
        incomplete={
            name: _number(number, "incomplete") for name, number in counts.items("incomplete")
        },
        python={
            name: _number(number, "python")
            for name, number in (counts.items("python") if "python" in counts.content else ())
        },
        gaps=tuple(_gap(gap) for gap in gaps),
    )


def _gap(value: object) -> tuple[int, int]:
    if not isinstance(value, list) or len(value) != 2:
        raise _damaged("gaps")
    return _number(value[0], "gaps"), _number(value[1], "gaps")


class _Object:
    """A JSON object whose members are checked as they are taken."""

    def __init__(self, value: object, name: str) -> None:
        if not isinstance(value, dict):
            raise _damaged(name)
        self.content: dict[str, object] = value

    def number(self, name: str, lowest: int = 0) -> int:
        return _number(self.content.get(name), name, lowest)

    def text(self, name: str) -> str:
        value = self.content.get(name)
        if not isinstance(value, str):
            raise _damaged(name)
        return value

    def texts(self, name: str) -> tuple[str, ...]:
        value = self.content.get(name)
        if not isinstance(value, list) or not all(isinstance(item, str) for item in value):
            raise _damaged(name)
        return tuple(value)

    def items(self, name: str) -> list[tuple[str, object]]:
        return list(_Object(self.content.get(name), name).content.items())


def _number(value: object, name: str, lowest: int = 0) -> int:
    # bool is an int, and 1e400 or a number of 300 digits is JSON too
    if type(value) is not int or not lowest <= value < 2**64:
        raise _damaged(name)
    return value


def _damaged(name: str) -> StacksError:
    return StacksError(
        f"{MANIFEST} is damaged (at {name!r}); move it away to open the files without it."
    )


def _short(error: Exception) -> str:
    return repr(str(error).split("\n")[0][:80])
