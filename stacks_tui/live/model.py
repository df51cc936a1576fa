"""The live model: what a running session shows, kept in bounded memory.

Comes in: every batch on the writing thread, every named stack, once a second the processes. Goes
out, on another thread: `Totals` for the views, and the header's numbers. Adding goes by arrays; one
lock is held for as long as a batch is added or sums are copied, never while rows are computed.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from stacks_tui.columns import EventColumns, Events, by_column
from stacks_tui.enrich.events import STATES, state_codes
from stacks_tui.enrich.processes import ProcessRow
from stacks_tui.enrich.spans import Opened
from stacks_tui.kinds import Kind
from stacks_tui.live.book import Book
from stacks_tui.live.buckets import SECONDS_KEPT, Buckets, Sums
from stacks_tui.live.cells import NONE, UNNAMED, Cells
from stacks_tui.live.instances import SpanSlice
from stacks_tui.live.keys import Ids, Keys
from stacks_tui.live.names import Names
from stacks_tui.live.rhythm import MINUTE, Rhythm
from stacks_tui.live.snapshot import Gap, Shares, Timeline
from stacks_tui.live.stacks import Place, StackTable
from stacks_tui.live.totals import STEPS, Past, Slice
from stacks_tui.live.view import Instance
from stacks_tui.records import EventFlag
from stacks_tui.symbols.frames import Frame, ResolvedStack
from stacks_tui.text import valid

Ints = npt.NDArray[np.int64]

CHUNK = 8192
"""Events added at once: they stay in the processor's cache."""
DEAR_NS, CHEAP_NS = 600, 150
"""Per event: beyond the first, keys leave out more from the next second on; below the second, less
again. So a flood of stacks that are all different never makes the writer late."""
MOST_LEFT_OUT = 3
MOST_OF_LITTLE = 20_000
"""Events a second that are no burden, whatever each costs."""
MOST_SIZE = 1 << 24
"""Frames kept of all stacks (4 bytes each) before those are forgotten that no sum has."""
_SLOTS = 1 << 16
STACK_FIELDS = ("ustack", "kstack", "wstack")
MOST_NAMED = 1 << 17
"""Processes and threads whose names are kept."""
MOST_SPAN_NAMES = 1 << 14
OTHER_SPANS = "[other spans]"
"""Names of spans beyond that many: a program that numbers them should give the number as `id`."""


