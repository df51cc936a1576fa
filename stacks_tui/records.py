"""NumPy dtypes of what the BPF programs write; the twin of `bpf/event.h`.

A contract test parses that header and compares names, offsets, sizes and codes with these.
"""

from __future__ import annotations

from dataclasses import dataclass
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
        ("word0", "<u8"),  # wait: wstack; rss: delta (i64 bytes); trace_*: id
        ("word1", "<u8"),  # trace_*: parent_id
        ("tgid", "<u4"),
        ("pid", "<u4"),
        ("waker", "<u4"),  # wait: pid of the waker, 0: none or an interrupt
        ("state", "<u4"),  # switch, wait: prev_state bits of the thread that left
        ("cpu", "<u2"),
        ("kind", "u1"),
        ("flags", "u1"),  # EventFlag
        ("reserved", "<u4"),
    ]
)
"""One event as it lies in the events ring: 88 bytes."""


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
        ("reserved", "u1"),
        ("by_frame_pointer", "<u2"),  # user frames found by frame pointer
        ("reserved2", "<u2"),
        ("reserved3", "<u4"),
    ]
)
"""Head of a record in the stacks ring (40 bytes); `n_kernel + n_user` u64 words follow: addresses,
or with `StackFlag.COPY` the kernel's addresses, the user registers and the user stack's memory."""


class StackFlag(IntFlag):
    """Bits of `flags` in a stack's head."""

    KERNEL_CUT = 1
    """The kernel part has as many frames as the kernel gives at most."""
    COPY = 2
    """The user part is not unwound: registers (struct pt_regs) and memory from rsp on."""


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
