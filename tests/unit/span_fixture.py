"""A recording of spans whose answers can be added up by eye. Times in ms after `EPOCH`.

Process 100 (shop): request 1 [100, 600] entered [100, 200] and [500, 600], with db 2 [210, 410] in
it, with db 3 [220, 240] in that; request 4 [1000, 1100] that began before it was listened to; job
5, left at 2050 and never entered again; thread job 6, entered at 3000 and never left.
Process 200 (other): request 1 [100, 1100]. Process 300 (liar): spans that are each other's parents.
Process 400 (locker): first and second wait for each other, left and right only take turns.
Process 500 (rusty): id 1 used three times, [100, 200], [250, 400] and [500, 700].
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from store_rows import EPOCH, Frame, Stack, events, header, me

from stacks_tui.enrich.processes import ProcessRow
from stacks_tui.store.manifest import RecordingStatus
from stacks_tui.store.writer import RecordingWriter

MS = 1_000_000
END_MS = 10_000
END = EPOCH + END_MS * MS

WORK, AWAITS, FUTEX, MAIN, WAKING = 1, 2, 3, 4, 5
STACKS = {
    WORK: ["work", "main"],
    AWAITS: ["first", "Lock.acquire"],
    FUTEX: ["futex_wait", "entry"],
    MAIN: ["lock", "main"],
    WAKING: ["unlock", "main"],
}


@dataclass(frozen=True)
class Span:
    """Whose label rows bear."""

    tgid: int
    number: int
    name: str
    parent: int = 0
    id: int = 0
    pid: int = 0
    amount: int = 0

    def columns(self) -> dict[str, Any]:
        return {
            "tgid": self.tgid,
            "pid": self.pid or self.tgid + 1,
            "command": COMMANDS[self.tgid],
            "span_id": self.number,
            "parent_id": self.parent or None,
            "id": self.id or None,
            "trace_name": self.name,
        }


COMMANDS = {100: "shop", 200: "other", 300: "liar", 400: "locker", 500: "rusty"}
REQUEST = Span(100, 1, "request", id=7001, amount=2)
DB = Span(100, 2, "db", parent=1, id=7001)
INNER = Span(100, 3, "db", parent=2)
LATE = Span(100, 4, "request")
JOB = Span(100, 5, "job")
THREAD = Span(100, 6, "thread job", pid=105)
OTHER = Span(200, 1, "request")
RING_A, RING_B = Span(300, 1, "ring a", parent=2), Span(300, 2, "ring b", parent=1)
POLL = Span(500, 1, "poll")
LOCK_A, LOCK_B, LOCK_C = 0x7F00000A990, 0x7F00000A9F0, 0x7F00000B000
FIRST, SECOND = Span(400, 11, "first"), Span(400, 12, "second")
LEFT, RIGHT = Span(400, 14, "left"), Span(400, 15, "right")

DEADLOCK = (
    "first waits for lock 0x7f00000a9f0 held by second; "
    "second waits for lock 0x7f00000a990 held by first; cycle: first -> second -> first"
)


def write_spans(path: Path, *, told_open: bool = True, cut: bool = False) -> Path:
    """The recording; `told_open`: what is open at the end has its rows; `cut`: no columns of spans
    beyond those that the first version had."""
    writer = RecordingWriter.create(path, me(), header())

    def row(kind: str, at: float, span: Span | None = None, **columns: Any) -> None:
        about = {"amount": 0, "id": None} | (span.columns() if span is not None else {})
        if cut:
            columns = {k: v for k, v in columns.items() if k not in NEW}
        for name in ("duration",):
            columns[name] = round(columns.get(name, 0) * MS)
        writer.write_events(events([round(at * MS)], kind=kind, **(about | columns)))

    def leave(span: Span, begin: float, end: float, **columns: Any) -> None:
        about = {"amount": span.amount, "since_seen": False}
        row("trace_exit", end, span, duration=end - begin, **(about | columns))

    def close(span: Span, begin: float, end: float, busy: float, enters: int, **more: Any) -> None:
        about = {"amount": span.amount, "since_seen": False, "open": False}
        row(
            "trace_close", end, span, duration=end - begin, busy=round(busy * MS), enters=enters,
            **(about | more),
        )  # fmt: skip

    def still_open(span: Span, begin: float, busy: float, enters: int) -> None:
        if told_open:
            close(span, begin, END_MS, busy, enters, open=True)

    def sample(span: Span, *at: float) -> None:
        for one in at:
            row("profile", one, span, duration=10, ustack=WORK)

    # process 100
    sample(REQUEST, 150)
    row(
        "wait", 190, REQUEST, duration=40, amount=10 * MS, state="sleeping", waker=201,
        waker_span=1, kstack=FUTEX, ustack=MAIN, wstack=WAKING, open=False,
    )  # fmt: skip
    leave(REQUEST, 100, 200)
    sample(DB, 215, 255)
    sample(INNER, 230)
    leave(INNER, 220, 240, ustack=MAIN)
    close(INNER, 220, 240, 20, 1)
    leave(DB, 210, 260, ustack=AWAITS)
    close(DB, 210, 410, 50, 1)
    row("blk_write", 450, DB, duration=60, amount=512)  # issued at 390
    for kind, amount in (
        ("vfs_read", 100), ("vfs_write", 50), ("tcp_send", 7), ("tcp_recv", 9), ("udp_send", 1),
        ("blk_read", 4096),
    ):  # fmt: skip
        row(kind, 550, REQUEST, amount=amount, duration=1, ustack=WORK)
    row("rss", 560, REQUEST, amount=1 << 20, delta=8192, ustack=WORK)
    leave(REQUEST, 500, 600)
    close(REQUEST, 100, 600, 200, 2)
    leave(LATE, 1000, 1100, since_seen=True)
    close(LATE, 1000, 1100, 100, 1, since_seen=True)
    leave(JOB, 2000, 2050, ustack=AWAITS)
    still_open(JOB, 2000, 50, 1)
    row(
        "wait", 3400, THREAD, duration=100, state="sleeping", waker=102, waker_span=5,
        kstack=FUTEX, ustack=MAIN, open=False,
    )  # fmt: skip
    row("wait", END_MS, THREAD, duration=6500, open=True, kstack=FUTEX, ustack=MAIN)
    still_open(THREAD, 3000, 7000, 1)
    row("profile", 2100, None, pid=102, thread="waking", duration=10)
    # the others
    sample(OTHER, 500)
    leave(OTHER, 100, 1100)
    close(OTHER, 100, 1100, 1000, 1)
    for ring, end in ((RING_A, 300), (RING_B, 290)):
        sample(ring, 250)
        leave(ring, 200, end)
        close(ring, 200, end, end - 200, 1)
    for begin, end, samples in ((100, 200, [150]), (250, 400, [380]), (500, 700, [650, 660])):
        sample(POLL, *samples)
        leave(POLL, begin, end - 10)
        close(POLL, begin, end, end - 10 - begin, 1)
    row("blk_read", 260, POLL, duration=65, amount=64)  # issued at 195: of the first use
    # locks
    for number, task in ((31, LEFT), (32, RIGHT)):
        held = Span(400, number, "lock.hold", parent=task.number, id=LOCK_C)
        leave(held, 100 * number, 100 * number)
        close(held, 100 * number, 100 * number + 20, 0, 1)
    waited = Span(400, 33, "lock.wait", parent=RIGHT.number, id=LOCK_C)
    leave(waited, 3105, 3106)
    close(waited, 3105, 3120, 1, 1)
    locks = [
        (Span(400, 21, "lock.hold", FIRST.number, LOCK_A), 5000),
        (Span(400, 22, "lock.hold", SECOND.number, LOCK_B), 5000),
        (Span(400, 23, "lock.wait", FIRST.number, LOCK_B), 5100),
        (Span(400, 24, "lock.wait", SECOND.number, LOCK_A), 5200),
        (Span(400, 25, "lock.hold", LEFT.number, LOCK_C), 5000),
        (Span(400, 26, "lock.wait", RIGHT.number, LOCK_C), 5100),
    ]
    tasks = [(task, 4900) for task in (FIRST, SECOND, LEFT, RIGHT)]
    for span, begin in locks + tasks:
        leave(span, begin, begin + 1, ustack=AWAITS)
        still_open(span, begin, 1, 1)
    writer.write_stacks(
        [
            Stack(number, [Frame(name, 0x1000 * number + at) for at, name in enumerate(frames)])
            for number, frames in STACKS.items()
        ]
    )
    writer.write_processes(
        [
            ProcessRow(tgid, EPOCH, None, 1, name, name, f"/bin/{name}", None, "/a", None)
            for tgid, name in COMMANDS.items()
        ]
    )
    writer.close(RecordingStatus(END, {}))
    return path


NEW = ("busy", "enters", "waker_span", "since_seen")
