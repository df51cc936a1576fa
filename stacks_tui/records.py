"""NumPy dtypes of what the BPF programs write; the twin of `bpf/event.h`.

A contract test parses that header and compares names, offsets, sizes and codes with these.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import IntEnum, IntFlag

import numpy as np
import numpy.typing as npt

EVENT = np.dtype(
    [
        ("time", "<u8"),  # end of the event, ns, CLOCK_MONOTONIC
        ("duration", "<u8"),  # ns
        ("amount", "<u8"),  # bytes; wait: ns runnable; by kind
        ("ustack", "<u8"),  # stack ids, 0: none taken
        ("kstack", "<u8"),
        ("span_id", "<u8"),
        ("word0", "<u8"),  # wait: wstack; rss: delta (i64 bytes); trace_close: busy, ns
        ("word1", "<u8"),  # wait: the waker's span
        ("tgid", "<u4"),
        ("pid", "<u4"),
        ("waker", "<u4"),  # wait: pid of the waker, 0: none or an interrupt
        ("state", "<u4"),  # switch, wait: prev_state of the thread that left; trace_close: enters
        ("cpu", "<u2"),
        ("kind", "u1"),
        ("flags", "u1"),  # EventFlag
        ("span_born", "<u4"),  # low half of the time of the span's first enter
    ]
)
"""One event as it lies in the events ring: 88 bytes."""


RECORD = np.dtype([("length", "<u4"), ("page", "<u4"), ("event", EVENT)])
"""An event with the ring's own head before it (96 bytes): as it is copied, all at once."""


class EventFlag(IntFlag):
    """Bits of `flags` in an event."""

    OPEN = 1
    """A wait that had not ended when the recording did."""
    BEGAN_BEFORE = 2
    """The wait or slice began before the program was attached; duration counts from there."""
    USER_TRUNCATED = 4
    KERNEL_TRUNCATED = 8
    PREEMPTED = 16
    """The thread left the CPU while it could still run."""
    SINCE_SEEN = 32
    """trace_*: the span began before it was listened to."""


class RecordCode(IntEnum):
    """Codes in `kind` of records of the events ring that are no events. Values are never reused."""

    SPAN = 64
    """A span is entered for the first time: word0 its id, word1 its parent_id, state the length of
    its name in bytes. The next record is its name."""
    NAME = 65
    """The first 64 bytes are the name of the span told by the record before, NUL padded."""
    UNKNOWN_CLOSE = 66
    """A span is closed that the kernel side doesn't know, or no longer."""
    PROCESS_ENDED = 67
    """A process has ended, or is another program now: what spans it has open, it won't close."""


class SpanCount(IntEnum):
    """What can go wrong with spans, as the kernel side counts it. Values are never reused."""

    UNMATCHED_EXIT = 0
    """Left without having been entered, as far as was seen."""
    OUT_OF_ORDER = 1
    """Left while a span that was entered later was not; no fault of generators."""
    MIGRATED = 2
    """Left on another thread than it was entered on; no fault."""
    TOO_DEEP = 3
    """Entered inside 16 others: events go on to bear the 16th."""
    UNKNOWN_CLOSE = 4
    """Closed without having been entered, as far as was seen."""
    THREADS_FULL = 5
    """Entered on a thread for which there was no room: its events bear no span."""
    BAD_NAME = 6
    """A name or await chain that could not be read."""
    UNNAMED = 7
    """Openings that found no room in the ring; told again when the span is entered again."""
    NO_WORK = 8
    """Stacks and await chains that were not taken: another walk had the CPU's memory for them."""
    NO_ROOM = 9
    """Enters for which the table of open spans had no room: their events bear no span."""
    NO_ID = 10
    """Probes that named no span: its id was 0."""


class StackStatus(IntEnum):
    """What ended the walk of a user stack. Values are never reused."""

    COMPLETE = 0
    """The outermost frame is a start of a thread or program."""
    CUT = 1
    """More frames than the cap: truncated."""
    FAULT = 2
    """User memory could not be read."""
    NO_RULE = 3
    """No usable unwind rule for a frame."""
    FP_END = 4
    """A chain of frame pointers ended before a start."""
    NO_REGS = 5
    """The user registers could not be read."""
    NO_SPACE = 6
    """The process's mappings were not known yet: walked by frame pointers."""


