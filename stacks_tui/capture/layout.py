"""What the BPF programs must know of the running kernel: struct offsets, and its tracepoints.

Comes in: the kernel's BTF. Goes out: defines for the compiler, and for each program the tracepoints
that it attaches to, or why it can't.
"""

from __future__ import annotations

import platform
from dataclasses import dataclass

from stacks_tui.capture.bpf import uprobe_format
from stacks_tui.capture.btf import KernelTypes
from stacks_tui.errors import MachineError

OFFSETS: tuple[tuple[str, str, tuple[str, ...], bool], ...] = (
    ("TASK_PID", "task_struct", ("pid",), True),
    ("TASK_TGID", "task_struct", ("tgid",), True),
    ("TASK_COMM", "task_struct", ("comm",), True),
    ("TASK_MM", "task_struct", ("mm",), True),
    ("TASK_GROUP_LEADER", "task_struct", ("group_leader",), True),
    ("TASK_START_TIME", "task_struct", ("start_time",), True),
    ("TASK_SELF_EXEC_ID", "task_struct", ("self_exec_id",), True),
    ("TASK_STATE", "task_struct", ("__state", "state"), True),
    ("TASK_SIGNAL", "task_struct", ("signal",), True),
    ("SIGNAL_LIVE", "signal_struct", ("live",), True),
    (
        "TASK_PREEMPT_COUNT",
        "task_struct",
        ("thread_info.preempt_count", "thread_info.preempt.count"),
        False,
    ),
    ("TASK_FSBASE", "task_struct", ("thread.fsbase",), False),
    ("TASK_CFS_RQ", "task_struct", ("se.cfs_rq",), False),
    ("CFS_RQ_RQ", "cfs_rq", ("rq",), False),
    ("MM_RSS_STAT", "mm_struct", ("rss_stat",), True),
    ("MM_START_STACK", "mm_struct", ("start_stack",), True),
    ("MM_START_CODE", "mm_struct", ("start_code",), True),
    ("PERCPU_COUNTER_COUNT", "percpu_counter", ("count",), True),
    ("PERCPU_COUNTER_COUNTERS", "percpu_counter", ("counters",), True),
    ("REQUEST_CMD_FLAGS", "request", ("cmd_flags",), True),
    ("REQUEST_DATA_LEN", "request", ("__data_len",), True),
    ("SOCK_FAMILY", "sock", ("__sk_common.skc_family",), True),
    ("SOCK_PROTOCOL", "sock", ("sk_protocol",), True),
    ("BPF_ARRAY_PPTRS", "bpf_array", ("pptrs",), True),
)
"""(define, struct, paths in order of preference, whether it can't be done without)."""

TRACEPOINTS: dict[str, tuple[tuple[str, str], ...]] = {
    "profile": (),
    "switch": (
        ("sched_switch", "on_switch"),
        ("sched_waking", "on_waking"),
        ("sched_wakeup", "on_wakeup"),
    ),
    "rss": (("rss_stat", "on_rss"),),
    "block": (
        ("block_rq_complete", "on_block_complete"),
        ("block_rq_issue", "on_block_issue"),
        ("block_io_start", "on_block_start"),
    ),
    "vfs": (("sys_enter", "on_sys_enter"), ("sys_exit", "on_sys_exit")),
    "net": (("sock_send_length", "on_send"), ("sock_recv_length", "on_receive")),
    "usdt": (),
}
"""By program of `-p`: (raw tracepoint, BPF function), in the order in which they are attached."""

OPTIONAL = frozenset({"block_io_start"})
"""Tracepoints that a program uses where they are."""

TASK_TRACEPOINTS = (
    ("sched_process_fork", "on_fork"),
    ("sched_process_exec", "on_exec"),
    ("sched_process_exit", "on_exit"),
)

_SINCE = {"net": "6.3"}
_INSTEAD = {"net": "the bytes of read and write calls on sockets are in vfs"}


@dataclass(frozen=True, slots=True)
class KernelLayout:
    """The running kernel, as the programs need it."""

    defines: dict[str, int]
    unavailable: dict[str, str]
    """By program of `-p`: why this kernel can't give it, and what comes nearest."""
    preempt_count: int | None
    """Where the preemption count lies in the per-CPU section; None: in the task, or unknown."""
    run_queues: int | None
    """Where `runqueues` lies in the per-CPU section."""
    absent: frozenset[str]
    """Those of `OPTIONAL` that this kernel has not."""


def read_layout(types: KernelTypes) -> KernelLayout:
    """Look up everything at once.

    Raises:
        MachineError: the kernel lacks what no program can do without.
    """
    defines: dict[str, int] = {"PAGE_BYTES": 4096}
    for define, struct_name, paths, needed in OFFSETS:
        at = types.offset(struct_name, *paths)
        if at is not None:
            defines[define] = at
        elif needed:
            raise MachineError(
                f"this kernel ({platform.release()}) has no {struct_name}.{paths[0]}; "
                "kernels from 5.15 on are supported."
            )
    if "CFS_RQ_RQ" not in defines:
        defines.pop("TASK_CFS_RQ", None)
    if types.raw_tracepoint_arguments("sched_switch") == 4:
        defines["SWITCH_HAS_STATE"] = 1
    counters = types.member("mm_struct", "rss_stat")
    element = types.array_element(counters.type_id) if counters is not None else None
    if element is not None and types.name(element) == "percpu_counter":
        defines["RSS_PER_CPU"] = 1
        defines["RSS_MEMBER_SIZE"] = types.size(element)
    else:
        defines["RSS_MEMBER_SIZE"] = 8
    unavailable: dict[str, str] = {}
    try:
        uprobe_format()
    except MachineError as error:
        unavailable["usdt"] = str(error).rstrip(".")
    for program, tracepoints in TRACEPOINTS.items():
        missing = [
            name
            for name, _ in tracepoints
            if name not in OPTIONAL and types.raw_tracepoint_arguments(name) is None
        ]
        if missing:
            since = f" (there from Linux {_SINCE[program]} on)" if program in _SINCE else ""
            instead = f"; {_INSTEAD[program]}" if program in _INSTEAD else ""
            unavailable[program] = f"this kernel has no tracepoint {missing[0]}{since}{instead}"
    return KernelLayout(
        defines,
        unavailable,
        types.per_cpu_variable("__preempt_count") or _in_hot(types),
        types.per_cpu_variable("runqueues"),
        frozenset(name for name in OPTIONAL if types.raw_tracepoint_arguments(name) is None),
    )


def _in_hot(types: KernelTypes) -> int | None:
    hot = types.per_cpu_variable("pcpu_hot")
    inside = types.offset("pcpu_hot", "preempt_count")
    return None if hot is None or inside is None else hot + inside
