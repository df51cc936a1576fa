// The only door to a stack: take, hash, publish once, and go on to what the event's program does last.
//
// A handler fills its slot's `struct work` and ends with walk(): the user stack is unwound in tail calls
// (unwind_step), after which finish() of the same slot takes the kernel stack, publishes both and emits.
// Every path from enter() ends in leave(), so that an interrupted slot finds `running` as it left it.
// SPDX-License-Identifier: GPL-2.0-only OR MIT
#pragma once

#define USER_STACK 256  // BPF_F_USER_STACK
#define USER_CS 3       // the privilege bits of cs in user mode
#define USER_CODE 0x33  // __USER_CS: anything else is 32-bit code

#define REGISTERS 21    // words of struct pt_regs
#define PIECE 128       // words that are copied at once
#define SMALL_PIECE 8
#define COPY_PIECES 14

static __always_inline void enter(struct work *w, u32 slot) {
  u32 zero = 0;
  u32 *now = running.lookup(&zero);
  w->slot = slot;
  w->pid = bpf_get_current_pid_tgid();
  w->base = 0;
  w->n = 0;
  w->hash = 0;
  w->bad = 0;
  w->by_frame_pointer = 0;
  w->status = STACK_NO_REGS;
  w->also = 0;
  w->how = BY_TABLE;
  w->python = PYTHON_UNKNOWN;
  w->n_python = 0;
  if (now) {
    w->outer = *now;
    *now = slot;
  }
}

static __always_inline void leave(struct work *w) {
  u32 zero = 0;
  u32 *now = running.lookup(&zero);
  if (now) *now = w->outer;
}

// Publishes the first `kernel` frames and the `user` ones behind them; returns the stack's id.
static __always_inline u64 publish(struct work *w, u64 hash, u32 kernel, u32 user, u32 status,
                                   u32 flags, u32 kind) {
  u64 id = mix(mix(hash, status), (u64)kernel << 32 | user);
  u8 one = 1;
  if (!id) id = 1;
  int copy = user && w->how == BY_COPY;
  if (!copy && seen.lookup(&id)) return id;
  w->head.id = id;
  w->head.time = w->event.time;
  w->head.tgid = user ? w->event.tgid : 0;
  w->head.pid = w->event.pid;
  w->head.n_kernel = kernel;
  w->head.n_user = user;
  w->head.status = status;
  w->head.flags = flags | (copy ? STACK_COPY : 0);
  w->head.by_frame_pointer = user ? w->by_frame_pointer : 0;
  w->head.kind = kind;
  w->head.python = user ? w->python : PYTHON_UNKNOWN;
  u32 pairs = user ? w->n_python : 0, frames = kernel + user;
  w->head.n_python = pairs;
  if (pairs) frames += (user + 1) / 2 + 2 * pairs;
  if (frames > FRAMES - 1) frames = FRAMES - 1;
  u32 size = sizeof(struct stack_header) + (frames & (FRAMES - 1)) * 8;
  // Copies are large and come in bursts: the reader is woken for them.
  if (!stacks.ringbuf_output(&w->head, size, copy ? 0 : NO_WAKEUP)) {
    if (!copy) seen.update(&id, &one);
  } else {
    struct counts *counts = get_counts(kind);
    if (counts) counts->stacks_lost++;
  }
  return id;
}

// The kernel stack into the first frames of the slot. Returns how many, 0 where there is none.
static __always_inline u32 take_kernel(void *ctx, struct work *w) {
  long size = bpf_get_stack(ctx, w->frames, KERNEL_FRAMES * 8, 0);
  return size <= 0 ? 0 : (u32)size >> 3;
}

// Mixes into w->hash the frames [base, base + *n); at most `most`, a constant. Count and hash stay in
// memory: what the verifier learns of them in a loop would keep it from seeing that all ways out are alike.
static __always_inline void hash_frames(struct work *w, u32 base, u32 *n, u32 most) {
#pragma clang loop unroll(disable)
  for (u32 i = 0; i < most; i++) {
    u32 at = base + i;
    if (i >= *(volatile u32 *)n) break;
    asm volatile("" : "+r"(at));  // the mask below is for the verifier: it must stay where it is
    *(volatile u64 *)&w->hash = mix(*(volatile u64 *)&w->hash, w->frames[at & (FRAMES - 1)]);
  }
  asm volatile("" ::: "memory");
}

