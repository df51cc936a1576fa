"""What of a stack says nothing: the kernel's way into a wait, and into a system call. Pure.

Comes in: frames, leaf first. Goes out: the same, with the kernel's part as one telling frame where
there is little room. Whole stacks are never shortened where there is room for them.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from stacks_tui.live.snapshot import FrameInfo

SILENT = frozenset(
    {
        "__schedule", "schedule", "schedule_timeout", "schedule_hrtimeout_range", "io_schedule",
        "io_schedule_timeout", "schedule_preempt_disabled", "preempt_schedule",
        "preempt_schedule_common", "preempt_schedule_irq", "schedule_hrtimeout_range_clock",
        "__cond_resched", "try_to_wake_up", "wake_up_q", "default_wake_function",
        "exit_to_user_mode_loop", "irqentry_exit_to_user_mode", "do_syscall_64",
        "syscall_exit_work", "syscall_trace_enter", "syscall_exit_to_user_mode",
        "syscall_exit_to_user_mode_prepare", "__schedule_loop",
    }
)  # fmt: skip
"""Frames of the kernel that stand in every wait, wake-up or call."""

_ENTRIES = ("entry_SYSCALL", "asm_", "ret_from_fork", "entry_INT80")


def boundary(names: Sequence[str]) -> int:
    """How many frames of the leaf's end are the kernel's: up to its entry; 0: no entry is there."""
    for at, name in enumerate(names):
        if name.startswith(_ENTRIES):
            return at + 1
    return 0


def telling(names: Sequence[str]) -> str:
    """The frame of the kernel's part that says what it does; empty: none does."""
    for name in names:
        if name.startswith("asm_"):
            return "interrupt"
        if name not in SILENT and not name.startswith(("bpf_", *_ENTRIES)):
            return name
    return ""


def condensed(frames: Sequence[FrameInfo], room: int) -> list[FrameInfo]:
    """The frames; if they need more lines than there are, the kernel's part as one."""
    kernel = [frame for frame in frames if frame.kernel]
    user = [frame for frame in frames if not frame.kernel]
    if len(frames) <= room or len(kernel) < 3 or not user:
        return list(frames)
    name = telling([frame.name for frame in kernel]) or kernel[0].name
    return [replace(kernel[0], name=f"{name}  (and {len(kernel) - 1} more of the kernel)"), *user]
