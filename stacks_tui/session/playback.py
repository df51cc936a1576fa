"""A recording as a source of frames: the same as a collector's, from its queries.

Comes in: a recording's folder, then views. Goes out: snapshots. A thread of its own asks; a view
that comes while another is computed stops that one. What takes longer than the rows (the header's
past, the shares) follows in a second snapshot.
"""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from stacks_tui.errors import StacksError
from stacks_tui.kinds import PROGRAMS, Kind, parse_program
from stacks_tui.live.answers import Answer, answer
from stacks_tui.live.names import Names
from stacks_tui.live.recorded import RecordedTotals
from stacks_tui.live.rhythm import gauges
from stacks_tui.live.snapshot import (
    Collecting,
    Gauge,
    Loss,
    ProgramState,
    Shares,
    Snapshot,
    Trust,
)
from stacks_tui.live.view import ALL, Panel, View
from stacks_tui.owner import invoking_user
from stacks_tui.session.protocol import (
    Command,
    Ended,
    Frame,
    Note,
    Opened,
    Phase,
    SetRefresh,
    SetView,
    Start,
    Stop,
)
from stacks_tui.session.specs import default_spec
from stacks_tui.session.summary import bytes_on_disk, manifest_notes
from stacks_tui.session.supervisor import FrameQueue
from stacks_tui.store.manifest import Manifest
from stacks_tui.store.reader import Recording, open_recording

PARTS = 60
"""Of the window, in the header's past."""
_S = 10**9


class RecordingSource:
    """A `Source`: a recording."""

    def __init__(self, path: Path, view: View | None = None) -> None:
        """Open it in the background; if that fails, an `Ended` says why. `view`: the first."""
        self._path = path
        self._frames = FrameQueue()
        self._change = threading.Condition()
        self._wanted: View | None = view or View(window=ALL)
        self._stopped = False
        self._recording: Recording | None = None
        self._thread = threading.Thread(target=self._run, name="playback", daemon=True)
        self._thread.start()

    def post(self, command: Command) -> None:
        """See `Source`."""
        with self._change:
            if isinstance(command, SetView):
                self._wanted = command.view
            elif isinstance(command, Stop):
                self._stopped = True
            elif not isinstance(command, SetRefresh | Start):
                self._frames.put(Note("this is a recording: nothing collects any more."))
                return
            if self._recording is not None and not isinstance(command, SetRefresh | Start):
                self._recording.interrupt()
            self._change.notify()

    def poll(self, timeout_s: float | None = None) -> Frame | None:
        """See `Source`."""
        return self._frames.take(timeout_s)

    def frames(self) -> Iterator[Frame]:
        """See `Source`."""
        return self._frames.all()

    def close(self) -> None:
        """See `Source`."""
        self.post(Stop())
        self._thread.join()

    def _run(self) -> None:
        ended = Ended(str(self._path))
        self._frames.put(Phase("opening"))
        try:
            with open_recording(self._path, invoking_user()) as recording:
                player = _Player(recording)
                self._frames.put(Opened(str(recording.path), live=False))
                if recording.manifest is not None:
                    for note in manifest_notes(recording.manifest, live=recording.live):
                        self._frames.put(Note(note))
                with self._change:
                    self._recording = recording
                try:
                    self._play(player)
                finally:
                    with self._change:
                        self._recording = None
                    player.close()
        except StacksError as error:
            ended = replace(ended, failure=str(error), exit_code=error.exit_code)
        except Exception as error:  # noqa: BLE001  # a thread's last words
            what = f"internal error: {type(error).__name__}: {error}."
            ended = replace(ended, failure=what, exit_code=1)
        self._frames.put(ended)

    def _play(self, player: _Player) -> None:
        while True:
            with self._change:
                while self._wanted is None and not self._stopped:
                    self._change.wait()
                if self._stopped or self._wanted is None:
                    return
                view, self._wanted = self._wanted, None
            try:
                self._frames.put(player.snapshot(view))
                if not self._superseded() and player.look_closer(view):
                    self._frames.put(player.snapshot(view))
            except StacksError as error:
                if not self._superseded():
                    self._frames.put(player.failed(view, str(error)))

    def _superseded(self) -> bool:
        with self._change:
            return self._stopped or self._wanted is not None


