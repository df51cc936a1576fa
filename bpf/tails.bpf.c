// What the programs do that others tail-call (steps.bpf.c): the steps of a walk, and what comes last.
// SPDX-License-Identifier: GPL-2.0-only OR MIT

static __always_inline void finish(void *ctx, struct work *w) {
  struct config *c = get_config();
  if (c && (w->want & WANT_USER)) finish_walk(ctx, c, w);
  if (w->slot == SLOT_WAKING) {
    finish_waking(w);
    return;
  }
  u32 kind = w->event.kind;
  if (w->status == STACK_CUT && w->n) w->event.flags |= EVENT_USER_TRUNCATED;
  w->event.ustack = publish_user(w, kind);
  w->event.kstack = publish_kernel(ctx, w, kind);
  if (w->slot == SLOT_SWITCH) {
    finish_switch(w);
  } else if (w->slot == SLOT_BLOCK) {
    finish_block(w);
  } else {
    emit(&w->event);
    if (w->also) {
      w->event.kind = w->also;
      emit(&w->event);
    }
  }
}

// Whose walk goes on, in each type of program.
static __always_inline struct work *sample_work(void) { return get_work(SLOT_PROFILE); }

// The slot whose walk this CPU is in the middle of. Where a kernel lets a program of a system call's
// tracepoint be preempted (from 7.x on), it may be another task's by now: then this one's event is given up,
// and counted (under no kind, for the kind is not known any more).
static __always_inline struct work *raw_work(void) {
  u32 zero = 0;
  u32 *slot = running.lookup(&zero);
  struct work *w = slot ? get_work(*slot) : 0;
  if (w && w->pid == (u32)bpf_get_current_pid_tgid()) return w;
  struct counts *counts = get_counts(0);
  if (counts) counts->lost++;
  return 0;
}

// STACK_CUT: there is more.
static __always_inline u32 step(struct work *w) {
  u32 status = unwind_step(w);
  if (status == STACK_NO_SPACE) {  // a module whose rows are not here: all anew, by a copy
    w->how = BY_COPY;
    w->n = 0;
    w->by_frame_pointer = 0;
  }
  return status;
}

// The program to go to next, PYTHON_END: finish.
static __always_inline u32 walk_on(struct work *w, struct python_work *y, u32 what) {
  u32 next = what == TAIL_PYTHON          ? start_python(w, y)
             : what == TAIL_PYTHON_FRAMES ? walk_python(w, y)
                                          : publish_codes(w, y);
  if (next == PYTHON_END || !may_go_on(y)) return PYTHON_END;
  return next;
}

// A probe's program may be preempted: as above.
static __always_inline struct work *probe_work(void) {
  struct work *w = get_work(SLOT_USDT);
  if (w && w->pid == (u32)bpf_get_current_pid_tgid()) return w;
  count_lost(KIND_TRACE_EXIT);
  return 0;
}
