// What follows a process through fork, exec and exit, in the kernel, before its next event.
// SPDX-License-Identifier: GPL-2.0-only OR MIT

// Tells the reader that a process can't close its spans any more.
static __always_inline void tell_end(u64 id, u64 now) {
  struct event e = {};
  if (!spans_on()) return;
  e.time = now;
  e.tgid = id >> 32;
  e.pid = id;
  e.kind = RECORD_PROCESS_ENDED;
  events.ringbuf_output(&e, sizeof(e), NO_WAKEUP);  // where it is lost, they end with the recording
}

// args: parent (the current task), child
int on_fork(struct bpf_raw_tracepoint_args *ctx) {
  struct config *c = get_config();
  u32 child = read_u32(ctx->args[1] + TASK_TGID), parent = bpf_get_current_pid_tgid() >> 32;
  u8 one = 1;
  if (!c || child == parent) return 0;  // a thread
  struct space *space = spaces.lookup(&parent);
  if (space) {  // the child's memory is its parent's
    struct space copy = *space;
    spaces.update(&child, &copy);
  }
  struct python *python = pythons.lookup(&parent);
  if (python) {
    struct python same = *python;
    pythons.update(&child, &same);
  }
  if ((c->target_flags & TARGET_FOLLOW) && traced(c)) targets.update(&child, &one);
  return 0;
}

// args: the task (the current one), its pid before, …
int on_exec(struct bpf_raw_tracepoint_args *ctx) {
  struct config *c = get_config();
  u64 id = bpf_get_current_pid_tgid();
  u32 tgid = id >> 32, pid = ctx->args[1];
  leave_spans(id, bpf_ktime_get_ns(), current_image() - 1);
  thread_spans.delete(&pid);
  tell_end(id, bpf_ktime_get_ns());
  spaces.delete(&tgid);
  pythons.delete(&tgid);
  if (!c) return 0;
  struct resident new = {};
  new.mm = read_u64((u64)current_task() + TASK_MM);
  new.fresh = 1;
  if ((c->want[PROGRAM_RSS] & WANT_ACTIVE) && traced(c)) {
    struct resident *known = residents.lookup(&tgid);
    if (!known || known->mm != new.mm) residents.update(&tgid, &new);
  } else {
    residents.delete(&tgid);
  }
  return 0;
}

// args: the task (the current one), …
int on_exit(struct bpf_raw_tracepoint_args *ctx) {
  u64 id = bpf_get_current_pid_tgid();
  u32 pid = id, tgid = id >> 32;
  calls.delete(&pid);
  leave_spans(id, bpf_ktime_get_ns(), current_image());
  if (!read_u32(read_u64((u64)current_task() + TASK_SIGNAL) + SIGNAL_LIVE))  // the last thread
    tell_end(id, bpf_ktime_get_ns());
  if (pid == tgid) residents.delete(&tgid);
  return 0;
}
