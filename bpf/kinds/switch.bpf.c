// switch: a thread leaves the CPU. wait: it is back. With who woke it, and from which stack.
//
// current is the thread that leaves. A thread's slice began when its CPU last switched, so nothing is kept
// for a thread on a CPU; while it is off, `threads` keeps the moment it left.
// SPDX-License-Identifier: GPL-2.0-only OR MIT

// What a wait takes over from the switch that began it.
#define KEPT_FLAGS (EVENT_PREEMPTED | EVENT_USER_TRUNCATED | EVENT_KERNEL_TRUNCATED)
#define DEAD_STATES 0xb0  // EXIT_DEAD, EXIT_ZOMBIE, TASK_DEAD

struct thread {
  u64 off;      // when it left the CPU, ns; 0: it is on one
  u64 ustack;   // of that moment
  u64 kstack;
  u64 woken;    // when it was put on a run queue, ns; 0: not yet
  u64 wstack;   // the stack that woke it
  u64 span_id;
  u64 waker_span;  // that the waker was in
  u32 tgid;
  u32 state;
  u32 waker;
  u32 flags;    // KEPT_FLAGS, EVENT_BEGAN_BEFORE
  u32 span_born;
  u32 reserved;
};
// Every traced thread that has left a CPU since the program was attached.
BPF_F_TABLE("hash", u32, struct thread, threads, 65536, 0);
// When each CPU last switched.
BPF_F_TABLE("percpu_array", u32, u64, last_switch, 1, 0);

// The thread leaves the CPU.
static __always_inline void begin_wait(struct thread *t, struct event *e) {
  t->off = e->time;
  t->ustack = e->ustack;
  t->kstack = e->kstack;
  t->woken = 0;
  t->span_id = e->span_id;
  t->span_born = e->span_born;
  t->tgid = e->tgid;
  t->state = e->state;
  t->flags = e->flags & KEPT_FLAGS;
}

// It is back, since `now`.
static __always_inline void end_wait(struct work *w, struct config *c, struct thread *t, u32 pid,
                                     u64 now) {
  struct event *e = &w->wait;
  u64 runnable_since = t->flags & EVENT_PREEMPTED ? t->off : t->woken;
  __builtin_memset(e, 0, sizeof(*e));
  e->time = now;
  e->duration = now - t->off;
  e->kind = KIND_WAIT;
  e->amount = runnable_since >= t->off && runnable_since <= now ? now - runnable_since : 0;
  e->ustack = t->ustack;
  e->kstack = t->kstack;
  e->span_id = t->span_id;
  e->span_born = t->span_born;
  if (!(t->flags & EVENT_PREEMPTED)) {
    e->word0 = t->wstack;
    e->word1 = t->waker_span;
    e->waker = t->waker;
  }
  e->tgid = t->tgid;
  e->pid = pid;
  e->state = t->state;
  e->cpu = bpf_get_smp_processor_id();
  e->flags = t->flags;
  if (e->duration < c->number[PROGRAM_SWITCH]) {
    struct counts *counts = get_counts(KIND_WAIT);
    if (counts) counts->below++;
  } else {
    emit(e);
  }
  t->off = 0;
  t->woken = 0;
  t->waker = 0;
  t->wstack = 0;
  t->waker_span = 0;
}

