"""One way, from the rings to the disk: a thread reads, another enriches and writes.

Comes in: the two rings. Goes out: rows in the recording. The reader only copies; if the writer
falls behind by `MOST_WAITING` events, the reader waits, the ring fills and the kernel counts what
is lost.
"""

from __future__ import annotations

import collections
import select
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from stacks_tui.capture.programs import Programs
from stacks_tui.capture.ringbuf import decode, is_code
from stacks_tui.columns import EventBuffer, EventColumns, Events, by_column, joined
from stacks_tui.enrich.clock import Clock
from stacks_tui.enrich.events import EventBatches
from stacks_tui.enrich.spans import Opened, Spans
from stacks_tui.kinds import Kind
from stacks_tui.records import EVENT, AwaitsRecord, CodeRecord, EventFlag, StackRecord
from stacks_tui.session.follower import Follower
from stacks_tui.session.symbolizer import Symbolizer
from stacks_tui.store.manifest import RecordingStatus
from stacks_tui.store.writer import RecordingWriter
from stacks_tui.symbols.awaits import await_stack
from stacks_tui.symbols.frames import ResolvedStack

ENOUGH = 1 << 16
"""Events that are worth writing at once …"""
PATIENCE_S = 0.4
"""… and how long fewer wait: what a kill may cost, together with the reader's sleep."""
MOST_WAITING = 1 << 18
"""Events between the reader and the writer (23 MB)."""
SHORT_SLEEP_S, LONG_SLEEP_S = 0.015, 0.05
MOST_COPIED = 64 << 20
"""Bytes of copied stacks that wait to be unwound; beyond, the kernel is not allowed more."""
MOST_SEEN = 1 << 19
"""Stack ids remembered as written; a stack that comes again after that is written again."""

_NO_EVENTS = np.zeros(0, EVENT)
_TRUNCATED = EventFlag.USER_TRUNCATED | EventFlag.KERNEL_TRUNCATED


@dataclass(slots=True)
class Tally:
    """Running totals, by kind code; written by the pipeline's threads, read by anyone."""

    received: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(256, np.int64))
    truncated: npt.NDArray[np.int64] = field(default_factory=lambda: np.zeros(256, np.int64))
    stacks: int = 0
    ring_share: float = 0.0
    """The fuller ring at its fullest since somebody set this to 0."""

    def add(self, events: Events) -> None:
        """Count a batch."""
        self.received += np.bincount(events["kind"], minlength=256)
        cut = events["flags"] & np.uint8(_TRUNCATED) != 0
        if cut.any():
            self.truncated += np.bincount(events["kind"][cut], minlength=256)

    def of(self, kind: Kind) -> tuple[int, int]:
        """(received, truncated) of a kind."""
        return int(self.received[kind]), int(self.truncated[kind])


class Tap(Protocol):
    """Sees what is written, on the writing thread: it must be quick, and must not raise."""

    def events(self, events: EventColumns, rows: pa.RecordBatch) -> None:
        """A batch in order of time, and the same as it is stored."""

    def stacks(self, stacks: Sequence[ResolvedStack]) -> None:
        """Stacks that have their names now; an event may come before its stacks."""

    def opened(self, spans: Opened, offset: int) -> None:
        """Spans that were entered for the first time, before any event that bears them.

        `offset`: from their times to the Unix epoch, ns."""

    def open_now(self, events: npt.NDArray[np.void], offset: int) -> None:
        """What is open at this moment, about once a second: the spans as closes and their waits,
        all with the flag OPEN. None of it is written. `offset`: to the Unix epoch, ns."""


