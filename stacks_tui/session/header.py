"""The part of a snapshot that is no view: states of programs, gauges, trust, own cost.

Comes in: a running `Session` and its live model. Goes out: `Snapshot`s around an answer.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

from stacks_tui.kinds import PROGRAMS, Kind, ProgramSpec
from stacks_tui.live.answers import Answer
from stacks_tui.live.model import LiveModel
from stacks_tui.live.rhythm import gauges
from stacks_tui.live.snapshot import (
    Collecting,
    Gap,
    Loss,
    ProgramState,
    Shares,
    Snapshot,
    Trust,
)
from stacks_tui.live.view import View
from stacks_tui.session.recorder import Session
from stacks_tui.session.specs import default_spec
from stacks_tui.session.status import SPANS_LOST, Status

SHARES_EVERY_S = 1.0


class Header:
    """Keeps what was told before, to know since when something is lost."""

    def __init__(self, session: Session, model: LiveModel, specs: tuple[ProgramSpec, ...]) -> None:
        self._session = session
        self._model = model
        self._specs = {spec.program: spec for spec in specs}
        self._since: dict[Kind | None, int] = {}
        self._shares = Shares(None, None, None)
        self._shared = 0.0
        self._number = 0
        self._cpu = (time.monotonic(), time.process_time())

    def gaps(self) -> tuple[Gap, ...]:
        """Times in which kinds did not collect."""
        return tuple(
            Gap(kind.label, begin, end)
            for kind, several in self._session.gaps.items()
            for begin, end in several
        )

    def snapshot(self, view: View, answer: Answer, status: Status, now: int) -> Snapshot:
        """Everything at this moment (`now`: ns since the Unix epoch)."""
        past, resident = self._model.minute()
        attached = self._session.attached
        measured = frozenset(
            kind for program in PROGRAMS if program.name in attached for kind in program.kinds
        )
        processes, threads = self._model.busy()
        self._number += 1
        return Snapshot(
            number=self._number,
            view=view,
            time=now,
            began=self._session.began,
            begin=answer.begin,
            end=answer.end,
            live=True,
            rate=float(past[0, :, -1].sum()) if past.shape[2] else 0.0,
            received=status.received,
            processes=processes,
            threads=threads,
            programs=self._programs(status, past[0, :, -1].tolist() if past.shape[2] else []),
            gauges=gauges(past, 1.0, resident, measured, whole=False),
            trust=self._trust(status, now),
            rows=answer.rows,
            detail=answer.detail,
            bytes_on_disk=status.bytes_on_disk,
            note=answer.note,
        )

    def _programs(self, status: Status, rates: list[int]) -> tuple[ProgramState, ...]:
        attached, failed = self._session.attached, self._session.failed
        self._specs.update(attached)
        counts = {count.kind: count for count in status.kinds}
        found = []
        for program in PROGRAMS:
            state = Collecting.ON if program.name in attached else Collecting.OFF
            if state is Collecting.OFF and program.name in failed:
                state = Collecting.FAILED
            spec = self._specs.get(program.name) or default_spec(program.name)
            of = [counts[kind] for kind in program.kinds if kind in counts]
            found.append(
                ProgramState(
                    program.name,
                    state,
                    str(spec),
                    failed.get(program.name, "") if state is Collecting.FAILED else "",
                    sum(count.received for count in of),
                    sum(count.lost for count in of),
                    float(sum(rates[kind] for kind in program.kinds)) if rates else 0.0,
                )
            )
        return tuple(found)

    def _trust(self, status: Status, now: int) -> Trust:
        losses = []
        for count in status.kinds:
            if count.lost:
                since = self._since.setdefault(count.kind, now)
                losses.append(Loss(count.kind.label, count.lost, since, _advice(count.kind)))
        spans = self._session.span_counts()
        spans_lost = sum(spans.get(name, 0) for name in SPANS_LOST)
        if spans_lost:
            since = self._since.setdefault(None, now)
            losses.append(Loss("spans", spans_lost, since, _MORE_ROOM))
        moment = time.monotonic()
        if moment - self._shared >= SHARES_EVERY_S:
            self._shared = moment
            self._shares = self._model.shares()
        cpu = time.process_time()
        before, self._cpu = self._cpu, (moment, cpu)
        return Trust(
            lost=status.lost + spans_lost,
            losses=tuple(losses),
            stacks_lost=self._session.stacks_lost,
            truncated=self._shares.truncated,
            unresolved=self._shares.unresolved,
            complete=self._shares.complete,
            ring=status.ring_share,
            cpu=(cpu - before[1]) / max(moment - before[0], 1e-3),
            memory=_resident_bytes(),
        )


_MORE_ROOM = "give a larger --ring-bytes, or switch off a kind that is not needed."


def _advice(kind: Kind) -> str:
    if kind is Kind.PROFILE:
        return "give a larger --ring-bytes, or sample less often (profile:u:49)."
    if kind in (Kind.SWITCH, Kind.WAIT):
        return "give a larger --ring-bytes, or leave out short times (switch:uk:10000)."
    return _MORE_ROOM


def _resident_bytes() -> int:
    try:
        pages = int(Path("/proc/self/statm").read_text(encoding="ascii").split()[1])
    except (OSError, ValueError, IndexError):
        return 0
    return pages * os.sysconf("SC_PAGE_SIZE")
