"""What a screen is given: totals, states, trust, and the rows of its view.

Plain frozen values that cross the process border. All strings of the system in them are as they
came (any character): whoever draws them passes them through `text.printable`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from stacks_tui.live.view import View


class Collecting(StrEnum):
    """Whether a program of `-p` collects."""

    ON = "on"
    OFF = "off"
    FAILED = "failed"


@dataclass(frozen=True, slots=True)
class ProgramState:
    """One program of `-p`; all are told, in the order of the screen's keys. Of a reopened
    recording `ON` means that it was recorded."""

    program: str
    state: Collecting
    spec: str
    """As it runs or ran last (`switch:uk:0`), or the default to switch it on with."""
    reason: str = ""
    """Of `FAILED`: why, one line."""
    received: int = 0
    lost: int = 0
    rate: float = 0.0
    """Events per second, the last whole second's."""


@dataclass(frozen=True, slots=True)
class Gauge:
    """A number of the header with its past."""

    name: str
    """`cpu`, `blocked`, `runnable` (1.0: one thread all the time), `rss` (bytes), `read`, `write`
    (of files), `received`, `sent` (bytes per second)."""
    value: float
    """Of the last whole second; `rss`: now. Of a reopened recording: over the window; `rss`: the
    most."""
    past: tuple[float, ...] = ()
    """By second, oldest first, at most 60; a reopened recording's: 60 equal parts of the window."""
    measured: bool = True
    """False: the kind it comes from does not collect; the value is 0."""


@dataclass(frozen=True, slots=True)
class Loss:
    """Events of one kind that were lost."""

    kind: str
    lost: int
    since: int
    """ns since the Unix epoch: when it was first noticed; 0: not known."""
    advice: str = ""
    """What to do, one line."""


@dataclass(frozen=True, slots=True)
class Shares:
    """Of the events with a stack, since the beginning, 0 to 1; None: there is none."""

    truncated: float | None
    unresolved: float | None
    complete: float | None
    """Of those with a user stack."""


@dataclass(frozen=True, slots=True)
class Trust:
    """How far to trust it. Shares: 0 to 1, of events with a stack; None: there is none."""

    lost: int = 0
    losses: tuple[Loss, ...] = ()
    stacks_lost: int = 0
    truncated: float | None = None
    unresolved: float | None = None
    complete: float | None = None
    """Of events with a user stack: it reaches a start of a thread or program."""
    ring: float = 0.0
    """The fuller ring at its fullest since the snapshot before."""
    cpu: float | None = None
    """Of the collector, 1.0: a whole core; None: nothing collects."""
    memory: int = 0
    """Resident bytes of the collector."""


@dataclass(frozen=True, slots=True)
class Row:
    """One row of the table. Numbers in the unit of `Table.unit` where nothing else is said."""

    key: str
    """Names the row in every snapshot of the same group."""
    label: str
    """What the row is, for all groups but `stack` and `waker`; there: the leaf."""
    names: tuple[str, ...] = ()
    """Stack and waker: frames, leaf first, `View.names` of them at most."""
    module: str = ""
    """Of the leaf."""
    own: int = 0
    total: int = 0
    """Leaf and module: wherever it is in a stack. Else as `own`."""
    count: int = 0
    duration_ns: int = 0
    amount: int = 0
    """Bytes; waits: ns runnable."""
    share: float = 0.0
    """`own` (leaf, module: the one sorted by) of the table's `total`; of RSS: of the growth."""
    b_own: int = 0
    b_total: int = 0
    b_count: int = 0
    change: float = 0.0
    """Of a comparison: share of B's total - share of A's."""
    tgid: int = 0
    pid: int = 0


@dataclass(frozen=True, slots=True)
class Table:
    """Rows, sorted as asked."""

    unit: str
    """`ns`, `bytes` or `events`."""
    rows: tuple[Row, ...]
    total: int
    """Of all that passes the filter; rows + rest + other. RSS: what grew - what shrank."""
    rest: int = 0
    """Of rows that are not sent (below the minimum share, or beyond the top)."""
    rest_rows: int = 0
    other: int = 0
    """Of events whose stacks gave way to bounded memory; their kinds and times are kept."""
    b_total: int = 0
    b_rest: int = 0
    b_other: int = 0


