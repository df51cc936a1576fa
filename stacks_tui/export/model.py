"""What a format's writer is given: samples with stacks, events of a trace, or plain rows.

Comes in: results of queries (see `samples`, `timeline`). Goes out: arrays that say the same to
every format, so that all of them show the same totals. Stacks are leaf first: the kernel's frames,
then the user's; recursion is kept, and so is every frame that no symbol names.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pyarrow as pa

KERNEL_BEGIN = 1 << 63
"""First address of the kernel's half."""


@dataclass(frozen=True, slots=True)
class Line:
    """A function, and where in its source it was."""

    name: str
    """As the recording shows it: demangled, or `[module+0x1234]`. Hostile: escape it."""
    file: str | None = None
    line: int = 0
    """0: unknown."""
    start_line: int = 0
    """Line where the function begins; 0: unknown."""
    linkage_name: str = ""
    """As the linker has it (mangled); empty: unknown."""


@dataclass(frozen=True, slots=True)
class Location:
    """One address of one module. The physical function is the last line; those before it are
    inlined into it, innermost first. There is always one line."""

    lines: tuple[Line, ...]
    address: int
    """Of the instruction, in its ELF file (kernel, JIT: absolute); a caller's: in its call."""
    module: str | None
    """Path of the file, `[kernel]`, `[vdso]`, `[jit]`, …; None: not known."""
    buildid: bytes | None
    function_address: int = 0
    """Where the physical function begins, as `address`."""

    @property
    def kernel(self) -> bool:
        """Whether it is code of the kernel."""
        return self.address >= KERNEL_BEGIN


@dataclass(frozen=True, slots=True)
class Stacks:
    """Distinct stacks, by index. Stack `s` is `places[offsets[s]:offsets[s + 1]]`."""

    locations: tuple[Location, ...]
    """Each once."""
    places: npt.NDArray[np.int32]
    """[sum of depths] indices into `locations`; in each stack leaf first."""
    offsets: npt.NDArray[np.int64]
    """[stacks + 1]"""

    def __len__(self) -> int:
        """Number of stacks."""
        return len(self.offsets) - 1

    def stack(self, index: int) -> tuple[Location, ...]:
        """The locations of one stack, leaf first."""
        part = self.places[self.offsets[index] : self.offsets[index + 1]]
        return tuple(self.locations[at] for at in part.tolist())

    def slices(self) -> Iterator[list[int]]:
        """Each stack in turn as indices into `locations`, leaf first."""
        offsets = self.offsets.tolist()
        chunk = 4096
        for first in range(0, len(self), chunk):
            last = min(first + chunk, len(self))
            base = offsets[first]
            part = self.places[base : offsets[last]].tolist()
            for at in range(first, last):
                yield part[offsets[at] - base : offsets[at + 1] - base]


@dataclass(frozen=True, slots=True)
class ValueType:
    """What a column of values measures."""

    name: str
    """Such as `cpu`, `offcpu`, `count`."""
    unit: str
    """`nanoseconds`, `bytes` or `count`."""


@dataclass(frozen=True, slots=True)
class Label:
    """A column of labels: text, or numbers with a unit."""

    name: str
    values: pa.Array
    """[samples] of string or int64; null: this sample has no such label."""
    unit: str = ""

    @property
    def numeric(self) -> bool:
        """Whether the values are numbers."""
        return bool(pa.types.is_integer(self.values.type))


@dataclass(frozen=True, slots=True)
class Window:
    """The time that was recorded, and selected, ns since the Unix epoch."""

    begin: int
    end: int


@dataclass(frozen=True, slots=True)
class Origin:
    """Where the data come from, for titles and comments."""

    recordings: tuple[str, ...]
    """Their paths."""
    queries: tuple[str, ...]
    """Names of the queries, or of the user's files."""
    questions: tuple[str, ...]
    """What each query answers."""
    selection: str
    """The filters in words, with their times; empty: everything."""
    filters: str
    """The same without the times, which `window` has."""
    window: Window
    period_ns: int = 0
    """Sampling period, where a query shows samples and they have one; 0: none."""
    executable: tuple[str, bytes | None] | None = None
    """Path (or command) and build id of the executable of most events."""
    comments: tuple[str, ...] = ()
    """One line each: tool, host, kernel, targets."""
    trust: tuple[str, ...] = ()
    """One line each: how much was lost, and how many stacks were cut, in the whole recording."""


@dataclass(frozen=True, slots=True)
class Before:
    """What samples are compared with, in columns of the same stacks and labels."""

    values: npt.NDArray[np.int64]
    """[samples, types]"""
    origin: Origin


