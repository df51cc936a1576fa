"""Events and stacks with known content for the tests of the live model."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from store_rows import header, me

from stacks_tui.columns import Events
from stacks_tui.enrich.clock import Clock
from stacks_tui.enrich.events import EventBatches
from stacks_tui.enrich.processes import ProcessRow
from stacks_tui.enrich.spans import Spans
from stacks_tui.enrich.tasks import TaskColumns
from stacks_tui.kinds import Kind
from stacks_tui.records import EVENT, EventFlag, StackStatus
from stacks_tui.store.manifest import RecordingStatus
from stacks_tui.store.writer import RecordingWriter, StoreOptions
from stacks_tui.symbols.frames import Frame, ResolvedStack

EPOCH_S = 1_700_000_000
OFFSET = EPOCH_S * 10**9
"""From the clock of the events, which begins at 0, to the Unix epoch."""

FUNCTIONS = ("main", "run", "js::Interpret", "[red]x", "write\x1b", "read", "poll_loop", "メイン")


class ByNumber:
    """Names of processes and threads that follow from their numbers."""

    def columns(self, events: Events) -> TaskColumns:
        def encoded(texts: list[str]) -> pa.DictionaryArray:
            return pa.array(texts, pa.string()).dictionary_encode()

        return TaskColumns(
            encoded([command(one) for one in events["tgid"].tolist()]),
            encoded([thread(one) for one in events["pid"].tolist()]),
            pa.nulls(len(events), pa.binary()).dictionary_encode(),
        )


def command(tgid: int) -> str:
    return f"job{tgid % 3}"


def thread(pid: int) -> str:
    return f"worker {pid % 5}"


def batches() -> EventBatches:
    return EventBatches(ByNumber(), Spans(lambda *span: None), Clock(OFFSET, 0))


def resolved(stack: int, names: tuple[str, ...], *, kernel: bool = False) -> ResolvedStack:
    module = "[kernel]" if kernel else "/usr/bin/job"
    frames = tuple(
        Frame(name, 16 * at, at, module, None, file="job.c", line=at + 1)
        for at, name in enumerate(names)
    )
    return ResolvedStack(stack, frames, stack % 5 != 0, stack % 7 == 0, StackStatus.COMPLETE, 0)


def of_python(stack: ResolvedStack) -> ResolvedStack:
    """The same with two Python frames where the interpreter's loop is in the native stack."""
    leaf, *callers = stack.frames
    mine = [Frame(name, 4096, 2, "[python]", None, f"{name}.py", 7) for name in ("handle", "serve")]
    loop = Frame("_PyEval_EvalFrameDefault", 8192, 5, "/usr/bin/python3", None)
    return replace(stack, frames=(leaf, *mine, *callers), native=(leaf, loop, *callers))


@dataclass(frozen=True)
class Story:
    """A run with everything in it."""

    events: npt.NDArray[np.void]
    stacks: tuple[ResolvedStack, ...]


def story(count: int, seconds: int, seed: int = 1, stacks: int = 40) -> Story:
    """Random events of all kinds over some seconds, in order of time, and their stacks."""
    rng = np.random.default_rng(seed)
    users = [
        resolved(100 + at, tuple(rng.choice(FUNCTIONS, rng.integers(1, 9)).tolist()))
        for at in range(stacks)
    ]
    users[::4] = [of_python(one) for one in users[::4]]
    kernels = [
        resolved(9000 + at, (*names, "entry_SYSCALL_64"), kernel=True)
        for at, names in enumerate(
            (("futex_wait_queue", "do_futex"), ("ep_poll", "do_epoll_wait"), ("pipe_read",), ())
        )
    ]
    events = np.zeros(count, EVENT)
    kinds = [kind for kind in Kind if kind not in (Kind.TRACE_EXIT, Kind.TRACE_CLOSE)]
    events["kind"] = rng.choice(kinds, count)
    events["time"] = np.sort(rng.integers(0, seconds * 10**9, count))
    events["duration"] = rng.integers(0, 10**7, count) >> rng.integers(0, 20, count)
    events["amount"] = rng.integers(0, 10**6, count)
    events["ustack"] = rng.choice([0, *(one.id for one in users)], count)
    events["kstack"] = rng.choice([0, *(one.id for one in kernels)], count)
    events["tgid"] = 1000 + rng.integers(0, 6, count)
    events["pid"] = events["tgid"] * 10 + rng.integers(0, 4, count).astype(np.uint32)
    events["cpu"] = rng.integers(0, 2, count)
    wait, rss = events["kind"] == Kind.WAIT, events["kind"] == Kind.RSS
    off = wait | (events["kind"] == Kind.SWITCH)
    events["amount"][wait] = (events["duration"][wait] * rng.random(int(wait.sum()))).astype("u8")
    events["amount"][events["kind"] == Kind.PROFILE] = 0
    events["word0"][rss] = rng.integers(-(10**6), 10**6, int(rss.sum())).astype(np.int64).view("u8")
    events["word0"][wait] = rng.choice([0, 9000, 9001], int(wait.sum()))
    events["waker"][wait] = rng.choice([0, 10001, 10032], int(wait.sum()))
    events["state"][off] = rng.choice([0, 1, 2], int(off.sum()))
    events["flags"][off] = rng.choice([0, EventFlag.PREEMPTED], int(off.sum()))
    return Story(events, (*users, *kernels))


def write_story(
    path: Path, told: Story, seconds: int, processes: Sequence[ProcessRow] = (), files: int = 7000
) -> Path:
    """A finished recording of a story, of several files."""
    head = replace(header(), begin=OFFSET, clock_offset=OFFSET)
    writer = RecordingWriter.create(path, me(), head, StoreOptions(rows_per_file=files))
    arrow = batches()
    for at in range(0, len(told.events), 1700):
        writer.write_events(arrow.arrow(told.events[at : at + 1700]))
    writer.write_stacks(told.stacks)
    writer.write_processes(processes)
    writer.finish_tables()
    writer.close(RecordingStatus(OFFSET + seconds * 10**9 - 1))
    return path