class LiveModel:
    """A `session.pipeline.Tap`, and `Totals`."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._keys = Keys()
        self._rhythm = Rhythm()
        self._buckets = Buckets(self._keys, self._over)
        self._book = Book()
        self._stacks = StackTable()
        self._names = Names()
        self._span_numbers: dict[str, int] = {}
        self._last = np.zeros(_SLOTS, np.intp)
        self._resident: deque[tuple[int, int]] = deque(maxlen=MINUTE + 1)
        """(second, bytes) at the end of seconds."""
        self._places = np.full((0, 3), NONE, np.int32)
        """Rows of the stacks of keys, by number of the key, as far as they are known."""
        self._placed = 0
        self._generation = 0
        """Rises when keys get new numbers."""
        self._spent_ns = self._spent_on = 0
        """On the second that is being added to, and for how many events."""
        self._states = state_codes().astype(np.int8)
        self._opening: list[tuple[Opened, int]] = []
        """To be shown together with the events of their batch, which may close them."""
        self.failure: BaseException | None = None
        """What ended the adding; the recording goes on."""

    # From the writing thread

    def begin(self, began: int) -> None:
        """The recording begins at this moment, ns since the Unix epoch."""
        with self._lock:
            self._advance(began // 10**9)

    def events(self, events: Events, rows: pa.RecordBatch) -> None:
        """Add a batch in order of time, and the same as schema.EVENTS."""
        if self.failure is not None or not len(events):
            return
        began = time.thread_time_ns()
        try:
            with self._lock:
                self._open()
                self._add(by_column(events), rows)
        except Exception as error:  # noqa: BLE001  # what is shown must never end what is recorded
            self.failure = error
        self._spent_ns += time.thread_time_ns() - began
        self._spent_on += len(events)

    def stacks(self, stacks: Sequence[ResolvedStack]) -> None:
        """Add stacks with their names."""
        if self.failure is not None:
            return
        try:
            with self._lock:
                self._name(stacks)
        except Exception as error:  # noqa: BLE001  # likewise
            self.failure = error

    def opened(self, spans: Opened, offset: int) -> None:
        """Add spans that were entered for the first time; their events come later.

        `offset`: from their times to the Unix epoch, ns.
        """
        self._opening.append((spans, offset))

    def open_now(self, events: npt.NDArray[np.void], offset: int) -> None:
        """What is open at this moment: records.EVENT, closes and waits with the flag OPEN.

        `offset`: from their times to the Unix epoch, ns.
        """
        if self.failure is not None:
            return
        try:
            with self._lock:
                self._open()
                self._book.open_now(events, offset)
        except Exception as error:  # noqa: BLE001  # likewise
            self.failure = error

    # From elsewhere

    def set_processes(self, rows: Iterable[ProcessRow]) -> None:
        """The processes of interest as they are now: those that are no longer told have ended."""
        with self._lock:
            known = self._names.processes
            told: dict[int, ProcessRow] = {}
            for row in rows:
                before = told.get(row.tgid)
                if before is None or (row.start or 0) >= (before.start or 0):
                    told[row.tgid] = row
            for tgid, row in known.items():
                if tgid not in told and row.end is None:
                    told[tgid] = replace(row, end=0)  # when, nobody saw
            known.update(told)

    def advance(self, now: int) -> None:
        """It is this moment now, ns since the Unix epoch, and no event of before is to come."""
        with self._lock:
            self._advance(now // 10**9)

    @property
    def began(self) -> int:
        """The first second with events, since the Unix epoch; 0: none yet."""
        return self._rhythm.first or self._buckets.now

    @property
    def now(self) -> int:
        """The newest second."""
        return self._buckets.now

    def view(self) -> LiveTotals:
        """What there is now, for one answer."""
        with self._lock:
            names = Names(
                dict(self._names.commands),
                dict(self._names.threads),
                dict(self._names.tgids),
                dict(self._names.processes),
                list(self._names.spans),
                dict(self._names.resident),
            )
            return LiveTotals(self, self._stacks, names, self.began, self.now)

    def timeline(self, gaps: tuple[Gap, ...] = ()) -> Timeline:
        """The strips of the whole time."""
        with self._lock:
            return self._rhythm.timeline(gaps)

    def minute(self) -> tuple[Ints, tuple[float, ...]]:
        """The last 60 whole seconds: sums as `Rhythm.seconds`, and the resident bytes."""
        with self._lock:
            end = self.now
            number = max(1, min(MINUTE, end - self.began))
            bytes_at = dict(self._resident)
            resident: list[float] = []
            for second in range(end - number, end):
                before = resident[-1] if resident else 0.0
                resident.append(float(bytes_at.get(second, before)))
            resident[-1:] = [float(self._held())]
            return self._rhythm.seconds(end, number), tuple(resident)

    def shares(self) -> Shares:
        """How good the stacks are."""
        with self._lock:
            stacks = self._stacks
            cells = self._cells(self._buckets.everything(), stacks)
        user, kernel = stacks.marks(cells.ustack), stacks.marks(cells.kstack)
        taken = (cells.ustack >= 0) | (cells.kstack >= 0)
        own = cells.ustack >= 0
        either = user | kernel
        return Shares(
            _share(cells.count, either & 2 != 0, taken),
            _share(cells.count, either & 4 != 0, taken),
            _share(cells.count, user & 1 != 0, own),
        )

    def busy(self) -> tuple[int, int]:
        """Processes and threads that had events and, as far as known, still run."""
        with self._lock:
            alive = {
                tgid for tgid in self._names.commands if _alive(self._names.processes.get(tgid))
            }
            threads = sum(tgid in alive for tgid in self._names.tgids.values())
            return len(alive), threads

    # Under the lock

    def _add(self, events: EventColumns, rows: pa.RecordBatch) -> None:
        spans = self._spans(rows)
        newest: list[npt.NDArray[np.intp]] = []
        offset = rows.column("timestamp")[0].as_py() - int(events["time"][0])
        begin, last = 0, (int(events["time"][-1]) + offset) // 10**9
        while begin < len(events):
            second = (int(events["time"][begin]) + offset) // 10**9
            end = len(events)
            if second != last:
                over = np.uint64((second + 1) * 10**9 - offset)
                end = max(int(np.searchsorted(events["time"], over)), begin + 1)
            self._advance(second)
            named = None if spans is None else spans[begin:end]
            part = rows.slice(begin, end - begin)
            self._book.add(second, events[begin:end], part, named, offset)
            for at in range(begin, end, CHUNK):
                chunk = slice(at, min(at + CHUNK, end))
                named = None if spans is None else spans[chunk]
                newest.append(at + self._add_chunk(second, events[chunk], named))
            begin = end
        self._learn(events, np.sort(np.concatenate(newest)), rows)

    def _open(self) -> None:
        for spans, offset in self._opening:
            self._book.opened(spans, self._numbers(spans.names), offset)
        self._opening.clear()

    def _add_chunk(
        self,
        second: int,
        events: EventColumns,
        spans: npt.NDArray[np.int32] | None,
    ) -> npt.NDArray[np.intp]:
        """Returns the places of each thread's last event."""
        ids = self._keys.of_events(events, spans)
        duration = events["duration"].astype(np.int64)
        amount = events["amount"].astype(np.int64)
        amount[events["kind"] >= Kind.TRACE_EXIT] = 0  # of spans: any numbers
        rss = np.flatnonzero(events["kind"] == Kind.RSS)
        if len(rss):
            held = amount[rss].tolist()
            self._names.resident.update(zip(events["tgid"][rss].tolist(), held, strict=True))
            amount[rss] = events["word0"][rss].view(np.int64)  # the change
        self._buckets.add(second, ids, duration, amount)
        return self._newest(events["pid"])

    def _advance(self, second: int) -> None:
        if second <= self._buckets.now:
            return
        self._resident.append((self._buckets.now, self._held()))
        self._keys.level = _next_level(self._keys.level, self._spent_ns, self._spent_on)
        self._spent_ns = self._spent_on = 0
        keys = len(self._keys)
        self._buckets.advance(second)
        self._book.advance(second)
        if len(self._keys) < keys:
            self._placed = 0
            self._generation += 1
        if self._stacks.size > MOST_SIZE:
            used = np.union1d(self._buckets.stacks(), self._book.stacks())
            self._stacks = self._stacks.keep(used)
            self._placed = 0
        if len(self._names.threads) > MOST_NAMED:
            self._forget_names()

    def _over(self, second: int, kinds: npt.NDArray[np.uint8], sums: Sums) -> None:
        self._rhythm.add(second, kinds, (sums.count, sums.duration, sums.amount))

    def _held(self) -> int:
        """Bytes that the processes that still run hold together."""
        names = self._names
        return sum(
            held for tgid, held in names.resident.items() if _alive(names.processes.get(tgid))
        )

    def _learn(
        self, events: EventColumns, newest: npt.NDArray[np.intp], rows: pa.RecordBatch
    ) -> None:
        """The names of threads and processes at these places of a batch; the last ones stay."""
        last = self._newest(events["pid"][newest])
        newest = newest[np.sort(last)]
        names = self._names
        threads, commands = (_texts(rows.column(one), newest) for one in ("thread", "command"))
        tgids = events["tgid"][newest].tolist()
        for pid, tgid, thread, command in zip(
            events["pid"][newest].tolist(), tgids, threads, commands, strict=True
        ):
            names.tgids[pid] = tgid
            if thread is not None:
                names.threads[pid] = thread
            if command is not None:
                names.commands[tgid] = command
            else:
                names.commands.setdefault(tgid, "")

    def _newest(self, pids: npt.NDArray[np.uint32]) -> npt.NDArray[np.intp]:
        """Places of each thread's last event."""
        found = [np.zeros(0, np.intp)]
        rest = np.arange(len(pids))
        while len(rest):
            mine = pids.take(rest)
            slots = mine & np.uint32(_SLOTS - 1)
            self._last[slots] = rest  # of several the last stays
            last = self._last.take(slots)
            found.append(rest[last == rest])
            rest = rest[pids.take(last) != mine]  # another thread has the slot
        return np.concatenate(found)

    def _spans(self, rows: pa.RecordBatch) -> npt.NDArray[np.int32] | None:
        column = rows.column("trace_name")
        return None if column.null_count == len(column) else self._numbers(column)

    def _numbers(self, column: pa.Array) -> npt.NDArray[np.int32]:
        """The numbers of spans' names."""
        if not pa.types.is_dictionary(column.type):
            column = column.dictionary_encode()
        numbers = []
        for name in column.dictionary.to_pylist():
            if len(self._span_numbers) >= MOST_SPAN_NAMES and name not in self._span_numbers:
                name = OTHER_SPANS
            number = self._span_numbers.get(name)
            if number is None:
                number = self._span_numbers[name] = len(self._names.spans)
                self._names.spans.append(name)
            numbers.append(number)
        places = column.indices.fill_null(-1).to_numpy(zero_copy_only=False)
        found: npt.NDArray[np.int32] = np.append(np.array(numbers, np.int32), np.int32(NONE))[
            places
        ]
        return found

    def _name(self, stacks: Sequence[ResolvedStack]) -> None:
        known: dict[int, Place] = {}

        def placed(frames: Sequence[Frame]) -> list[Place]:
            places = []
            for frame in frames:
                place = known.get(id(frame))
                if place is None:
                    place = known[id(frame)] = _place(frame)
                places.append(place)
            return places

        for stack in stacks:
            self._stacks.add(
                stack.id,
                placed(stack.frames),
                complete=stack.complete,
                truncated=stack.truncated,
                unresolved=stack.unresolved > 0,
                native=None if stack.native is None else placed(stack.native),
            )

    def _forget_names(self) -> None:
        table = self._keys.table[: len(self._keys)]
        pids = set(np.unique(np.concatenate([table["pid"], table["waker"]])).tolist())
        tgids = set(np.unique(table["tgid"]).tolist())
        names = self._names
        names.threads = {pid: name for pid, name in names.threads.items() if pid in pids}
        names.tgids = {pid: tgid for pid, tgid in names.tgids.items() if pid in pids}
        names.commands = {tgid: name for tgid, name in names.commands.items() if tgid in tgids}
        names.resident = {tgid: held for tgid, held in names.resident.items() if tgid in tgids}
        names.processes = {tgid: row for tgid, row in names.processes.items() if tgid in tgids}

    def slice(
        self, kinds: Sequence[Kind], begin: int, end: int, stacks: StackTable
    ) -> LiveSlice | None:
        """The cells of these kinds in a span; None: it is no longer kept."""
        with self._lock:
            whole = begin <= self.began and end > self.now
            found = (
                (self._buckets.everything(), self.began, self.now + 1)
                if whole
                else self._buckets.between(begin, end)
            )
            if found is None:
                return None
            sums, begin, end = found
            chosen = np.isin(self._keys.table["kind"][sums.ids], kinds)
            sums = Sums(
                sums.ids[chosen], sums.count[chosen], sums.duration[chosen], sums.amount[chosen]
            )
            cells = self._cells(sums, stacks)
            return LiveSlice(self, cells, begin, end, sums.ids, self._generation)

    def spans(self, begin: int, end: int, *, children: bool) -> SpanSlice | None:
        """The spans of a span, seconds since the Unix epoch; None: it is no longer kept."""
        with self._lock:
            whole = begin <= self.began and end > self.now
            return self._book.slice(begin, end, whole=whole, children=children)

    def past(self, wanted: Ids, generation: int, begin: int, end: int) -> Past:
        """What keys added up to by second, or by ten seconds where those are gone."""
        with self._lock:
            single = begin > self._buckets.now - SECONDS_KEPT
            step = 1 if single else 10
            last = -(-end // step)
            first = max(begin // step, last - STEPS)
            found = np.zeros((3, max(0, last - first)), np.int64)
            if generation == self._generation:
                mask = np.zeros(self._keys.capacity, np.bool_)
                mask[wanted] = True
                for at in range(found.shape[1]):
                    sums = (
                        self._buckets.single(first + at)
                        if single
                        else self._buckets.ten(first + at)
                    )
                    inside = mask[sums.ids]
                    found[0, at] = sums.count[inside].sum()
                    found[1, at] = sums.duration[inside].sum()
                    found[2, at] = sums.amount[inside].sum()
            return Past(step, found[0], found[1], found[2])

    def _cells(self, sums: Sums, stacks: StackTable) -> Cells:
        keys = self._keys.table[sums.ids]
        rows = self._rows(sums.ids, keys, stacks)
        off = (keys["kind"] == Kind.WAIT) | (keys["kind"] == Kind.SWITCH)
        states = self._states[keys["state"] & 0xFFFF]
        states[keys["flags"] & np.uint8(EventFlag.PREEMPTED) != 0] = STATES.index("preempted")
        return Cells(
            kind=keys["kind"],
            tgid=keys["tgid"],
            pid=keys["pid"],
            ustack=rows[:, 0],
            kstack=rows[:, 1],
            wstack=rows[:, 2],
            waker=keys["waker"],
            state=np.where(off, states, np.int8(NONE)),
            span=keys["span"],
            duration_bin=keys["duration_bin"],
            amount_bin=keys["amount_bin"],
            count=sums.count,
            duration=sums.duration,
            amount=sums.amount,
        )

    def _rows(
        self, ids: Ids, keys: npt.NDArray[np.void], stacks: StackTable
    ) -> npt.NDArray[np.int32]:
        """Rows of the three stacks of keys; what was found before is looked up by number."""
        if stacks is not self._stacks:
            return _stack_rows(keys, stacks)
        if len(self._places) < self._keys.capacity:
            bigger = np.full((self._keys.capacity, 3), UNNAMED, np.int32)
            bigger[: len(self._places)] = self._places
            self._places = bigger
        if not self._placed:
            self._places[:] = UNNAMED
            self._placed = 1
        unknown = np.flatnonzero((self._places[ids] == UNNAMED).any(axis=1))
        if len(unknown):
            self._places[ids[unknown]] = _stack_rows(keys[unknown], stacks)
        return self._places[ids]


def _next_level(level: int, spent_ns: int, events: int) -> int:
    """What keys are to leave out, by what the last second has cost."""
    if not events:  # not known yet: a batch may hold several seconds
        return level
    if events < MOST_OF_LITTLE:
        return max(0, level - 1)
    if spent_ns > DEAR_NS * events:
        return min(level + 1, MOST_LEFT_OUT)
    return max(0, level - 1) if spent_ns < CHEAP_NS * events else level


def _stack_rows(keys: npt.NDArray[np.void], stacks: StackTable) -> npt.NDArray[np.int32]:
    columns = [stacks.rows(np.ascontiguousarray(keys[name])) for name in STACK_FIELDS]
    return np.stack(columns, axis=1)


@dataclass(frozen=True, slots=True)
class LiveTotals:
    """The model as it was at one moment, as far as names go; sums are those of the question."""

    model: LiveModel
    stacks: StackTable
    names: Names
    began: int
    now: int

    def slice(
        self, kinds: Sequence[Kind], begin: int, end: int, *, stacks: bool = True
    ) -> Slice | None:
        """See `totals.Totals`; the cells have their stacks in any case."""
        return self.model.slice(kinds, begin, end, self.stacks)

    def of_instance(self, kinds: Sequence[Kind], one: Instance) -> Slice | None:
        """See `totals.Totals`."""
        return None

    def spans(self, begin: int, end: int, *, children: bool = False) -> SpanSlice | None:
        """See `totals.Totals`."""
        return self.model.spans(begin, end, children=children)

    def stack_rows(self, ids: npt.NDArray[np.uint64]) -> npt.NDArray[np.int32]:
        """See `totals.Totals`."""
        return self.stacks.rows(ids)


@dataclass(frozen=True, slots=True)
class LiveSlice:
    """See `totals.Slice`."""

    model: LiveModel
    cells: Cells
    begin: int
    end: int
    ids: Ids
    generation: int

    def past(self, chosen: npt.NDArray[np.intp]) -> Past:
        """See `totals.Slice`."""
        return self.model.past(self.ids[chosen], self.generation, self.begin, self.end)


def _alive(row: ProcessRow | None) -> bool:
    return row is None or row.end is None


def _texts(column: pa.Array, places: npt.NDArray[np.intp]) -> list[str | None]:
    if pa.types.is_dictionary(column.type):
        texts: list[str | None] = [*column.dictionary.to_pylist(), None]
        codes = column.indices.fill_null(-1).to_numpy(zero_copy_only=False)[places]
        return [texts[code] for code in codes.tolist()]
    found: list[str | None] = column.take(pa.array(places)).to_pylist()
    return found


def _place(frame: Frame) -> Place:
    return Place(
        valid(frame.name),
        valid(frame.module or ""),
        valid(frame.file or ""),
        frame.line or 0,
        frame.inlined,
    )


def _share(counts: Ints, good: npt.NDArray[np.bool_], whole: npt.NDArray[np.bool_]) -> float | None:
    total = int(counts[whole].sum())
    return int(counts[good & whole].sum()) / total if total else None