// What tells the user addresses of one process and program from those of another: the tgid, when it
// started, how often it has exec'd, and how often code was replaced in it.
static __always_inline u64 address_space_salt(struct work *w, u32 tgid) {
  u64 task = (u64)current_task();
  u64 leader = read_u64(task + TASK_GROUP_LEADER);
  u64 salt = mix(tgid, read_u64(leader + TASK_START_TIME));
  salt = mix(salt, read_u32(leader + TASK_SELF_EXEC_ID));
  return mix(salt, w->space.epoch);
}

// Prepares the walk of the current task's user stack behind `w->base` frames. `interrupted`: the registers
// of a sample, or null. Returns 1 where there is something to unwind by tables; 0: finish_walk does it.
static __always_inline int begin_walk(struct pt_regs *interrupted, struct config *c, struct work *w) {
  u64 task = (u64)current_task();
  u32 tgid = bpf_get_current_pid_tgid() >> 32;
  __builtin_memset(&w->space, 0, sizeof(w->space));
  u64 mm = read_u64(task + TASK_MM);
  // A kernel thread, a task that has exited, or one in the middle of an exec: the memory is the new
  // program's already (and not yet whole), the registers are the old one's.
  if (!mm || !read_u64(mm + MM_START_CODE)) {
    w->want &= ~WANT_USER;
    return 0;
  }
  struct space *space = spaces.lookup(&tgid);
  if (space) w->space = *space;
  w->hash = w->salt = address_space_salt(w, tgid);
  if (!c->unwind) {
    w->status = STACK_FP_END;
    w->how = BY_FRAME_POINTER;
    return 0;
  }
  if (interrupted && (interrupted->cs & USER_CS) == USER_CS) {
    w->regs = *interrupted;
  } else if (bpf_probe_read_kernel(&w->regs, sizeof(w->regs), task_regs(current_task()))) {
    return 0;
  }
  if (w->regs.cs != USER_CODE) {
    w->how = BY_FRAME_POINTER;
    return 0;
  }
  w->start_stack = read_u64(mm + MM_START_STACK);
  w->regs.orig_ax = w->start_stack;  // for the user side, which has no use for the number of the call
  if (!space) {
    w->status = STACK_NO_SPACE;
    w->how = BY_COPY;
    return 0;
  }
  w->ip = w->regs.ip;
  w->sp = w->regs.sp;
  w->bp = w->regs.bp;
  w->exact = 1;
  return 1;
}

// Whether this CPU may copy one more stack: a bound on what a process whose files can't be read costs.
static __always_inline int may_copy(struct config *c, u64 now) {
  u32 zero = 0;
  struct budget *b = budgets.lookup(&zero);
  if (!b) return 0;
  if (now - b->since > 100000000) {
    b->since = now;
    b->used = 0;
  }
  return b->used < c->copy_words;
}

// Words of the user stack worth copying: a program's first thread has nothing to unwind above where its
// stack began.
static __always_inline u32 words_to_copy(struct work *w) {
  u64 used = (w->start_stack - w->regs.sp) / 8 + 2 * SMALL_PIECE;
  return used < COPY_PIECES * PIECE ? used : COPY_PIECES * PIECE;
}

