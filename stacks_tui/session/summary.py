"""What a recording holds, as an `Outcome`: of one that has just ended, or of one opened later.

Comes in: a recording's folder. Goes out: counts and shares by kind, and the heaviest stacks, from
the queries in `sql/live` and the manifest.
"""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import Any

from stacks_tui.kinds import PROGRAMS, Kind
from stacks_tui.owner import invoking_user
from stacks_tui.session.status import KindOutcome, Outcome, TopStack, span_notes
from stacks_tui.store.manifest import Manifest, State
from stacks_tui.store.reader import Recording, last_recording, open_recording

TOP_STACKS = 5

_BY_LABEL = {kind.label: kind for kind in Kind}


def summarize(path: Path | None = None) -> Outcome:
    """Open a recording (None: the user's last) and sum it up; one that was killed is recovered.

    Raises:
        UsageError: there is no such recording.
        StacksError: it is damaged.
    """
    user = invoking_user()
    folder = last_recording(user) if path is None else path
    with open_recording(folder, user) as recording:
        return outcome_of(recording)


def kind_rows(recording: Recording) -> list[dict[str, Any]]:
    """What `sql/live/kinds.sql` says of a recording, a row for each kind."""
    rows: list[dict[str, Any]] = recording.ask("live/kinds").to_pylist()
    return rows


def outcome_of(
    recording: Recording,
    rows: list[dict[str, Any]] | None = None,
    manifest: Manifest | None = None,
) -> Outcome:
    """Sum up an open recording; `rows` and `manifest` where they are at hand already.

    Raises:
        StacksError: it is damaged.
    """
    notes = []
    found: dict[Kind, KindOutcome] = {}
    for row in kind_rows(recording) if rows is None else rows:
        kind = _BY_LABEL.get(row["kind"])
        if kind is None:
            notes.append(f"{row['count']:,} events of a kind that is not known: {row['kind']!r}")
            continue
        with_stack = row["count"] - row["stackless"]
        found[kind] = KindOutcome(
            kind,
            events=row["count"],
            truncated=_share(row["truncated"], with_stack),
            unresolved=_share(row["unresolved"], with_stack),
            incomplete=_share(row["incomplete"], with_stack),
            top=_top(recording, kind) if with_stack else (),
        )
    live = recording.live and manifest is None
    manifest = manifest or recording.manifest
    elapsed_s = 0.0
    if manifest is not None:
        for kind in _asked_for(manifest):
            found.setdefault(kind, KindOutcome(kind, events=0))
        for label, counts in manifest.status.kinds.items():
            kind = _BY_LABEL.get(label)
            if kind is not None:
                one = found.get(kind) or KindOutcome(kind, events=0)
                found[kind] = replace(one, lost=counts.lost)
        elapsed_s = max(0, manifest.status.end - manifest.header.begin) / 1e9
        notes += manifest_notes(manifest, live=live)
    return Outcome(
        directory=recording.path,
        kinds=tuple(found[kind] for kind in sorted(found)),
        elapsed_s=elapsed_s,
        bytes_on_disk=bytes_on_disk(recording.path),
        notes=tuple(notes),
    )


def bytes_on_disk(path: Path) -> int:
    """Size of a recording's files, or of the one file that it is; what vanishes counts as none."""
    try:
        with os.scandir(path) as entries:
            sizes = [entry.stat(follow_symlinks=False).st_size for entry in entries]
    except NotADirectoryError:
        return path.stat().st_size
    except OSError:
        return 0
    return sum(sizes)


def _asked_for(manifest: Manifest) -> list[Kind]:
    """The kinds of the programs that ran, also those that stored nothing."""
    names = {entry.partition(":")[0] for entry in manifest.header.programs}
    return [kind for program in PROGRAMS if program.name in names for kind in program.kinds]


def _top(recording: Recording, kind: Kind) -> tuple[TopStack, ...]:
    rows = recording.ask("live/top_paths", kind=kind.label, limit=TOP_STACKS).to_pylist()
    return tuple(TopStack(row["value"], row["unit"], tuple(row["stack"])) for row in rows)


def _share(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def manifest_notes(manifest: Manifest, *, live: bool) -> list[str]:
    """What a person should know of a recording before trusting it, a line each."""
    totals = manifest.status.totals
    notes = []
    if live:
        notes.append("it is still being recorded; this is what was there so far")
    elif manifest.state is State.RECOVERED:
        notes.append("its recorder was killed; it was recovered, up to the last second or so")
    elif manifest.state is State.FAILED:
        notes.append(f"its recorder stopped early: {manifest.reason or 'no reason was stored'}")
    if totals.stacks_lost:
        notes.append(f"{totals.stacks_lost:,} stacks were lost; their events have none")
    if totals.sideband_lost:
        notes.append(f"{totals.sideband_lost:,} records of processes and mappings were lost")
    if totals.skipped_runs:
        notes.append(f"the kernel skipped {totals.skipped_runs:,} runs of a program")
    return notes + span_notes(totals.spans)