@dataclass(frozen=True, slots=True)
class Node:
    """A frame in its place of a tree; a node comes after its parent, siblings heaviest first."""

    parent: int
    """Place in `Graph.nodes`; -1: the root (the first node)."""
    key: str
    """Of the frame, for `View.zoom`; equal frames have equal keys in all places."""
    name: str
    module: str
    own: int
    """What ends here: the leaf (inverted: the outermost frame) or what was left out below."""
    total: int
    count: int = 0
    b_own: int = 0
    b_total: int = 0


@dataclass(frozen=True, slots=True)
class Graph:
    """The nodes of a tree or a flame graph. The root stands for all that passes the filter."""

    unit: str
    nodes: tuple[Node, ...]
    inverted: bool
    cut: int = 0
    """Nodes that were left out: too small or too many. Their values are in their parents."""
    other: int = 0
    """As `Table.other`."""
    b_other: int = 0


@dataclass(frozen=True, slots=True)
class ProcessRow:
    """A process, or with `View.by_thread` a thread, over the window. Rates are sums ÷ `seconds`."""

    tgid: int
    pid: int
    """0: the process."""
    name: str
    """comm."""
    command_line: str = ""
    cgroup: str = ""
    container: str = ""
    parent: int = 0
    threads: int = 0
    """Threads of it that had events."""
    alive: bool = True
    cpu_ns: int = 0
    """Slices, or samples where no slices are recorded."""
    blocked_ns: int = 0
    runnable_ns: int = 0
    rss: int = 0
    """Resident bytes, the newest known; 0: not known. Threads: 0."""
    growth: int = 0
    read: int = 0
    """Bytes by read calls."""
    write: int = 0
    block_read: int = 0
    block_write: int = 0
    received: int = 0
    sent: int = 0
    events: int = 0


@dataclass(frozen=True, slots=True)
class Processes:
    """Rows, sorted as asked."""

    rows: tuple[ProcessRow, ...]
    seconds: float
    """Of the window, to divide by."""
    rest_rows: int = 0


@dataclass(frozen=True, slots=True)
class SpanRow:
    """What the spans of one name cost in the window: their own, or with `View.children` also what
    all spans cost that lie in them. Count, times and busy are always their own."""

    key: str
    name: str
    count: int = 0
    """Closed in the window."""
    open: int = 0
    stuck: int = 0
    """Open, and without a sign of life for a second or more."""
    since_seen: int = 0
    """Of count and open: begun before they were listened to."""
    children: int = 0
    """Other spans in them, closed or open; only with `View.children`."""
    total_ns: int = 0
    """First entering to closing, of those that were closed."""
    busy_ns: int = 0
    """Entered, in the window; of open ones up to now."""
    samples: int = 0
    cpu_ns: int = 0
    """Samples × their period."""
    blocked_ns: int = 0
    runnable_ns: int = 0
    file_bytes: int = 0
    """By read and write calls."""
    block_bytes: int = 0
    socket_bytes: int = 0
    growth: int = 0
    p50_ns: int = 0
    """Of what was closed; quantiles to 3 %, the maximum exact."""
    p90_ns: int = 0
    p99_ns: int = 0
    max_ns: int = 0
    first_bin: int = 0
    bins: tuple[int, ...] = ()
    """Closed ones by powers of two of ns, from 2 to the power of `first_bin` on."""


@dataclass(frozen=True, slots=True)
class InstanceRow:
    """One span, and what it cost over its life: its own, not its children's."""

    key: str
    name: str
    tgid: int
    span_id: int
    parent: str = ""
    """Name of the span that it lies in."""
    id: int = 0
    begin: int = 0
    """First entering, ns since the Unix epoch."""
    open: bool = False
    stuck: bool = False
    since_seen: bool = False
    duration_ns: int = 0
    """First entering to closing, or up to now."""
    quiet_ns: int = 0
    """Open: since the last sign of life."""
    busy_ns: int = 0
    enters: int = 0
    cpu_ns: int = 0
    blocked_ns: int = 0
    runnable_ns: int = 0
    file_bytes: int = 0
    block_bytes: int = 0
    socket_bytes: int = 0
    growth: int = 0