class Pipeline:
    """The reading and the writing thread of a recording."""

    def __init__(
        self,
        programs: Programs,
        follower: Follower,
        symbolizer: Symbolizer,
        writer: RecordingWriter,
        clock: Clock,
        spans: Spans,
        status: Callable[[], RecordingStatus],
        tap: Tap | None = None,
    ) -> None:
        """`status`: what the manifest is to say, asked for once a second."""
        self.tally = Tally()
        self.failure: BaseException | None = None
        """What ended the writing thread early."""
        self._programs = programs
        self._follower = follower
        self._symbolizer = symbolizer
        self._writer = writer
        self._clock = clock
        self._status = status
        self._tap = tap
        self._spans = spans
        self._batches = EventBatches(follower, spans, clock)
        self._buffer = EventBuffer(ENOUGH)
        self._waiting: collections.deque[EventColumns] = collections.deque()
        """What came before that which is in the buffer."""
        self._new_stacks: list[bytes] = []
        self._count = 0
        """Of events in both."""
        self._at_work = False
        """The writer has taken some that are not written yet."""
        self._rounds = 0
        self._ended = 0
        self._open_due = 0.0
        self._change = threading.Condition()
        self._seen: set[int] = set()
        self._reading = self._writing = True
        self._reader = threading.Thread(target=self._read_on, name="reader", daemon=True)
        self._worker = threading.Thread(target=self._write_on, name="writer", daemon=True)

    def start(self) -> None:
        """Begin to read and to write."""
        self._reader.start()
        self._worker.start()

    def stop_reading(self) -> None:
        """Empty the rings for the last time and write it; call when every program is detached."""
        self._reading = False
        self._reader.join()
        self._drain()

    def add(self, events: npt.NDArray[np.void]) -> None:
        """Events that come from elsewhere than the ring (the waits that are open at the end)."""
        if len(events):
            self.tally.add(events)
            with self._change:
                self._set_aside()
                self._waiting.append(by_column(events))
                self._count += len(events)

    def settle(self, most_s: float = 2.0) -> None:
        """Wait until what is in the ring now has been read and written."""
        rounds, end = self._rounds + 2, time.monotonic() + most_s
        while self._rounds < rounds or self._programs.events.fill > 0:
            if time.monotonic() > end or not self._reader.is_alive():
                return
            time.sleep(0.005)
        self._drain()

    def finish(self, ended: int) -> None:
        """Write all that was read, and the spans that are open at `ended` (ns, CLOCK_MONOTONIC).

        Then `failure` tells whether it could be.
        """
        self._ended = ended
        with self._change:
            self._writing = False
            self._change.notify_all()
        self._worker.join()

    def _drain(self) -> None:
        """Wait until all that was read is written: who asks the kernel side for what is still open
        must not be told what the end of a process, read but not dealt with, has closed."""
        with self._change:
            self._set_aside()
            while (self._count or self._at_work) and self.failure is None:
                if not self._worker.is_alive():
                    return
                self._change.wait(0.1)

    # The reading thread

    def _read_on(self) -> None:
        sleep = SHORT_SLEEP_S
        urgent = select.epoll()
        urgent.register(self._programs.wakeup_fd, select.EPOLLIN | select.EPOLLET)
        with urgent:
            while self._reading:
                got = self._read_once()
                sleep = SHORT_SLEEP_S if got > 1000 else min(sleep * 1.5, LONG_SLEEP_S)
                if got < ENOUGH // 2:
                    urgent.poll(sleep)
        while self._read_once():
            pass

    def _read_once(self) -> int:
        """Returns how many records it found."""
        programs = self._programs
        self._rounds += 1
        share = max(programs.events.fill, programs.stacks.fill)
        self.tally.ring_share = max(self.tally.ring_share, share)
        events = self._read_events()
        stacks: list[bytes] = []
        keeps_up = self._symbolizer.copied_bytes < MOST_COPIED
        others = programs.stacks.read(more_copies=keeps_up)
        for body in others:
            record = decode(body) if is_code(body) else None
            if isinstance(record, CodeRecord):
                self._symbolizer.learn(record)  # at once: some of it may only be had for a moment
            else:
                stacks.append(body)
        if stacks:
            with self._change:
                self._new_stacks += stacks
        return events + len(others)

    def _read_events(self) -> int:
        with self._change:
            while self._count > MOST_WAITING and self.failure is None:
                self._change.wait(0.1)
            found = self._programs.events.read(self._buffer)
            if not found:
                return 0
            self.tally.add(self._buffer.newest(found))
            self._count += found
            if self._buffer.room < 2:  # some records come in twos
                self._set_aside()
        return found

    def _set_aside(self) -> None:
        """What is in the buffer is a batch now."""
        if self._buffer.count:
            self._waiting.append(self._buffer.take())
            self._change.notify_all()

    # The writing thread

    def _write_on(self) -> None:
        told = time.monotonic()
        try:
            while self._writing or self._count or self._new_stacks:
                self._write_once()
                if time.monotonic() - told >= 1:
                    told = time.monotonic()
                    self._writer.write_processes(self._follower.ended_processes(self._clock))
                    self._writer.flush(self._status())
                    self._tell_open()
            self._write_events(_NO_EVENTS, self._spans.unfinished(self._ended))
            self._write_stacks(self._symbolizer.finish())
            self._writer.write_processes(self._follower.all_processes(self._clock))
        except BaseException as error:  # noqa: BLE001  # told to the session, which ends
            with self._change:
                self.failure = error
                self._change.notify_all()

    def _write_once(self) -> None:
        with self._change:
            if not self._waiting and self._writing:
                self._change.wait(PATIENCE_S)
            batch = self._waiting.popleft() if self._waiting else self._buffer.take()
            stacks, self._new_stacks = self._new_stacks, []
            self._count -= len(batch)
            self._at_work = bool(len(batch))
            self._change.notify_all()
        self._name(stacks)
        if len(batch):
            events, added = self._spans.take_in(batch)
            opened = self._spans.opened()
            if self._tap is not None and len(opened):
                self._tap.opened(opened, self._clock.offset_ns)
            self._write_events(events, added)
            self._spans.drop_old()
            with self._change:
                self._at_work = False
                self._change.notify_all()
        self._write_stacks(self._symbolizer.take())

    def _write_events(self, events: Events, added: npt.NDArray[np.void]) -> None:
        """Events of the ring, and those that only the user side knows of."""
        events = by_column(events)
        if len(added):
            self.tally.add(added)
            events = joined([events, by_column(added)])
        if not len(events):
            return
        events = _in_order(events)
        rows = self._batches.arrow(events)
        self._writer.write_events(rows)
        if self._tap is not None:
            self._tap.events(events, rows)

    def _tell_open(self) -> None:
        """Where many are open, seldom: reading them is to cost no more than a twentieth."""
        began = time.monotonic()
        if self._tap is None or began < self._open_due:
            return
        self._tap.open_now(self._programs.open_spans(time.monotonic_ns()), self._clock.offset_ns)
        self._open_due = began + 20 * (time.monotonic() - began)

    def _write_stacks(self, stacks: Sequence[ResolvedStack]) -> None:
        self._writer.write_stacks(stacks)
        if self._tap is not None and stacks:
            self._tap.stacks(stacks)

    def _name(self, stacks: list[bytes]) -> None:
        fresh: list[StackRecord] = []
        chains = []
        for stack in map(decode, stacks):
            if isinstance(stack, CodeRecord) or stack.id in self._seen:
                continue
            self._seen.add(stack.id)
            if isinstance(stack, AwaitsRecord):
                chains.append(await_stack(stack))
            else:
                fresh.append(stack)
        if len(self._seen) > MOST_SEEN:
            self._seen.clear()
        self.tally.stacks += len(fresh) + len(chains)
        self._write_stacks(chains)
        for stack, space in zip(fresh, self._follower.spaces(fresh), strict=True):
            self._symbolizer.resolve(stack, space)


def _in_order(events: EventColumns) -> EventColumns:
    """By time: CPUs write into one ring, so neighbours may have changed places."""
    times = events["time"]
    if bool(np.all(times[1:] >= times[:-1])):
        return events
    return events[np.argsort(times, kind="stable")]