@dataclass(frozen=True, slots=True)
class Samples:
    """Input of stack formats: values by stack and labels, summed. Written in this order."""

    stacks: Stacks
    stack_of: npt.NDArray[np.int64]
    """[samples] index into `stacks`."""
    types: tuple[ValueType, ...]
    values: npt.NDArray[np.int64]
    """[samples, types]; a change (`growth`) may be negative."""
    labels: tuple[Label, ...]
    main: int
    """Which of `types` is shown at first."""
    origin: Origin
    before: Before | None = None
    """None: they are compared with nothing. Only formats that compare are given any."""

    def __len__(self) -> int:
        """Number of samples."""
        return len(self.stack_of)

    def totals(self) -> tuple[tuple[ValueType, int], ...]:
        """The sum of each value: what every viewer must show."""
        return self._totals(self.values)

    def totals_before(self) -> tuple[tuple[ValueType, int], ...]:
        """The same of what they are compared with; empty: nothing."""
        return () if self.before is None else self._totals(self.before.values)

    def _totals(self, values: npt.NDArray[np.int64]) -> tuple[tuple[ValueType, int], ...]:
        sums = values.sum(axis=0, dtype=np.int64)
        return tuple((kind, int(total)) for kind, total in zip(self.types, sums, strict=True))

    def by_stack(self, value: int | None = None) -> npt.NDArray[np.int64]:
        """[stacks] sum of one value (by index into `types`; None: the main one) over all labels."""
        return self.sums(self.values[:, self.main if value is None else value])

    def sums(self, column: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
        """[stacks] sums of a column [samples]."""
        sums = np.zeros(len(self.stacks), np.int64)
        np.add.at(sums, self.stack_of, column)
        return sums


COMPLETE, COUNTER, INSTANT = 0, 1, 2
"""Codes in `Trace.event`."""


@dataclass(frozen=True, slots=True)
class Trace:
    """Input of trace formats: events in columns of one length, sorted by `start_ns`.

    Times are ns after `zero` (which may lie after an event's start: then negative).
    """

    zero: int
    """ns since the Unix epoch."""
    event: npt.NDArray[np.uint8]
    """`COMPLETE`, `COUNTER` or `INSTANT`."""
    start_ns: npt.NDArray[np.int64]
    """Start of a complete event, time of others."""
    duration_ns: npt.NDArray[np.int64]
    """0 unless complete."""
    pid: npt.NDArray[np.int64]
    """Process (tgid)."""
    tid: npt.NDArray[np.int64]
    """Thread; -1: none, it belongs to the process."""
    cpu: npt.NDArray[np.int32]
    """-1: not known."""
    name: pa.DictionaryArray
    """Text; hostile."""
    kind: pa.DictionaryArray
    """Kind of the event or category; null: none."""
    amount: npt.NDArray[np.int64]
    """Counters: the value. Others: 0 unless the query gives it."""
    stack: npt.NDArray[np.int64]
    """Index into `stacks` at the start; -1: none."""
    end_stack: npt.NDArray[np.int64]
    """The same at the end."""
    flow_out: npt.NDArray[np.int64]
    """An arrow leads from this event's start to the event with the same number in `flow_in`;
    -1: none."""
    flow_in: npt.NDArray[np.int64]
    """The same, where it ends."""
    more: tuple[Label, ...]
    """Further columns of the queries, for the details of an event (`state`, `waker`, `rate` …).
    `unit` is what a counter counts."""
    stacks: Stacks
    processes: dict[int, str]
    """Name of each process (tgid) that the events name."""
    threads: dict[tuple[int, int], str]
    """Name of each (pid, tid)."""
    origin: Origin

    def __len__(self) -> int:
        """Number of events."""
        return len(self.start_ns)

    def detail(self, name: str) -> Label | None:
        """The further column of this name."""
        return next((label for label in self.more if label.name == name), None)

    def flows(self) -> npt.NDArray[np.int64]:
        """[arrows, 2] events (by index) from which and to which arrows lead."""
        there = np.flatnonzero(self.flow_out >= 0)
        there = there[np.argsort(self.flow_out[there], kind="stable")]
        ends = np.flatnonzero(self.flow_in >= 0)
        if not len(there) or not len(ends):
            return np.zeros((0, 2), np.int64)
        numbers = self.flow_out[there]
        at = np.minimum(np.searchsorted(numbers, self.flow_in[ends]), len(numbers) - 1)
        met = numbers[at] == self.flow_in[ends]
        return np.stack([there[at[met]], ends[met]], axis=1)


@dataclass(frozen=True, slots=True)
class Rows:
    """Input of table formats: the rows of one query, or of the selected events, in batches."""

    schema: pa.Schema
    batches: Iterator[pa.RecordBatch]
    rows: int
    """How many there are."""
    origin: Origin