// args: preempt, prev, next, and from 5.18 on prev_state
int on_switch(struct bpf_raw_tracepoint_args *ctx) {
  struct config *c = get_config();
  u32 zero = 0, next = read_u32(ctx->args[2] + TASK_PID);
  u64 now = bpf_ktime_get_ns();
  u64 *last = last_switch.lookup(&zero);
  struct work *w = get_work(SLOT_SWITCH);
  if (!c || !last || !w) return 0;
  u64 began = *last;
  *last = now;

  struct thread *t = next ? threads.lookup(&next) : 0;
  if (t && t->off) end_wait(w, c, t, next, now);
  if (!traced(c)) return 0;
  enter(w, SLOT_SWITCH);
  begin_event(&w->event, KIND_SWITCH, now);
  u32 state;
#ifdef SWITCH_HAS_STATE
  state = ctx->args[3];
#else
  state = read_u32(ctx->args[1] + TASK_STATE);
#endif
  w->event.state = state;
  if (ctx->args[0] || !state) w->event.flags |= EVENT_PREEMPTED;
  if (!began) {
    began = c->attached[PROGRAM_SWITCH];
    w->event.flags |= EVENT_BEGAN_BEFORE;
  }
  u32 pid = w->event.pid;
  struct thread *self = threads.lookup(&pid);
  if (self && self->off) {
    // The kernel never told that it came back (some switch away from an idle CPU without a word): that was
    // when it was woken, or when this CPU last switched.
    u64 back = self->woken > self->off ? self->woken : began > self->off ? began : self->off;
    end_wait(w, c, self, pid, back);
    if (began < back) began = back;
  }
  w->event.duration = now > began ? now - began : 0;
  w->want = c->want[PROGRAM_SWITCH];
  walk(ctx, c, w);
  return 0;
}

static __always_inline void finish_switch(struct work *w) {
  struct config *c = get_config();
  u32 pid = w->event.pid;
  if (!c) return;
  if (w->event.duration < c->number[PROGRAM_SWITCH]) {
    struct counts *counts = get_counts(KIND_SWITCH);
    if (counts) counts->below++;
  } else {
    emit(&w->event);
  }
  if ((w->event.state & DEAD_STATES) && !(w->event.flags & EVENT_PREEMPTED)) {
    threads.delete(&pid);
    return;
  }
  struct thread *t = threads.lookup(&pid);
  if (t) {  // what is there of a waker stays: it may have come before the switch did
    begin_wait(t, &w->event);
    return;
  }
  struct thread new = {};
  begin_wait(&new, &w->event);
  if (threads.update(&pid, &new)) count_lost(KIND_WAIT);
}

// The waker, in its own context. args: the task woken
int on_waking(struct bpf_raw_tracepoint_args *ctx) {
  u32 pid = read_u32(ctx->args[0] + TASK_PID);
  struct thread *t = threads.lookup(&pid);
  if (!t) return 0;
  struct config *c = get_config();
  struct work *w = get_work(SLOT_WAKING);
  if (!c || !w) return 0;
  int interrupt = in_interrupt(c);
  t->waker = interrupt ? 0 : (u32)bpf_get_current_pid_tgid();
  t->wstack = 0;
  struct open_span *span = !interrupt && spans_on() ? innermost(bpf_get_current_pid_tgid()) : 0;
  t->waker_span = span ? span->span_id : 0;
  w->want = c->want[PROGRAM_SWITCH];
  if (interrupt) w->want &= ~WANT_USER;  // whoever was interrupted has nothing to do with it
  if (!w->want) return 0;
  enter(w, SLOT_WAKING);
  begin_event(&w->event, KIND_WAIT, bpf_ktime_get_ns());
  w->key = pid;
  if (w->want & WANT_KERNEL) w->base = take_kernel(ctx, w);
  walk(ctx, c, w);
  return 0;
}

static __always_inline void finish_waking(struct work *w) {
  u32 pid = w->key, base = w->base & 127;
  struct counts *counts = get_counts(KIND_WAIT);
  if (counts && (w->want & WANT_USER) && w->status < STACK_STATUS_COUNT) counts->user[w->status]++;
  if (!base && !w->n) return;
  hash_frames(w, 0, &w->base, KERNEL_FRAMES);  // into that of the user's
  u64 hash = w->hash;
  u64 id = publish(w, hash, base, w->n, w->n ? w->status : STACK_COMPLETE,
                   base >= KERNEL_FRAMES ? STACK_KERNEL_CUT : 0, KIND_WAIT);
  struct thread *t = threads.lookup(&pid);
  if (t) t->wstack = id;
}

// It is on a run queue now. args: the task woken
int on_wakeup(struct bpf_raw_tracepoint_args *ctx) {
  u32 pid = read_u32(ctx->args[0] + TASK_PID);
  struct thread *t = threads.lookup(&pid);
  if (t && t->off && !t->woken) t->woken = bpf_ktime_get_ns();
  return 0;
}
