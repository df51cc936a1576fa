// Every map that more than one program uses, the configuration, the scratch memory and the counters.
// SPDX-License-Identifier: GPL-2.0-only OR MIT
#pragma once

enum program {
  PROGRAM_PROFILE = 0,
  PROGRAM_SWITCH = 1,
  PROGRAM_RSS = 2,
  PROGRAM_BLOCK = 3,
  PROGRAM_VFS = 4,
  PROGRAM_NET = 5,
  PROGRAM_USDT = 6,
  PROGRAM_COUNT = 8,
};

// Scratch memory is per CPU and per slot. Programs of different slots may interrupt each other on a
// CPU; the kernel itself keeps a program from interrupting itself.
enum slot {
  SLOT_PROFILE = 0,  // a timer's interrupt, in the middle of anything
  SLOT_SWITCH = 1,   // interrupts off
  SLOT_WAKING = 2,   // also in interrupts
  SLOT_RSS = 3,
  SLOT_BLOCK = 4,  // also in interrupts
  SLOT_VFS = 5,
  SLOT_NET = 6,
  SLOT_USDT = 7,
  SLOT_COUNT = 8,
};

enum target_flag {
  TARGET_ALL = 1,
  TARGET_FOLLOW = 2,
  TARGET_COMMS = 4,
  TARGET_CGROUP = 8,
};

enum want {
  WANT_USER = 1,
  WANT_KERNEL = 2,
  WANT_ACTIVE = 4,  // the program is attached
  WANT_SPANS = 8,   // usdt: there are probes that can tell of spans
};

#define FRAMES 2048  // words in a slot's stack: a power of two, above KERNEL_FRAMES + max_frames
#define KERNEL_FRAMES 127  // kernel.perf_event_max_stack's default
#define WINDOW_BYTES 1024  // of a stack, read at once: a power of two, and a row's words are not farther apart
#define PUBLISHED 128      // a power of two
#define REGISTERS 21       // words of struct pt_regs
#define CODE_BYTES 32
#define COPY_WORDS 5120    // of a copied stack at most

// How a user stack is taken.
enum how {
  BY_TABLE = 0,
  BY_FRAME_POINTER = 1,
  BY_COPY = 2,
};

struct config {
  u32 target_flags;
  u32 own_tgid;  // the recorder itself, never traced
  u64 cgroup_id;
  u32 cgroup_level;
  u32 max_frames;           // of a user stack; the rest is cut, and counted
  u64 preempt_count;        // per-CPU address of the preemption count, 0: unknown
  u32 cpu_count;            // possible CPUs
  u32 unwind;               // 0: frame pointers only
  u64 copy_bytes;           // of copied stacks that may wait for the reader
  u64 want[PROGRAM_COUNT];  // enum want
  u64 number[PROGRAM_COUNT];
  u64 attached[PROGRAM_COUNT];  // when the program was attached, ns, CLOCK_MONOTONIC
};

// Where the tables of a process lie: mappings[chunk].word[first * 4 ..], count of them, sorted.
struct space {
  u32 chunk;
  u16 first, count;
  u32 epoch;  // rises when code at an address was replaced
  u32 reserved;
};

struct row_chunk {
  char raw[16384 * 8];
};
struct mapping_chunk {
  char raw[1024 * 32];
};

// The state of one walk, and then of what is made of it.
struct work {
  u64 ip, sp, bp;
  u64 hash;
  u64 salt;  // of the process and program: the hash began with it
  u64 bad;  // a read of user memory failed
  u64 from;  // address of the window: the part of the user's stack that was read last
  u64 room;  // a word may begin so many bytes behind; -1: nowhere
  u64 start_stack;  // the stack pointer with which the program began
  u32 exact;  // ip is an instruction, not a return address
  u32 walked;  // how many frames there are with the caller of such an innermost frame
  u32 at_leaf;  // an innermost frame without a rule is to be left next
  u32 unsure;  // a caller may be missing, or not
  u32 base;   // frames before the user's (a waker's kernel part)
  u32 n;      // user frames taken
  u32 kernel;  // kernel frames taken
  u32 status;
  u32 by_frame_pointer;
  u32 want;
  u32 slot;
  u32 outer;   // the slot that this one interrupted
  u32 pid;     // whose stack it is
  u32 how;     // enum how
  u32 also;    // a second kind to emit for the same call
  u32 python;    // enum python_status
  u32 n_python;  // pairs of words behind the user frames
  u32 taken;     // usdt: by a program that may have been preempted
  u64 key;     // waking: pid woken; block: the request
  u8 code[CODE_BYTES];  // from the innermost frame's instruction on
  struct space space;
  struct pt_regs regs;
  struct event event;
  struct event wait;
  u64 published[PUBLISHED];  // ids of stacks published lately, by their low bits: asked before `seen`
  char window[WINDOW_BYTES + 8];
  u32 sps[FRAMES];  // stack pointers of the user frames, at the places of those in `frames`
  struct stack_header head;  // the frames must follow at once
  u64 frames[FRAMES + 512];  // stack pointers may be copied to behind the last frame
};

