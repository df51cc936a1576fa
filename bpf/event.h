// What the kernel side and the user side agree on; types and codes only. Twin of stacks_tui/records.py
// and stacks_tui/kinds.py (a contract test compares them). Values are never reused.
#pragma once

enum kind {
  KIND_PROFILE = 1,
  KIND_SWITCH = 2,
  KIND_WAIT = 3,
  KIND_RSS = 4,
  KIND_BLK_READ = 5,
  KIND_BLK_WRITE = 6,
  KIND_VFS_READ = 7,
  KIND_VFS_WRITE = 8,
  KIND_TCP_SEND = 9,
  KIND_TCP_RECV = 10,
  KIND_UDP_SEND = 11,
  KIND_UDP_RECV = 12,
  KIND_TRACE_EXIT = 13,
  KIND_TRACE_CLOSE = 14,
  KIND_COUNT = 15,
};

enum event_flag {
  EVENT_OPEN = 1,
  EVENT_BEGAN_BEFORE = 2,
  EVENT_USER_TRUNCATED = 4,
  EVENT_KERNEL_TRUNCATED = 8,
  EVENT_PREEMPTED = 16,
  EVENT_SINCE_SEEN = 32,
};

// Records of the events ring that are no events; beside enum kind. A span when it is first entered: its
// name follows in the first 64 bytes of a second one, in the same reservation.
enum record {
  RECORD_SPAN = 64,
  RECORD_NAME = 65,
  RECORD_UNKNOWN_CLOSE = 66,
  RECORD_PROCESS_ENDED = 67,
};

// What can go wrong with spans.
enum span_count {
  SPAN_UNMATCHED_EXIT = 0,
  SPAN_OUT_OF_ORDER = 1,
  SPAN_MIGRATED = 2,
  SPAN_TOO_DEEP = 3,
  SPAN_UNKNOWN_CLOSE = 4,
  SPAN_THREADS_FULL = 5,
  SPAN_BAD_NAME = 6,
  SPAN_UNNAMED = 7,
  SPAN_NO_WORK = 8,
  SPAN_NO_ROOM = 9,
  SPAN_NO_ID = 10,
  SPAN_COUNTS = 11,
};

// What ended the walk of a user stack.
enum stack_status {
  STACK_COMPLETE = 0,
  STACK_CUT = 1,
  STACK_FAULT = 2,
  STACK_NO_RULE = 3,
  STACK_FP_END = 4,
  STACK_NO_REGS = 5,
  STACK_NO_SPACE = 6,
  STACK_STATUS_COUNT = 7,
};

enum stack_flag {
  STACK_KERNEL_CUT = 1,
  STACK_COPY = 2,
  STACK_CODE = 4,
  STACK_AWAITS = 8,
};

// What ended the walk of a thread's Python frames.
enum python_status {
  PYTHON_UNKNOWN = 0,
  PYTHON_WHOLE = 1,
  PYTHON_CUT = 2,
  PYTHON_FAULT = 3,
  PYTHON_NO_THREAD = 4,
  PYTHON_NO_FRAME = 5,
};

struct event {
  u64 time;      // end of the event, ns, CLOCK_MONOTONIC
  u64 duration;  // ns
  u64 amount;    // by kind
  u64 ustack;    // stack ids, 0: none taken
  u64 kstack;
  u64 span_id;
  u64 word0;     // wait: wstack; rss: delta; trace_close: busy, ns
  u64 word1;     // wait: the waker's span
  u32 tgid;
  u32 pid;
  u32 waker;
  u32 state;     // switch, wait: why it left; trace_close: enters
  u16 cpu;
  u8 kind;
  u8 flags;
  u32 span_born;  // low half of the time of the span's first enter: tells two spans of one id apart
};

// Head of a record in the stacks ring; n_kernel + n_user u64 addresses follow. With STACK_COPY the user
// part is no list of addresses but the user registers (struct pt_regs) and then memory from 128 bytes
// below rsp on. Where n_python is not 0, the low halves of the user frames' stack pointers follow (u32
// each, and one of padding if they are odd), then n_python pairs of words (bpf/python.h). With STACK_CODE
// it is no stack but a Python code object: n_user words as in struct python_code. With STACK_AWAITS
// n_kernel words of text follow: the await chain of a task.
struct stack_header {
  u64 id;
  u64 time;
  u32 tgid;
  u32 pid;
  u16 n_kernel;
  u16 n_user;
  u8 status;
  u8 flags;
  u8 kind;       // of the event it was first taken for
  u8 python;     // enum python_status
  u16 by_frame_pointer;
  u16 n_python;
  u32 reserved3;
};
