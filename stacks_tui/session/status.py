"""What a recording says of itself: a `Status` each second, an `Outcome` at its end."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from stacks_tui.kinds import Kind

_SPAN_FAULTS = {
    "unmatched_exit": "exits of spans that were not seen to be entered",
    "out_of_order": "exits of spans while one entered later was open",
    "too_deep": "enters deeper than 16 spans: events inside bear the 16th",
    "unknown_close": "closes of spans that were not seen to be entered",
    "threads_full": "enters on threads beyond the 16,384 that are kept: events there bear no span",
    "evicted": "spans that gave way to newer ones: their busy time is not known",
    "bad_name": "names or await chains of spans that could not be read",
    "unnamed": "spans told too late, for the ring was full: their first events have no name",
    "no_work": "stacks or await chains of spans not taken: another was being taken on that CPU",
    "no_room": "enters for which the table of open spans had no room: events there bear no span",
    "no_id": "probes of spans whose id was 0, which stands for none",
}
SPANS_LOST = ("threads_full", "evicted", "unnamed", "no_work", "no_room")
"""Those by which something is missing; the others are how programs behave."""


def span_notes(counts: Mapping[str, int]) -> list[str]:
    """What went wrong with spans (`SpanCount`, lower case), a line each."""
    return [f"{counts[name]:,} {what}" for name, what in _SPAN_FAULTS.items() if counts.get(name)]


@dataclass(frozen=True, slots=True)
class KindCount:
    """Events of one kind since the recording began."""

    kind: Kind
    received: int = 0
    lost: int = 0
    """Happened, and could not be received. received + lost = happened."""
    truncated: int = 0
    """Received events of which a stack was cut."""


@dataclass(frozen=True, slots=True)
class Status:
    """The recording at one moment. Totals, so that a status that is never shown costs nothing."""

    phase: str
    """What it does now: `compiling`, `attaching switch`, `waiting for nginx`, `recording`, …"""
    elapsed_s: float = 0.0
    """Since the first program was attached; 0 before."""
    rate: float = 0.0
    """Events received per second, over the time since the status before."""
    kinds: tuple[KindCount, ...] = ()
    ring_share: float = 0.0
    """The fuller of the two rings, 0 to 1, at its fullest since the status before."""
    bytes_on_disk: int = 0
    notes: tuple[str, ...] = ()
    """What the user should know, new since the status before: kinds that can't be had, and why."""

    @property
    def received(self) -> int:
        """Events of all kinds."""
        return sum(count.received for count in self.kinds)

    @property
    def lost(self) -> int:
        """Events of all kinds that were lost."""
        return sum(count.lost for count in self.kinds)


@dataclass(frozen=True, slots=True)
class TopStack:
    """One of a kind's heaviest stacks."""

    value: int
    unit: str
    """`ns`, `bytes` or `events`."""
    frames: tuple[str, ...]
    """Names, leaf first."""


@dataclass(frozen=True, slots=True)
class KindOutcome:
    """One kind of a finished recording.

    Shares, 0 to 1, are of the events that have a stack; None: no event has one.
    """

    kind: Kind
    events: int
    lost: int = 0
    truncated: float | None = None
    """Share with a stack that was cut."""
    unresolved: float | None = None
    """Share with at least one frame that has no symbol."""
    incomplete: float | None = None
    """Share whose user stack does not reach a start of a thread or program."""
    top: tuple[TopStack, ...] = ()
    """The heaviest stacks, heaviest first, at most five."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """A finished recording."""

    directory: Path
    kinds: tuple[KindOutcome, ...] = ()
    elapsed_s: float = 0.0
    bytes_on_disk: int = 0
    exit_status: int | None = None
    """Of the launched program, 128 + signal if one killed it; None: none was launched, or it
    still runs."""
    failure: str | None = None
    """Why it ended early, one line (such as a full disk); what is whole was kept."""
    notes: tuple[str, ...] = field(default=())