// Where the tables are not in the kernel (yet): the registers and the stack itself, for the user side to
// unwind when it has them. Returns the number of words behind `base`, 0: not to be had.
static __always_inline u32 copy_stack(struct work *w) {
  u32 at = w->base & 127, words = 0, piece = PIECE, zero = 0, most = words_to_copy(w);
  struct budget *b = budgets.lookup(&zero);
  if (most < PIECE) piece = SMALL_PIECE;
  // A frame just made may reach to a page that is not there yet; its callers' are.
  u64 from = w->regs.sp, word;
  if (bpf_probe_read_user(&word, sizeof(word), (void *)from)) from = (from | 4095) + 1;
  w->regs.ss = from;  // for the user side, which has no use for the segment
  __builtin_memcpy(&w->frames[at], &w->regs, sizeof(w->regs));
#pragma clang loop unroll(disable)
  for (u32 i = 0; i < COPY_PIECES + PIECE / SMALL_PIECE; i++) {
    u32 to = at + REGISTERS + words;
    asm volatile("" : "+r"(to));
    if (words >= most) break;
    if (piece == PIECE && words + PIECE > most) piece = SMALL_PIECE;
    if (!bpf_probe_read_user(&w->frames[to & (FRAMES - 1)], (piece & (2 * PIECE - 1)) * 8,
                             (void *)from + words * 8)) {
      words += piece;
    } else if (piece == PIECE) {
      piece = SMALL_PIECE;  // near the stack's base
    } else {
      break;
    }
  }
  if (b) b->used += words;
  return words ? words + REGISTERS : 0;
}

// The end of every handler of a raw tracepoint: takes the stacks, and goes on to what is made of them. It
// comes back only where a tail call fails.
static __always_inline void walk(struct bpf_raw_tracepoint_args *ctx, struct config *c, struct work *w) {
  if ((w->want & WANT_USER) && begin_walk(0, c, w)) raw_programs.call(ctx, TAIL_UNWIND);
  raw_programs.call(ctx, TAIL_FINISH);
  leave(w);
}

// What the unwinder left to do: frames by frame pointer, or a copy of the stack.
static __always_inline void finish_walk(void *ctx, struct config *c, struct work *w) {
  u32 how = w->how, at = w->base & 127, most = c->max_frames;
  if (how == BY_COPY) {
    w->n = may_copy(c, w->event.time) ? copy_stack(w) : 0;
    if (w->n) {
      // No two are taken as alike: the frames are not known here.
      w->hash = mix(mix(w->hash, bpf_ktime_get_ns()), w->event.pid);
      return;
    }
    w->how = how = BY_FRAME_POINTER;
  }
  if (how == BY_TABLE && w->n > most) {  // a step takes several
    w->n = most;
    w->status = STACK_CUT;
  }
  if (how != BY_FRAME_POINTER) return;
  if (most > KERNEL_FRAMES) most = KERNEL_FRAMES;  // the kernel's own cap holds for both parts
  long size = bpf_get_stack(ctx, &w->frames[at], most * 8, USER_STACK);
  w->n = size <= 0 ? 0 : (u32)size >> 3;
  w->by_frame_pointer = w->n;
  if (!w->n) w->status = STACK_FAULT;
  if (w->n >= most) w->status = STACK_CUT;
  hash_frames(w, at, &w->n, KERNEL_FRAMES);
}

// Count how the walk ended, publish the stack. Returns its id, 0 for none.
static __always_inline u64 publish_user(struct work *w, u32 kind) {
  u32 n = w->n, status = w->status;
  struct counts *counts = get_counts(kind);
  if (!(w->want & WANT_USER)) return 0;
  if (counts && status < STACK_STATUS_COUNT) counts->user[status]++;
  if (!n) return 0;
  return publish(w, w->hash, 0, n, status, 0, kind);
}

static __always_inline u64 publish_kernel(void *ctx, struct work *w, u32 kind) {
  if (!(w->want & WANT_KERNEL)) return 0;
  w->kernel = take_kernel(ctx, w);
  if (!w->kernel) return 0;
  w->hash = 0;
  hash_frames(w, 0, &w->kernel, KERNEL_FRAMES);
  u32 n = w->kernel;
  u32 cut = n >= KERNEL_FRAMES ? STACK_KERNEL_CUT : 0;
  if (cut) {
    struct counts *counts = get_counts(kind);
    if (counts) counts->kernel_cut++;
    w->event.flags |= EVENT_KERNEL_TRUNCATED;
  }
  return publish(w, w->hash, n, 0, STACK_COMPLETE, cut, kind);
}
