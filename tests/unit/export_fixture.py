"""A recording whose totals can be added up by eye, and readers of what is made of it."""

from __future__ import annotations

import gzip
from collections import Counter
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from store_rows import EPOCH, Frame, Stack, events, header, me

from stacks_tui.enrich.processes import ProcessRow
from stacks_tui.export.model import Samples
from stacks_tui.export.profile_proto import profile_class
from stacks_tui.export.questions import STACKS, find_question
from stacks_tui.export.samples import load_samples
from stacks_tui.export.selection import Selection
from stacks_tui.export.task import ExportOptions, Task
from stacks_tui.store.manifest import KindCounts, RecordingStatus
from stacks_tui.store.reader import open_recording
from stacks_tui.store.writer import RecordingWriter

MS = 1_000_000
BUILDID = bytes(range(20))
CORE = "[kernel]"
KERNEL = 0xFFFFFFFF81000000
HOSTILE = "</script>\"';alert(1)\n\x1b]8;;x\x07\0 [/] \u202e 100"
END = EPOCH + 10_000 * MS

RECURSIVE, READING, IN_KERNEL, WAKING, ODD = 1, 2, 9, 10, 11


def frame(name: str, address: int, offset: int = 4, module: str = "/bin/job") -> Frame:
    return Frame(name, address, offset, module, BUILDID if module == "/bin/job" else None)


FRAMES = {
    RECURSIVE: [
        frame("leaf", 0x1000),
        frame("rec", 0x2000),
        frame("rec", 0x2000),
        frame("rec", 0x2000),
        frame("main", 0x3000),
    ],
    READING: [frame("read", 0x9000, 16, "/lib/libc.so"), frame("main", 0x3000, 32)],
    IN_KERNEL: [
        frame("vfs_read", KERNEL, 9, "[kernel]"),
        frame("entry", KERNEL + 64, 5, "[kernel]"),
    ],
    WAKING: [
        frame("try_to_wake_up", KERNEL + 256, 1, CORE),
        frame("unlock", 0x4000),
        frame("worker", 0x5000),
    ],
    ODD: [frame(HOSTILE, 0x6000), Frame("[job+0x7777]", 0x7777, 0, "/bin/job", BUILDID)],
}

TOTALS = {
    "cpu": {"count": 6, "cpu": 60 * MS},
    "offcpu": {"count": 4, "offcpu": 1_000 * MS},
    "blocked": {"count": 3, "blocked": 700 * MS},
    "runnable": {"count": 2, "runnable": 300 * MS},
    "wakers": {"count": 2, "blocked": 300 * MS},
    "wait_wakers": {"count": 3, "blocked": 700 * MS},
    "wait_reasons": {"count": 4, "offcpu": 1_000 * MS, "blocked": 700 * MS, "runnable": 300 * MS},
    "rss": {"count": 3, "growth": 8192},
    "block": {"count": 3, "block": 7_000, "read": 3_000, "write": 4_000},
    "block_time": {"count": 3, "block": 60, "read": 20, "write": 40},
    "vfs_read": {"count": 2, "read": 300, "read_time": 14},
    "vfs_write": {"count": 1, "write": 2**40, "write_time": 9},
    "slices": {"count": 2, "slice": 200 * MS},
    "vfs": {"count": 3, "vfs": 2**40 + 300, "vfs_time": 23, "read": 300, "write": 2**40},
    "net": {"count": 4, "net": 65, "sent": 35, "received": 30},
    "tcp": {"count": 3, "tcp": 60, "sent": 30, "received": 30},
    "udp": {"count": 1, "udp": 5, "sent": 5, "received": 0},
    "span_time": {"count": 4, "span": 90 * MS},
    # span 1: left at 3000, entered at 3040; left at 3050, closed at 3100.
    # span 2 of another process: left at 3100, never again. Span 3: left at 3200, never again.
    "span_wait": {"count": 4, "wait": (40 + 50 + 6_900 + 6_800) * MS},
}
"""By query: the sum of each value."""


