"""Arrow schemas of a recording: events, stacks and processes. The data contract.

`SCHEMA_VERSION` goes into the manifest and rises with every change that a reader must know of.
"""

from __future__ import annotations

import pyarrow as pa

SCHEMA_VERSION = 2

_NAME = pa.dictionary(pa.int32(), pa.string())

EVENTS = pa.schema(
    [
        pa.field("timestamp", pa.uint64(), False),  # ns since the Unix epoch, end of the event
        pa.field("duration", pa.uint64(), False),  # ns
        pa.field("kind", _NAME, False),
        pa.field("cpu", pa.uint16(), False),
        pa.field("tgid", pa.uint32(), False),
        pa.field("pid", pa.uint32(), False),
        pa.field("command", _NAME),  # comm of the process
        pa.field("thread", _NAME),  # comm of the thread
        pa.field("span_id", pa.uint64()),
        pa.field("parent_id", pa.uint64()),
        pa.field("id", pa.uint64()),
        pa.field("amount", pa.uint64(), False),
        pa.field("trace_name", _NAME),
        pa.field("buildid", pa.dictionary(pa.int32(), pa.binary())),  # of the executable
        pa.field("state", _NAME),  # why the thread left the CPU
        pa.field("delta", pa.int64()),  # rss: bytes
        pa.field("waker", pa.uint32()),
        pa.field("open", pa.bool_()),
        pa.field("ustack", pa.uint64()),
        pa.field("kstack", pa.uint64()),
        pa.field("wstack", pa.uint64()),
        pa.field("busy", pa.uint64()),  # trace_close: ns that the span was entered
        pa.field("enters", pa.uint32()),  # trace_close: how often it was
        pa.field("waker_span", pa.uint64()),  # wait: innermost span of the waker
        pa.field("since_seen", pa.bool_()),  # trace_*: the span began before it was listened to
    ]
)

SINCE_SCHEMA_2 = frozenset({"busy", "enters", "waker_span", "since_seen"})
"""Columns of events that recordings of schema 1 have not: null there."""

FRAME = pa.struct(
    [
        pa.field("name", pa.string(), False),
        pa.field("address", pa.uint64(), False),
        # start of the symbol as an address of its ELF file (kernel: absolute);
        # address + offset is the instruction
        pa.field("offset", pa.uint64(), False),
        pa.field("module", pa.string()),
        pa.field("buildid", pa.binary()),
        pa.field("file", pa.string()),
        pa.field("line", pa.uint32()),
        pa.field("inlined", pa.bool_(), False),
    ]
)

STACKS = pa.schema(
    [
        pa.field("id", pa.uint64(), False),
        pa.field("frames", pa.list_(FRAME), False),  # leaf first
        pa.field("complete", pa.bool_(), False),
        pa.field("truncated", pa.bool_(), False),
        pa.field("status", pa.dictionary(pa.int8(), pa.string()), False),  # StackStatus, lower case
        pa.field("native", pa.list_(FRAME)),
        # where `frames` has Python frames in place of the interpreter's: the stack with those
        pa.field("python", pa.dictionary(pa.int8(), pa.string())),  # PythonPart, lower case
    ]
)

PROCESSES = pa.schema(
    [
        pa.field("tgid", pa.uint32(), False),
        pa.field("start", pa.uint64()),  # ns since the Unix epoch; null: before the recording
        pa.field("end", pa.uint64()),  # null: still running at the end
        pa.field("parent", pa.uint32()),
        pa.field("comm", pa.string()),
        pa.field("cmdline", pa.string()),
        pa.field("exe", pa.string()),
        pa.field("buildid", pa.binary()),
        pa.field("cgroup", pa.string()),
        pa.field("container", pa.string()),
    ]
)
"""One row per process and executable: an exec ends a row and begins another."""
