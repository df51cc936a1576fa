"""The messages of Perfetto's trace (package perfetto.protos) that we write by name: what is there
once, such as tracks and names. Events are written by column (`wire`).

Goes out: the class of a trace, and the numbers of an event's fields. (Perfetto,
protos/perfetto/trace: trace_packet, track_event, interned_data, profile_packet.)
"""

from __future__ import annotations

from functools import cache
from typing import Any

_MESSAGES = {
    "Trace": "packet:TracePacket* 1",
    "TracePacket": (
        "clock_snapshot:ClockSnapshot 6, timestamp:uint64 8, trusted_packet_sequence_id:uint32 10, "
        "interned_data:InternedData 12, sequence_flags:uint32 13, "
        "trace_packet_defaults:TracePacketDefaults 59, track_descriptor:TrackDescriptor 60"
    ),
    "ClockSnapshot": "clocks:Clock* 1, primary_trace_clock:uint32 2",
    "Clock": "clock_id:uint32 1, timestamp:uint64 2",
    "TracePacketDefaults": (
        "perf_sample_defaults:PerfSampleDefaults 12, timestamp_clock_id:uint32 58"
    ),
    "PerfSampleDefaults": "timebase:Timebase 1",
    "Timebase": "period:uint64 1, counter:uint32 4, name:string 10",
    "TrackDescriptor": (
        "uuid:uint64 1, name:string 2, process:ProcessDescriptor 3, thread:ThreadDescriptor 4, "
        "parent_uuid:uint64 5, counter:CounterDescriptor 8"
    ),
    "ProcessDescriptor": "pid:int32 1, cmdline:string* 2, process_name:string 6",
    "ThreadDescriptor": "pid:int32 1, tid:int64 2, thread_name:string 5",
    "CounterDescriptor": "unit:uint32 3, unit_name:string 6",
    "InternedData": (
        "event_categories:Name* 1, event_names:Name* 2, debug_annotation_names:Name* 3, "
        "function_names:Text* 5, frames:Frame* 6, callstacks:Callstack* 7, build_ids:Text* 16, "
        "mapping_paths:Text* 17, source_paths:Text* 18, mappings:Mapping* 19, "
        "debug_annotation_string_values:Text* 29"
    ),
    "Name": "iid:uint64 1, name:string 2",
    "Text": "iid:uint64 1, str:bytes 2",
    "Mapping": (
        "iid:uint64 1, build_id:uint64 2, start_offset:uint64 3, start:uint64 4, end:uint64 5, "
        "load_bias:uint64 6, path_string_ids:uint64* 7, exact_offset:uint64 8"
    ),
    "Frame": (
        "iid:uint64 1, function_name_id:uint64 2, mapping_id:uint64 3, rel_pc:uint64 4, "
        "source_path_iid:uint64 5, line_number:uint32 6"
    ),
    "Callstack": "iid:uint64 1, frame_ids:uint64* 2",
}
"""Each message's fields: name, type (`*`: repeated), number."""

PACKET = 1
"""Of a trace."""
TIMESTAMP, SEQUENCE, TRACK_EVENT, FLAGS, PERF_SAMPLE = 8, 10, 11, 13, 66
"""Of a packet."""
CATEGORY, ANNOTATION, TYPE, NAME, TRACK, COUNTER_VALUE = 3, 4, 9, 10, 11, 30
FLOW, FLOW_END, CALLSTACK = 47, 48, 56
"""Of a track event."""
SLICE_BEGIN, SLICE_END, INSTANT, COUNTER = 1, 2, 3, 4
"""Types of it."""
ANNOTATION_NAME, ANNOTATION_INT, ANNOTATION_TEXT = 1, 4, 17
"""Of a debug annotation."""
SAMPLE_CPU, SAMPLE_PID, SAMPLE_TID, SAMPLE_CALLSTACK, SAMPLE_MODE = 1, 2, 3, 4, 5
"""Of a sample."""
MODE_KERNEL, MODE_USER = 1, 2
BEGINS_ANEW, NEEDS_STATE = 1, 2
"""Flags of a packet."""
REALTIME, BOOTTIME = 1, 6
"""Clocks."""
UNITS = {"ns": 1, "count": 2, "bytes": 3}
"""Of a counter."""


@cache
def trace_class() -> Any:
    """The class of `Trace` messages; the others are reached through its fields."""
    from stacks_tui.export.proto import message_class

    return message_class("perfetto.protos", _MESSAGES, "Trace", "proto2")