def write_fixture(path: Path) -> Path:
    """The recording; times in ms after `EPOCH`."""
    writer = RecordingWriter.create(path, me(), header())

    def write(kind: str, at: list[int], **columns: Any) -> None:
        writer.write_events(events([ms * MS for ms in at], kind=kind, **columns))

    write("profile", [100, 200, 300], ustack=RECURSIVE, duration=10 * MS, buildid=BUILDID)
    write("profile", [400], ustack=READING, kstack=IN_KERNEL, duration=10 * MS, thread="reader")
    write("profile", [500], ustack=ODD, duration=10 * MS, command="other", tgid=200, pid=200)
    write("profile", [600], duration=10 * MS)  # no stack was taken
    wait = {"kstack": IN_KERNEL, "ustack": READING}
    write(
        "wait",
        [1000],
        duration=200 * MS,
        amount=0,
        state="sleeping",
        waker=200,
        wstack=WAKING,
        **wait,
    )
    write(
        "wait",
        [1500],
        duration=200 * MS,
        amount=100 * MS,
        state="sleeping",
        waker=200,
        wstack=WAKING,
        **wait,
    )
    write("wait", [1900], duration=200 * MS, amount=200 * MS, state="preempted", ustack=RECURSIVE)
    write("wait", [10_000], duration=400 * MS, amount=0, state="disk", open=True, **wait)
    write("switch", [800, 1300], duration=100 * MS, state="sleeping", **wait)
    write("rss", [2000], ustack=RECURSIVE, amount=1 << 20, delta=16384, duration=0)
    write("rss", [2100], ustack=READING, amount=(1 << 20) - 8192, delta=-8192, duration=0)
    write("rss", [2200], ustack=READING, amount=1 << 20, duration=0)  # first of its memory
    write("blk_read", [2300], duration=20, amount=3_000, kstack=IN_KERNEL)
    write("blk_write", [2400, 2401], duration=20, amount=2_000, kstack=IN_KERNEL)
    write("vfs_read", [2500, 2501], duration=7, amount=150, **wait)
    write("vfs_write", [2600], duration=9, amount=2**40, ustack=READING)
    write("tcp_send", [2700], duration=0, amount=30, **wait)
    write("tcp_recv", [2701, 2702], duration=0, amount=15, **wait)
    write("udp_send", [2800], duration=0, amount=5, **wait)
    span = {"ustack": READING, "trace_name": "load", "parent_id": 0}
    write("trace_exit", [3000], duration=50 * MS, span_id=1, **span)
    write("trace_exit", [3050], duration=10 * MS, span_id=1, **span)
    write("trace_close", [3100], duration=150 * MS, span_id=1, **span)
    write("trace_exit", [3100], duration=10 * MS, span_id=1, tgid=200, command="other", **span)
    write("trace_exit", [3200], duration=20 * MS, span_id=3, **{**span, "trace_name": HOSTILE})
    writer.write_stacks([Stack(number, frames) for number, frames in FRAMES.items()])
    writer.write_processes(
        [
            ProcessRow(100, EPOCH, None, 1, "job", "job -x", "/bin/job", BUILDID, "/a/b", None),
            ProcessRow(200, EPOCH, None, 1, "other", "other", "/bin/other", None, "/ab", None),
        ]
    )
    kinds = {"profile": KindCounts(received=6, lost=3)}
    writer.close(RecordingStatus(END, kinds))
    return path


def samples_of(
    path: Path, *queries: str, options: ExportOptions | None = None, **filters: Any
) -> Samples:
    """What these queries say of a recording."""
    task = Task(options or ExportOptions())
    asked = [find_question(name, STACKS) for name in queries]
    with open_recording(path, me()) as recording:
        return load_samples([recording], asked, Selection(**filters), task)


def totals(samples: Samples) -> dict[str, int]:
    return {kind.name: total for kind, total in samples.totals()}


def names(samples: Samples, index: int) -> list[str]:
    """The names of a sample's frames, leaf first, inlined ones before their function."""
    stack = samples.stacks.stack(int(samples.stack_of[index]))
    return [line.name for location in stack for line in location.lines]


@dataclass(frozen=True)
class Profile:
    """A pprof file, its numbers replaced by what they stand for."""

    message: Any

    def text(self, index: int) -> str:
        return str(self.message.string_table[index])

    def types(self) -> list[tuple[str, str]]:
        return [(self.text(one.type), self.text(one.unit)) for one in self.message.sample_type]

    def stacks(self) -> Counter[tuple[str, ...]]:
        """Leaf first; the sum of the last value."""
        functions = {one.id: self.text(one.name) for one in self.message.function}
        lines = {
            one.id: [functions[line.function_id] for line in one.line]
            for one in self.message.location
        }
        found: Counter[tuple[str, ...]] = Counter()
        for sample in self.message.sample:
            key = tuple(name for at in sample.location_id for name in lines[at])
            found[key] += sample.value[-1]
        return found


def read_profile(path: Path) -> Profile:
    return Profile(profile_class().FromString(gzip.decompress(path.read_bytes())))
