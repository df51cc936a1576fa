"""The words of the screen: names of tabs, groups and windows; values in their units.

Comes in: values of `live`. Goes out: short printable texts.
"""

from __future__ import annotations

from stacks_tui import text
from stacks_tui.live.view import Group, Measure, Panel, StackPart, Tab, View, Window
from stacks_tui.python.shown import Shown

TABS: tuple[tuple[Tab, str, str], ...] = (
    (Tab.CPU, "CPU", "time on a CPU, by samples"),
    (Tab.BLOCKED, "blocked", "time off the CPU, waiting for something"),
    (Tab.RUNNABLE, "runnable", "time ready to run, waiting for a CPU"),
    (Tab.RSS, "RSS", "growth of resident memory"),
    (Tab.BLOCK, "block", "bytes from and to disks"),
    (Tab.VFS, "VFS", "bytes by read and write calls"),
    (Tab.NET, "net", "bytes by sockets"),
    (Tab.SPANS, "spans", "time in spans"),
    (Tab.SLICES, "slices", "time on a CPU, by slices between switches"),
)
"""In the order of the screen: tab, its name, what it measures."""

TAB_NAME = {tab: name for tab, name, _ in TABS}
TAB_ORDER = tuple(tab for tab, _, _ in TABS)

PROGRAM_OF_TAB = {
    Tab.CPU: "profile",
    Tab.BLOCKED: "switch",
    Tab.RUNNABLE: "switch",
    Tab.SLICES: "switch",
    Tab.RSS: "rss",
    Tab.BLOCK: "block",
    Tab.VFS: "vfs",
    Tab.NET: "net",
    Tab.SPANS: "usdt",
}

FIRST_TAB = {program: tab for tab, program in reversed(PROGRAM_OF_TAB.items())}
"""What one looks at when a program of `-p` is switched on."""

KINDS_OF_TAB: dict[Tab, tuple[str, ...]] = {
    Tab.BLOCK: ("blk_read", "blk_write"),
    Tab.VFS: ("vfs_read", "vfs_write"),
    Tab.NET: ("tcp_send", "tcp_recv", "udp_send", "udp_recv"),
    Tab.SPANS: ("trace_exit", "trace_close"),
}
"""Kinds that one may look at alone."""

MEASURES_OF_TAB: dict[Tab, tuple[Measure, ...]] = {
    Tab.BLOCK: (Measure.MAIN, Measure.DURATION, Measure.COUNT),
    Tab.VFS: (Measure.MAIN, Measure.DURATION, Measure.COUNT),
    Tab.RSS: (Measure.MAIN, Measure.COUNT),
}
MEASURE_NAME = {Measure.MAIN: "amount", Measure.DURATION: "time", Measure.COUNT: "count"}

GROUPS: tuple[tuple[Group, str, str], ...] = (
    (Group.STACK, "stack", "whole call paths"),
    (Group.LEAF, "function", "where it happens, and all that leads there"),
    (Group.MODULE, "module", "program, library or kernel"),
    (Group.PROCESS, "process", ""),
    (Group.THREAD, "thread", ""),
    (Group.CGROUP, "cgroup", "service or container"),
    (Group.REASON, "reason", "what a wait was for: lock, disk, pipe, sleep …"),
    (Group.WAKER, "waker", "who ended a wait, and from where"),
    (Group.SPAN, "span", "the span that was active"),
)
GROUP_NAME = {group: name for group, name, _ in GROUPS}

PANELS: tuple[tuple[Panel, str, str], ...] = (
    (Panel.TABLE, "stacks", "the table"),
    (Panel.TREE, "calls", "who calls whom, to expand"),
    (Panel.FLAME, "flame", "the flame graph"),
    (Panel.PROCESSES, "processes", "processes and threads, all kinds beside one another"),
    (Panel.HISTOGRAM, "distribution", "how long or how large the events are"),
    (Panel.LEDGER, "ledger", "what spans cost, by name or one by one"),
    (Panel.TIMELINE, "timeline", "by second and kind; brush a span"),
)
PANEL_NAME = {panel: name for panel, name, _ in PANELS}

WINDOWS: tuple[tuple[str, Window, str], ...] = (
    ("10s", Window(10), "last 10 s"),
    ("1m", Window(60), "last 1 min"),
    ("10m", Window(600), "last 10 min"),
    ("all", Window(0), "all of it"),
)

PART_NAME = {
    StackPart.BOTH: "user and kernel",
    StackPart.USER: "user part",
    StackPart.KERNEL: "kernel part",
}

SHOWN_NAME = {
    Shown.MERGED: "merged",
    Shown.PYTHON: "Python only",
    Shown.NATIVE: "native only",
}

SHORT_PROGRAM = {"profile": "cpu"}
"""Programs that the kinds' line calls otherwise."""


def window_name(window: Window, begin: int = 0, origin: int = 0) -> str:
    """A window as the title says it; a brushed one by its place in the recording."""
    if not window.end:
        known = {one.last_s: name for _, one, name in WINDOWS}
        return known.get(window.last_s, f"last {window.last_s} s")
    start = max(0, window.begin - origin)
    return f"{clock(start)}–{clock(max(0, window.end - origin))}"


def clock(ns: int) -> str:
    """Time since the beginning: `00:01:23`."""
    seconds = ns // 1_000_000_000
    return f"{seconds // 3600:02d}:{seconds // 60 % 60:02d}:{seconds % 60:02d}"


def value(amount: int, unit: str, *, sign: bool = False) -> str:
    """A value in at most 9 cells; `sign` writes a plus before what grew."""
    shown = text.si(amount) if unit == "events" else text.quantity(amount, unit)
    return f"+{shown}" if sign and amount > 0 else shown


def signed(view: View) -> bool:
    """Whether the view's values are changes that may be negative."""
    return view.tab is Tab.RSS and view.measure is Measure.MAIN


def share(part: float) -> str:
    """A share in at most 6 cells: `41 %`, `0.3 %`."""
    percent = abs(part) * 100
    sign = "-" if part < 0 else ""
    if 0 < percent < 0.05:
        return f"{sign}<0.1%"
    return f"{sign}{percent:.1f}%" if percent < 9.95 else f"{sign}{percent:.0f}%"


def change(part: float) -> str:
    """A difference of shares, in points, always with its sign: `+3.2`."""
    return f"{part * 100:+.1f}" if abs(part) >= 0.0005 else ("+0.0" if part > 0 else "0.0")


def rate(bytes_per_second: float) -> str:
    """Bytes per second in few cells: `3.1M/s`."""
    return f"{short_size(round(bytes_per_second))}/s"


def short_size(amount: int) -> str:
    """Bytes in at most 5 cells, binary: `512M`."""
    return text.size(amount).replace("iB", "").replace(" B", "B").replace(" ", "")


def seconds_per_second(part: float) -> str:
    """Threads that wait, on average, as the seconds that they wait each second: `38.2 s/s`."""
    return (
        f"{part:.2f} s/s" if part < 10 else f"{part:.1f} s/s" if part < 100 else f"{part:.0f} s/s"
    )


def module_name(path: str) -> str:
    """The last part of a module's path."""
    return text.printable(path.rpartition("/")[2] or path)
