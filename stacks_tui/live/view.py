"""What a screen asks for: which values, of what, over which time, grouped and sorted how.

A `View` is a plain value: it crosses the process border, is compared, and is stored as is.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum

from stacks_tui.python.shown import Shown


class Tab(StrEnum):
    """What is measured."""

    CPU = "cpu"
    """ns on a CPU by samples (`profile`)."""
    SLICES = "slices"
    """ns on a CPU by slices (`switch`)."""
    BLOCKED = "blocked"
    """ns off the CPU and not able to run (`wait`: duration - runnable)."""
    RUNNABLE = "runnable"
    """ns able to run and without a CPU (`wait`: amount)."""
    RSS = "rss"
    """Growth of resident memory, bytes; negative: it shrank."""
    BLOCK = "block"
    """Bytes from and to block devices."""
    VFS = "vfs"
    """Bytes by read and write calls."""
    NET = "net"
    """Bytes by sockets."""
    SPANS = "spans"
    """ns of spans, from enter to exit and to close."""


class Measure(StrEnum):
    """Which number of a tab's events is added up."""

    MAIN = "main"
    """As the tab says."""
    DURATION = "duration"
    """ns that the events took (block, vfs)."""
    COUNT = "count"
    """Events."""


class Group(StrEnum):
    """What a row of the table is."""

    STACK = "stack"
    """A whole call path (equal names and modules): kernel part, then user part, leaf first."""
    LEAF = "leaf"
    """A function: `own` where it is the leaf, `total` wherever it is in the stack."""
    MODULE = "module"
    """A file or `[kernel]`: `own` where it has the leaf, `total` where any frame is of it."""
    PROCESS = "process"
    THREAD = "thread"
    CGROUP = "cgroup"
    WAKER = "waker"
    """The thread that woke, and its stack (waits)."""
    REASON = "reason"
    """Why the thread waited (`reasons`)."""
    SPAN = "span"
    """The name of the span that was active."""


class Panel(StrEnum):
    """Which rows are asked for."""

    TABLE = "table"
    TREE = "tree"
    """Nodes by `View.inverted`; the same nodes as the flame graph's."""
    FLAME = "flame"
    PROCESSES = "processes"
    HISTOGRAM = "histogram"
    TIMELINE = "timeline"
    LEDGER = "ledger"
    """What spans cost: a row per name, or with `View.instances` per instance."""
    NOTHING = "nothing"
    """No rows: only the header, the kinds and the trust figures."""


class StackPart(StrEnum):
    """Which part of stacks counts."""

    BOTH = "both"
    USER = "user"
    KERNEL = "kernel"


@dataclass(frozen=True, slots=True)
class Window:
    """A span of time. Which one it really came to be is in the snapshot (`begin`, `end`)."""

    last_s: int = 10
    """Seconds up to now; 0: all. Ignored where `end` is set."""
    begin: int = 0
    """ns since the Unix epoch, of a brushed span."""
    end: int = 0
    """Exclusive; 0: no brushed span. A live window goes by whole seconds, further back than a
    minute by tens of seconds, further back than ten minutes it is refused (`Snapshot.note`)."""


LAST_10_S = Window(10)
LAST_MINUTE = Window(60)
LAST_10_MINUTES = Window(600)
ALL = Window(0)


@dataclass(frozen=True, slots=True)
class Side:
    """One side of a comparison: the window, and what else differs from the view."""

    window: Window = LAST_10_S
    tgid: int = 0
    """0: as the view."""
    pid: int = 0
    """A thread; 0: as the view."""
    span: str | None = None
    """Name of a span; None: as the view."""
    recording: str = ""
    """Folder of another recording; only for reopened ones. Empty: the same."""


@dataclass(frozen=True, slots=True)
class Instance:
    """One span of a process: the use of its id that began then."""

    tgid: int
    span_id: int
    begin: int
    """First entering, ns since the Unix epoch."""
    until: int = 0
    """Closed; 0: open."""
    name: str = ""
    """Of the span, for people."""


@dataclass(frozen=True, slots=True)
class View:
    """One question of a screen."""

    tab: Tab = Tab.CPU
    measure: Measure = Measure.MAIN
    panel: Panel = Panel.TABLE
    group: Group = Group.STACK
    window: Window = LAST_10_S
    kinds: tuple[str, ...] = ()
    """Labels of the tab's kinds that count (`vfs_read`); empty: all of the tab."""
    stack_part: StackPart = StackPart.BOTH
    shown: Shown = Shown.MERGED
    """Which frames of Python programs."""
    filter: str = ""
    """Terms that must all hold (`live.filters`): `text`, `!text`, `/regex/`, `!/regex/`, with
    `frame:`, `module:`, `process:`, `thread:`, `span:`, `reason:` or `cgroup:` before it to look
    there only, with `=` in place of the colon to be all of it."""
    tgid: int = 0
    """Only this process; 0: all."""
    pid: int = 0
    """Only this thread; 0: all."""
    sort: str = "own"
    """A name of a number of the rows asked for: `own`, `total`, `count`, `duration_ns`, `amount`,
    `label`, `change` (of a comparison); processes, ledger: a field of `ProcessRow`, `SpanRow` or
    `InstanceRow`."""
    reverse: bool = False
    """Smallest first."""
    minimum_share: float = 0.0
    """Rows and nodes below this share (0 to 1) of the total are left out, and summed as `rest`."""
    top: int = 200
    """Rows at most; nodes at most 20 times as many."""
    names: int = 24
    """Frames at most in a row's `names`."""
    inverted: bool = False
    """Tree, flame: False: from the outermost frame to the leaf; True: from the leaf to callers."""
    zoom: tuple[str, ...] = ()
    """Tree, flame: `key`s of the frames from the root on: only what is below."""
    by_thread: bool = False
    """Processes: a row per thread."""
    instances: bool = False
    """Ledger: a row per instance: those that are open, and the longest that were closed."""
    instance: Instance | None = None
    """Only the events of this span, of its whole life whatever the window. A running session reads
    them from what it has written, so the newest second may be lacking."""
    children: bool = False
    """Ledger by name: costs with those of all spans that lie in the name's; else its own."""
    selected: str = ""
    """`key` of the row whose `Detail` is wanted; empty: none."""
    a: Side | None = None
    b: Side | None = None
    """Both set: a comparison (table, tree, flame): `own`, `total` … are A's, `b_own` … B's."""

    @property
    def narrows(self) -> bool:
        """Not everything that happens passes."""
        return bool(self.filter.strip() or self.tgid or self.pid)

    @property
    def compares(self) -> bool:
        """Two sides are asked for."""
        return self.a is not None and self.b is not None
