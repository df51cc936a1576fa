// Which span is open on a thread: kept by the probes (kinds/usdt.bpf.c), read by every event.
// SPDX-License-Identifier: GPL-2.0-only OR MIT
#pragma once

#define SPAN_DEPTH 16  // a power of two

struct open_span {
  u64 span_id;  // 0: a hole, another thread has taken it off
  u64 entered;
  u32 born;  // low half of the time of the span's first enter
  u32 reserved;
};
struct thread_spans {
  u64 depth;
  u64 awaits_of;     // the span whose await chain was told last, 0: none that waits for its exit
  u64 awaits;        // its id among the stacks
  u64 awaits_flags;  // EVENT_USER_TRUNCATED: the chain was cut
  struct open_span open[SPAN_DEPTH];  // outermost first
};
// Spans that are open on each thread, by pid.
BPF_F_TABLE("hash", u32, struct thread_spans, thread_spans, 16384, 0);

// Of a thread in none.
BPF_F_TABLE("array", u32, struct thread_spans, no_spans, 1, 0);

struct span_key {
  u64 span_id;
  u32 tgid;
  u32 image;  // how often the process has exec'd: the next program may use the same ids
};
struct span_state {
  u64 first;   // enter
  u64 busy;    // ns entered, without those that it is in now
  u64 amount;  // as told last
  u64 deep;    // since when it is entered where no stack has room for it, 0: it isn't
  u32 enters;
  u32 inside;  // enters that have no exit yet
  u32 pid;     // which entered it last
  u32 flags;   // EVENT_SINCE_SEEN
  u32 told;    // its opening has found room in the ring
  u32 reserved;
};
// Spans that are not closed. Programs die without closing theirs: the least recently used give way.
BPF_F_TABLE("lru_hash", struct span_key, struct span_state, open_spans, 65536, 0);

// What can go wrong, per CPU: enum span_count.
struct span_counts {
  u64 number[SPAN_COUNTS];
};
BPF_F_TABLE("percpu_array", u32, struct span_counts, span_counters, 1, 0);

static __always_inline void count_span(u32 what) {
  u32 zero = 0;
  struct span_counts *counts = span_counters.lookup(&zero);
  if (counts && what < SPAN_COUNTS) counts->number[what]++;
}

// The innermost open span of a thread; null: none. Whoever takes one off leaves no hole on top.
static __always_inline struct open_span *innermost(u32 pid) {
  struct thread_spans *t = thread_spans.lookup(&pid);
  u64 depth = t ? t->depth : 0;
  if (!depth) return 0;
  return &t->open[(depth - 1) & (SPAN_DEPTH - 1)];
}

// How often the current process has exec'd.
static __always_inline u32 current_image(void) {
  u32 image = 0;
  bpf_probe_read_kernel(&image, sizeof(image), (void *)bpf_get_current_task() + TASK_SELF_EXEC_ID);
  return image;
}

// The current thread ends, or its program does (`image`): what it was in is left.
static __always_inline void leave_spans(u64 id, u64 now, u32 image) {
  u32 pid = id;
  struct thread_spans *t = thread_spans.lookup(&pid);
  if (!t) return;
  struct span_key key = {};
  key.tgid = id >> 32;
  key.image = image;
#pragma clang loop unroll(disable)
  for (u32 i = 0; i < SPAN_DEPTH; i++) {
    if (i >= t->depth) break;
    struct open_span *one = &t->open[i & (SPAN_DEPTH - 1)];
    key.span_id = one->span_id;
    struct span_state *s = open_spans.lookup(&key);
    if (!s) continue;
    __sync_fetch_and_add(&s->busy, now - one->entered);
    __sync_fetch_and_add(&s->inside, -1);
  }
  thread_spans.delete(&pid);
}