// Where a stack is copied to: struct stack_header, frames of the kernel, registers, memory; and room for a
// page behind. By CPU and slot; sized by the recorder. (Per-CPU memory has no values of this size.)
#define COPY_ROOM (KERNEL_FRAMES + REGISTERS + COPY_WORDS)
struct copy_room {
  struct stack_header head;
  char memory[(COPY_ROOM + 512) * 8];
};
BPF_F_TABLE("array", u32, struct copy_room, copy_rooms, SLOT_COUNT, 0);

// One event each, fixed size. Sized by the recorder.
BPF_RINGBUF_OUTPUT(events, 16);
// A stack the first time it is seen: struct stack_header, then its frames.
BPF_RINGBUF_OUTPUT(stacks, 16);
// Stack ids published; the least recently used give way and are published again.
BPF_F_TABLE("lru_hash", u64, u8, seen, 131072, 0);

BPF_F_TABLE("array", u32, struct config, config, 1, 0);
struct work_room {
  char raw[sizeof(struct work)];  // for every array of words in a value BCC compiles a reader and a writer
};
BPF_F_TABLE("percpu_array", u32, struct work_room, scratch, SLOT_COUNT, 0);
// Bytes of copied stacks put into their ring, and how many of them the reader has dealt with: it writes
// that through its mmap (BPF_F_MMAPABLE, 1024).
struct copies {
  u64 made;
  u64 taken;
};
BPF_F_TABLE("array", u32, struct copies, copies, 1, 1024);
// The slot whose walk is running on this CPU.
BPF_F_TABLE("percpu_array", u32, u32, running, 1, 0);

// What on_cpu_facts finds out about each CPU.
struct cpu_facts {
  u64 offset;  // what turns a per-CPU address of the kernel into this CPU's
  u64 rq;      // the address of this CPU's run queue
};
BPF_F_TABLE("array", u32, struct cpu_facts, cpus, 1024, 0);

// Traced processes by tgid, and names by comm (NUL padded).
BPF_F_TABLE("hash", u32, u8, targets, 65536, 0);
struct comm_key {
  char raw[16];
};
BPF_F_TABLE("hash", struct comm_key, u8, comms, 256, 0);

// Unwind tables: written by user space through their mmaps (BPF_F_MMAPABLE, 1024).
BPF_F_TABLE("array", u32, struct row_chunk, rows, 128, 1024);
BPF_F_TABLE("array", u32, struct mapping_chunk, mappings, 256, 1024);
BPF_F_TABLE("hash", u32, struct space, spaces, 32768, 0);

// Rows found lately, by hash of the process's mappings and the address; a table for each slot. `check` ties
// row and key together, so that a half that another walk wrote is no hit.
#define KNOWN_ROWS 512
struct known_row {
  u64 row, check;
};
struct known_rows {
  char raw[KNOWN_ROWS * 16];
};
BPF_F_TABLE("percpu_array", u32, struct known_rows, known_rows, SLOT_COUNT, 0);

BPF_PROG_ARRAY(sample_programs, 5);  // a program array holds one type of program
BPF_PROG_ARRAY(raw_programs, 5);
BPF_PROG_ARRAY(probe_programs, 5);
enum tail {
  TAIL_UNWIND = 0,
  TAIL_FINISH = 1,
  TAIL_PYTHON = 2,
  TAIL_PYTHON_FRAMES = 3,
  TAIL_PYTHON_CODES = 4,
};

// Counters per kind and CPU.
struct counts {
  u64 happened;  // events that should be stored
  u64 lost;      // of these, not stored: no room in the ring
  u64 below;     // not stored: shorter than asked for
  u64 stacks_lost;  // stacks that found no room in their ring
  u64 kernel_cut;
  u64 user[STACK_STATUS_COUNT];  // user stacks by what ended their walk
};
BPF_F_TABLE("percpu_array", u32, struct counts, counters, KIND_COUNT, 0);
