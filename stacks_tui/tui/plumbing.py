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
        "syscall_exit_to_user_mode_prepare", "__schedule_loop", "autoremove_wake_function",
        "__wake_up", "__wake_up_common", "__wake_up_common_lock", "__wake_up_sync_key",
        "wake_up_process", "wake_up_state", "woken_wake_function", "pollwake",
    }
)  # fmt: skip
"""Frames of the kernel that stand in every wait, wake-up or call."""

QUIET = frozenset(
    {
        "__lll_lock_wait", "__lll_lock_wait_private", "__lll_lock_wake", "__lll_lock_wake_private",
        "lll_mutex_lock_optimized", "futex_wait", "__futex_abstimed_wait_common",
        "__futex_abstimed_wait_common64", "__futex_abstimed_wait_cancelable64",
        "__futex_lock_pi64", "__internal_syscall_cancel", "__syscall_cancel",
        "__syscall_cancel_arch", "__syscall_cancel_arch_end", "syscall_cancel",
        "__pthread_mutex_unlock_usercnt", "__GI___pthread_mutex_unlock_usercnt",
        "__pthread_cond_wait_common", "pthread_cond_wait_common",
    }
)  # fmt: skip
"""Functions of libc between the call that a program makes (`pthread_mutex_lock`) and the kernel."""

_RUNTIMES = (
    # the Java VM, CPython, node and V8, Go, Rust, C++, Perl
    "os::", "ObjectMonitor::", "ObjectSynchronizer::", "SharedRuntime::", "_complete_monitor",
    "Interpreter", "StubRoutines", "JavaCalls::", "JavaThread::", "Parker::", "PlatformEvent::",
    "Runtime1::", "monitorenter", "monitorexit", "thread_entry", "ParkEvent::",
    "Unsafe_", "JVM_", "Monitor::", "PyThread_", "take_gil", "drop_gil", "acquire_timed", "lock_",
    "_PyMutex", "_PySemaphore", "_PyParkingLot", "_PyEval", "PyEval_", "_PyObject_", "PyObject_",
    "PyIter_", "PyFile_", "_io_", "_Py_write", "cfunction_", "method_vectorcall", "uv_", "uv__",
    "node::", "v8::", "Builtins_", "runtime.", "syscall.", "internal/poll.", "std::", "core::",
    "parking_lot", "__gthread", "Perl_", "PerlIO", "perl_run", "pysqlite_",
    "_pysqlite_",
)  # fmt: skip
"""How functions of languages' own runtimes begin, which stand between a call and who made it."""

_ENTRIES = ("entry_SYSCALL", "asm_", "ret_from_fork", "entry_INT80")

_TRACING = ("bpf_", "__bpf_", "__traceiter_", *_ENTRIES)


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
        if name.partition(".")[0] not in SILENT and not name.startswith(_TRACING):
            return name
    return ""


def speaking(names: Sequence[str]) -> Sequence[str]:
    """Of a user's frames those from the call on that the program made."""
    at = 0
    while at + 1 < len(names) and names[at].partition("@")[0].removeprefix("__GI_") in QUIET:
        at += 1
    return names[at:]


def telling_callers(names: Sequence[str]) -> Sequence[str]:
    """The call that was made, then who made it: what of a runtime, or without a name, lies between
    is `…`. Where all is such, all of it."""
    for at, name in enumerate(names[1:], 1):
        if not name.startswith(_RUNTIMES) and not (name.startswith("[") and "0x" in name):
            return names if at < 3 else [names[0], "…", *names[at:]]
    return names


def waking(frames: Sequence[FrameInfo]) -> tuple[str, Sequence[str]]:
    """What woke a thread, from the waker's stack: the kernel's frame that says it, and the
    functions of the program that did. Of an interrupt there are none: it only came upon them."""
    names = [frame.name for frame in frames]
    entered = boundary(names)
    if entered and names[entered - 1].startswith("asm_"):
        found = telling(names)
        return ("an interrupt" if found == "interrupt" else f"an interrupt, {found}"), ()
    how = telling(names[:entered] if entered else names)
    return how, telling_callers(speaking(names[entered:]))


def marked(frames: Sequence[FrameInfo]) -> list[FrameInfo]:
    """The waker's frames from the call that woke on, with those of the kernel marked."""
    names = [frame.name for frame in frames]
    entered = boundary(names)
    found = telling(names)
    first = names.index(found) if found in names else 0
    return [replace(frame, kernel=at < entered) for at, frame in enumerate(frames)][first:]


def condensed(frames: Sequence[FrameInfo], room: int) -> list[FrameInfo]:
    """The frames; if they need more lines than there are, the kernel's part as one, and what of
    libc only leads there left out."""
    kernel = [frame for frame in frames if frame.kernel]
    user = [frame for frame in frames if not frame.kernel]
    if len(frames) <= room or len(kernel) < 3 or not user:
        return list(frames)
    name = telling([frame.name for frame in kernel]) or kernel[0].name
    if 1 + len(user) > room:
        user = user[len(user) - len(speaking([frame.name for frame in user])) :]
    return [replace(kernel[0], name=f"{name}  (and {len(kernel) - 1} more of the kernel)"), *user]