STACK_HEADER = np.dtype(
    [
        ("id", "<u8"),
        ("time", "<u8"),  # ns, CLOCK_MONOTONIC
        ("tgid", "<u4"),
        ("pid", "<u4"),
        ("n_kernel", "<u2"),  # frames that follow: first the kernel's, then the user's, leaf first
        ("n_user", "<u2"),
        ("status", "u1"),  # StackStatus of the user part
        ("flags", "u1"),  # StackFlag
        ("kind", "u1"),  # of the event for which it was first taken
        ("python", "u1"),  # PythonStatus
        ("by_frame_pointer", "<u2"),  # user frames found by frame pointer
        ("n_python", "<u2"),
        ("reserved3", "<u4"),
    ]
)
"""Head of a record in the stacks ring (40 bytes); `n_kernel + n_user` u64 words follow: addresses,
or with `StackFlag.COPY` the kernel's addresses, the user registers and the user stack's memory.
Where `n_python` is not 0, the user frames' stack pointers follow, then that many `PYTHON_PAIR`s."""


class StackFlag(IntFlag):
    """Bits of `flags` in a stack's head."""

    KERNEL_CUT = 1
    """The kernel part has as many frames as the kernel gives at most."""
    COPY = 2
    """The user part is not unwound: registers (struct pt_regs), memory from below rsp on."""
    CODE = 4
    """No stack, but a Python code object that is met for the first time (`PYTHON_CODE`)."""
    AWAITS = 8
    """No addresses, but the text of an await chain: qualname, file, line by tabs, a line each."""


class PythonStatus(IntEnum):
    """What ended the walk of a thread's Python frames. Values are never reused."""

    UNKNOWN = 0
    """No walk: the process is no Python, or not known to be."""
    WHOLE = 1
    """The chain of frames ended."""
    CUT = 2
    """More frames than a stack's record has room for."""
    FAULT = 3
    """User memory could not be read."""
    NO_THREAD = 4
    """A thread that Python does not know."""
    NO_FRAME = 5
    """A thread that runs no Python now."""


class PythonPart(IntEnum):
    """What a stack of a Python process has of Python's own frames. Values are never reused."""

    NONE = 0
    """There are none: the thread runs no Python."""
    WHOLE = 1
    """All stand in their places."""
    PARTIAL = 2
    """There are some that are not known for certain: the stack is native."""


PYTHON_PAIR = np.dtype([("code", "<u8"), ("at", "<u8")])
"""A Python frame: the id of its code object; u32 instruction - code object, then the frame's owner.
`code` 0: a mark, which ends the frames of one evaluation loop; u32 address on the C stack."""

NO_POINTERS: npt.NDArray[np.uint32] = np.zeros(0, np.uint32)
NO_PAIRS: npt.NDArray[np.void] = np.zeros(0, PYTHON_PAIR)
"""Of a stack without Python frames."""

PYTHON_CODE = np.dtype(
    [
        ("address", "<u8"),
        ("type", "<u8"),
        ("minor", "<u8"),
        ("object", "V256"),
        ("qualname", "V192"),
        ("filename", "V256"),
    ]
)
"""The beginnings of a code object and of what it points to; zeros where it couldn't be read. The
location table, a bytes object of up to 4,088 bytes, ends the record."""


@dataclass(frozen=True, slots=True)
class CodeRecord:
    """A Python code object as it was when a stack first had it; its frames name it by `id`."""

    id: int
    time: int
    """ns, CLOCK_MONOTONIC."""
    tgid: int
    address: int
    type: int
    """Address of the type of code objects in that process."""
    minor: int
    """Of the version, 3.x."""
    object: bytes
    qualname: bytes
    """The str object that `object` points to, from its head on; likewise the others."""
    filename: bytes
    linetable: bytes


@dataclass(frozen=True, slots=True)
class AwaitsRecord:
    """The await chain of a task, the first time it was told."""

    id: int
    text: bytes
    """Any bytes; at most 2,048."""


@dataclass(frozen=True, slots=True)
class StackRecord:
    """A stack the first time it was seen, addresses not yet resolved.

    A kernel stack has only `kernel` frames, a user stack only `user` frames, a waker's both
    (the kernel's first). Addresses are as the CPU had them: the first of each part is the next
    instruction itself unless it is a return address; all others are return addresses.
    """

    id: int
    time: int
    """ns, CLOCK_MONOTONIC."""
    tgid: int
    pid: int
    kernel: npt.NDArray[np.uint64]
    user: npt.NDArray[np.uint64]
    status: StackStatus
    flags: StackFlag
    by_frame_pointer: int = 0
    kind: int = 0
    """Code of the kind for which it was first taken."""
    python: PythonStatus = PythonStatus.UNKNOWN
    stack_pointers: npt.NDArray[np.uint32] = field(default_factory=lambda: NO_POINTERS)
    """Low half of each user frame's; empty without Python frames."""
    python_pairs: npt.NDArray[np.void] = field(default_factory=lambda: NO_PAIRS)
    """dtype `PYTHON_PAIR`, leaf first."""
