// Counting, the configuration, and the one door through which an event leaves.
// SPDX-License-Identifier: GPL-2.0-only OR MIT
#pragma once

#define NO_WAKEUP 1     // BPF_RB_NO_WAKEUP: the reader polls
#define FORCE_WAKEUP 2  // BPF_RB_FORCE_WAKEUP

static void *(*current_task)(void) = (void *)158;               // bpf_get_current_task_btf, 5.11
static struct pt_regs *(*task_regs)(void *) = (void *)175;      // bpf_task_pt_regs, 5.15

static __always_inline struct config *get_config(void) {
  u32 zero = 0;
  return config.lookup(&zero);
}

static __always_inline struct counts *get_counts(u32 kind) { return counters.lookup(&kind); }

static __always_inline struct work *get_work(u32 slot) {
  return (struct work *)scratch.lookup(&slot);
}

// Whether a process may have marked spans.
static __always_inline int spans_on(void) {
  struct config *c = get_config();
  return c && (c->want[PROGRAM_USDT] & WANT_SPANS);
}

static __always_inline void emit(struct event *event) {
  struct counts *counts = get_counts(event->kind);
  if (!counts) return;
  counts->happened++;
  if (events.ringbuf_output(event, sizeof(*event), NO_WAKEUP)) counts->lost++;
}

// An event that happened and can't be stored: a map that it needs is full.
static __always_inline void count_lost(u32 kind) {
  struct counts *counts = get_counts(kind);
  if (!counts) return;
  counts->happened++;
  counts->lost++;
}

// Fills what every event has. The task is the current one.
static __always_inline void begin_event(struct event *event, u32 kind, u64 now) {
  u64 id = bpf_get_current_pid_tgid();
  __builtin_memset(event, 0, sizeof(*event));
  event->time = now;
  event->kind = kind;
  event->tgid = id >> 32;
  event->pid = id;
  event->cpu = bpf_get_smp_processor_id();
  struct open_span *span = spans_on() ? innermost(id) : 0;
  if (span) {
    event->span_id = span->span_id;
    event->span_born = span->born;
  }
}

static __always_inline u64 read_u64(u64 at) {
  u64 value = 0;
  bpf_probe_read_kernel(&value, sizeof(value), (void *)at);
  return value;
}

static __always_inline u32 read_u32(u64 at) {
  u32 value = 0;
  bpf_probe_read_kernel(&value, sizeof(value), (void *)at);
  return value;
}

// A field of a kernel object to which the verifier knows the pointer's type, or of one that such a field
// points to: a plain load, 0 where it fails (or the pointer is null). In assembler, lest BCC make a call of it.
static __always_inline u64 load_u64(void *object, u32 offset) {
  u64 value;
  asm volatile("%0 = *(u64 *)(%1 + %2)" : "=r"(value) : "r"(object), "i"(offset));
  return value;
}

static __always_inline u32 load_u32(void *object, u32 offset) {
  u64 value;
  asm volatile("%0 = *(u32 *)(%1 + %2)" : "=r"(value) : "r"(object), "i"(offset));
  return value;
}

static __always_inline u64 cpu_offset(u32 cpu) {
  struct cpu_facts *facts = cpus.lookup(&cpu);
  return facts ? facts->offset : 0;
}

// Whether this code runs in an interrupt (hard, soft or NMI), where the current task is a bystander.
// The preemption count's bits: include/linux/preempt.h. False where its place isn't known.
static __always_inline int in_interrupt(struct config *c) {
#ifdef TASK_PREEMPT_COUNT
  u32 count = load_u32(current_task(), TASK_PREEMPT_COUNT);
#else
  if (!c->preempt_count) return 0;
  u32 count = read_u32(c->preempt_count + cpu_offset(bpf_get_smp_processor_id()));
#endif
  return (count & 0x00ff0100) != 0;
}