class _Player:
    """Answers views; used by one thread."""

    def __init__(self, recording: Recording) -> None:
        self._recording = recording
        self._totals = RecordedTotals(recording)
        self._others: dict[str, RecordedTotals] = {}
        self._number = 0
        self._bytes = bytes_on_disk(recording.path)
        self._shares: Shares | None = None
        self._received: dict[str, int] = _received(recording.manifest)
        self._gauges: dict[tuple[int, int], tuple[Gauge, ...]] = {}

    def snapshot(self, view: View) -> Snapshot:
        """The answer to a view, with what is known of the header by now.

        Raises:
            StacksError: the recording is damaged, or the query was interrupted.
        """
        found = answer(self._totals, view, lambda: self._totals.timeline(view), self._other)
        return self._around(found, view)

    def failed(self, view: View, note: str) -> Snapshot:
        """No answer, and why."""
        totals = self._totals
        return self._around(
            Answer(None, None, totals.began * _S, (totals.now + 1) * _S, note), view
        )

    def look_closer(self, view: View) -> bool:
        """Find out what a snapshot of this view still lacks; False: nothing."""
        found = answer(self._totals, replace(view, panel=Panel.NOTHING), self._totals.timeline)
        window = (found.begin, found.end)
        news = not self._totals.knows_names
        self._totals.names  # noqa: B018  # looked up
        if window not in self._gauges:
            self._gauges[window] = self._make_gauges(*window)
            news = True
        if self._shares is None:
            self._shares = self._make_shares()
            news = True
        return news

    def close(self) -> None:
        """Close the recordings that it was compared with."""
        for other in self._others.values():
            other.close()

    def _other(self, path: str) -> RecordedTotals:
        if path not in self._others:
            opened = open_recording(Path(path), invoking_user())
            self._others[path] = RecordedTotals(opened, self._totals.stacks)
        return self._others[path]

    def _around(self, found: Answer, view: View) -> Snapshot:
        self._number += 1
        totals, manifest = self._totals, self._recording.manifest
        names = totals.names if totals.knows_names else Names()
        seconds = max((found.end - found.begin) / _S, 1.0)
        gauges = self._gauges.get((found.begin, found.end), ())
        events = 0
        if gauges:
            step = self._step(found.begin, found.end)
            events = int(totals.steps(found.begin, found.end, step)[0].sum())
        return Snapshot(
            number=self._number,
            view=view,
            time=(totals.now + 1) * _S,
            began=totals.began * _S if manifest is None else manifest.header.begin,
            begin=found.begin,
            end=found.end,
            live=False,
            rate=events / seconds,
            received=sum(self._received.values()),
            processes=len(names.commands),
            threads=len(names.tgids),
            programs=_programs(manifest, self._received, (totals.now + 1 - totals.began)),
            gauges=gauges,
            trust=self._trust(manifest),
            rows=found.rows,
            detail=found.detail,
            bytes_on_disk=self._bytes,
            note=found.note,
        )

    def _step(self, begin: int, end: int) -> int:
        return max(_S, -(-(end - begin) // PARTS // _S) * _S)

    def _make_gauges(self, begin: int, end: int) -> tuple[Gauge, ...]:
        step = self._step(begin, end)
        past = self._totals.steps(begin, end, step)
        kinds = frozenset(kind for kind in Kind if self._received.get(kind.label))
        resident = self._totals.resident(begin, end, step)
        return gauges(past, step / _S, resident, kinds, whole=True)

    def _make_shares(self) -> Shares:
        rows = self._recording.ask("screen/shares").to_pylist()
        self._received = {row["kind"]: row["count"] for row in rows} | self._received
        sums = {name: sum(row[name] for row in rows) for name in _COUNTS} if rows else {}

        def share(part: str, whole: str) -> float | None:
            return sums[part] / sums[whole] if sums.get(whole) else None

        return Shares(
            share("truncated", "stacked"),
            share("unresolved", "stacked"),
            share("complete", "user_stacked"),
        )

    def _trust(self, manifest: Manifest | None) -> Trust:
        shares = self._shares or Shares(None, None, None)
        kinds = manifest.status.kinds if manifest is not None else {}
        losses = tuple(Loss(label, one.lost, 0) for label, one in kinds.items() if one.lost)
        return Trust(
            lost=sum(loss.lost for loss in losses),
            losses=losses,
            stacks_lost=manifest.status.totals.stacks_lost if manifest is not None else 0,
            truncated=shares.truncated,
            unresolved=shares.unresolved,
            complete=shares.complete,
        )


_COUNTS = ("stacked", "user_stacked", "truncated", "unresolved", "complete")


def _received(manifest: Manifest | None) -> dict[str, int]:
    kinds = manifest.status.kinds if manifest is not None else {}
    return {label: counts.received for label, counts in kinds.items()}


def _programs(
    manifest: Manifest | None, received: dict[str, int], seconds: int
) -> tuple[ProgramState, ...]:
    """On: it was recorded."""
    specs = {}
    for entry in manifest.header.programs if manifest is not None else ():
        with contextlib.suppress(StacksError):  # of a version that had other programs
            spec = parse_program(entry)
            specs[spec.program] = spec
    lost = {
        label: counts.lost
        for label, counts in (manifest.status.kinds if manifest is not None else {}).items()
    }
    found = []
    for program in PROGRAMS:
        labels = [kind.label for kind in program.kinds]
        events = sum(received.get(label, 0) for label in labels)
        there = program.name in specs or events > 0
        found.append(
            ProgramState(
                program.name,
                Collecting.ON if there else Collecting.OFF,
                str(specs.get(program.name) or default_spec(program.name)),
                received=events,
                lost=sum(lost.get(label, 0) for label in labels),
                rate=events / max(seconds, 1),
            )
        )
    return tuple(found)