@dataclass(frozen=True, slots=True)
class Ledger:
    """Rows, sorted as asked."""

    rows: tuple[SpanRow, ...] = ()
    instances: tuple[InstanceRow, ...] = ()
    """In place of `rows`, where these are asked for."""
    rest_rows: int = 0
    deadlocks: tuple[str, ...] = ()
    """Spans that wait for locks in a circle, in words; of all spans, whatever the filter."""
    evicted: int = 0
    """Open spans that gave way to bounded memory."""
    astray: int = 0
    """With `View.children`: spans whose costs are in no row, for they nest in too many ways."""

    def row(self, key: object) -> SpanRow | InstanceRow | None:
        """The row with this key."""
        every: tuple[SpanRow | InstanceRow, ...] = (*self.rows, *self.instances)
        return next((one for one in every if one.key == key), None)


@dataclass(frozen=True, slots=True)
class Histogram:
    """Events by powers of two of what the tab measures: ns or bytes."""

    unit: str
    counts: tuple[int, ...]
    """At place i: events of 2^i up to, but without, 2^(i+1); the first also those of 0."""
    other: int = 0
    """Events whose size is no longer known one by one."""
    by: str = ""
    """What is measured: `blocked time`, `time on the CPU`, `bytes read or written` …; empty: this
    tab has nothing that differs (samples)."""


@dataclass(frozen=True, slots=True)
class Strip:
    """One kind of the timeline."""

    kind: str
    unit: str
    values: tuple[int, ...]
    """Sums of what the kind measures, by step."""
    counts: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Timeline:
    """Strips over the whole recording, whatever the window: a span is brushed on them."""

    begin: int
    """ns since the Unix epoch, of the first step."""
    step_s: int
    """Seconds per value."""
    strips: tuple[Strip, ...]
    gaps: tuple[Gap, ...] = ()
    until: int = 0
    """ns: what came later is not in them yet; 0: they have all that is counted."""


@dataclass(frozen=True, slots=True)
class Gap:
    """A time in which a kind did not collect."""

    kind: str
    begin: int
    end: int
    """0: up to now."""


@dataclass(frozen=True, slots=True)
class FrameInfo:
    """A frame of the chosen row."""

    name: str
    module: str = ""
    file: str = ""
    line: int = 0
    """0: not known."""
    inlined: bool = False
    kernel: bool = False


@dataclass(frozen=True, slots=True)
class Detail:
    """The row that `View.selected` names."""

    key: str
    frames: tuple[FrameInfo, ...]
    """Of the row's heaviest stack, leaf first, kernel part first; empty: it has none."""
    stacks: int
    """Call paths that the row is made of."""
    complete: bool | None
    """Of the user part; None: there is none."""
    past: tuple[int, ...] = ()
    """Sums by step over the window (of side A), oldest first: live the newest 60 steps, reopened
    the whole window in at most 60."""
    step_s: int = 1
    waker: tuple[FrameInfo, ...] = ()
    """Of waits: the stack that woke most of it."""
    waker_name: str = ""
    """The thread that did so most, from there; empty: not known."""
    waker_others: int = 0
    """Further threads that did so from there."""
    notes: tuple[str, ...] = ()
    """Of spans: what there is to say in words."""


Panels = Table | Graph | Processes | Ledger | Histogram | Timeline


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Everything a screen shows, at one moment."""

    number: int
    """Rises with every snapshot."""
    view: View
    """What `rows` answers; may be older than what was asked for last."""
    time: int
    """ns since the Unix epoch."""
    began: int
    """Of the recording."""
    begin: int
    """Of the window, ns since the Unix epoch."""
    end: int
    live: bool
    """It is still being recorded, by us."""
    rate: float
    """Events per second: the last whole second's; of a reopened recording over the window."""
    received: int
    processes: int
    """That had events since the recording began; live: of those that still run."""
    threads: int
    programs: tuple[ProgramState, ...]
    gauges: tuple[Gauge, ...]
    trust: Trust
    rows: Panels | None
    detail: Detail | None = None
    bytes_on_disk: int = 0
    note: str = ""
    """Why the rows are not what was asked: a filter that is wrong, a window that is gone."""
