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

#define COPY_PAGES 64     // that a copy may reach over: as many as there are bits
#define FEW_COPIES (1 << 20)  // bytes that may wait as long as the reader sleeps
#define HASH_BLOCK 8      // frames that are hashed at once
#define RED_ZONE 128     // bytes below rsp that are copied: before a ret, rules still look there for rbp
#define ABOVE_STACK 128  // bytes copied beyond a stack's upper end

static __always_inline void enter(struct work *w, u32 slot) {
  u32 zero = 0;
  u32 *now = running.lookup(&zero);
  w->slot = slot;
  w->pid = bpf_get_current_pid_tgid();
  w->base = 0;
  w->n = 0;
  w->hash = 0;
  w->bad = 0;
  w->at_leaf = 0;
  w->unsure = 0;
  w->walked = 0;
  w->room = -1;
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
  w->taken = 0;
}

static __always_inline struct copy_room *get_copy_room(struct work *w) {
  u32 at = bpf_get_smp_processor_id() * SLOT_COUNT + w->slot;
  return copy_rooms.lookup(&at);
}

// The head in `w`, with `words` of the slot's room for copies. 0: done.
static __always_inline long publish_copy(struct work *w, u64 words) {
  u32 zero = 0;
  struct copies *all = copies.lookup(&zero);
  struct copy_room *room = get_copy_room(w);
  if (!all || !room) return -1;
  room->head = w->head;
  asm volatile("" : "+r"(words));
  if (words > COPY_ROOM) return -1;
  u64 size = sizeof(struct stack_header) + words * 8;
  __sync_fetch_and_add(&all->made, size);
  // They are large and come in bursts: the reader is woken for them.
  u64 wakeup = all->made - all->taken > FEW_COPIES ? FORCE_WAKEUP : 0;
  long failed = stacks.ringbuf_output(room, size, wakeup);
  if (failed) __sync_fetch_and_add(&all->made, -size);
  return failed;
}

// Publishes the first `kernel` frames and the `user` ones behind them; returns the stack's id.
static __always_inline u64 publish(struct work *w, u64 hash, u32 kernel, u32 user, u32 status,
                                   u32 flags, u32 kind) {
  u64 id = mix(mix(hash, status), (u64)kernel << 32 | user);
  u8 one = 1;
  if (!id) id = 1;
  int copy = user && w->how == BY_COPY;
  u64 *lately = &w->published[id & (PUBLISHED - 1)];
  if (!copy) {
    if (*lately == id) return id;
    if (seen.lookup(&id)) {
      *lately = id;
      return id;
    }
  }
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
  u32 pairs = user ? w->n_python : 0;
  u64 frames = kernel + user;
  w->head.n_python = pairs;
  if (pairs) frames += (user + 1) / 2 + 2 * pairs;
  if (!copy && frames > FRAMES - 1) frames = FRAMES - 1;
  u32 size = sizeof(struct stack_header) + (frames & (FRAMES - 1)) * 8;
  if (copy ? publish_copy(w, frames) : stacks.ringbuf_output(&w->head, size, NO_WAKEUP)) {
    struct counts *counts = get_counts(kind);
    if (counts) counts->stacks_lost++;
  } else if (!copy) {
    seen.update(&id, &one);
    *lately = id;
  }
  return id;
}

// The kernel stack into the first frames of the slot. Returns how many, 0 where there is none.
static __always_inline u32 take_kernel(void *ctx, struct work *w) {
  long size = bpf_get_stack(ctx, w->frames, KERNEL_FRAMES * 8, 0);
  return size <= 0 ? 0 : (u32)size >> 3;
}

// Mixes into w->hash the frames [base, base + *n); at most `most`, a constant. Between blocks count and hash
// are in memory: what the verifier learns of them in a loop would keep it from seeing that all ways out are
// alike. Words behind the last frame count as 0.
static __always_inline void hash_frames(struct work *w, u32 base, u32 *n, u32 most) {
#pragma clang loop unroll(disable)
  for (u32 i = 0; i < most; i += HASH_BLOCK) {
    u64 count = *(volatile u32 *)n, hash = *(volatile u64 *)&w->hash;
    if (i >= count) break;
#pragma clang loop unroll(full)
    for (u32 k = 0; k < HASH_BLOCK; k++) {
      u32 at = base + i + k;
      asm volatile("" : "+r"(at));  // the mask below is for the verifier: it must stay where it is
      hash = mix(hash, w->frames[at & (FRAMES - 1)] & below(i + k, count));
    }
    *(volatile u64 *)&w->hash = hash;
  }
  asm volatile("" ::: "memory");
}

// What tells the user addresses of one process and program from those of another: the tgid, when it
// started, how often it has exec'd, and how often code was replaced in it.
static __always_inline u64 address_space_salt(struct work *w, u32 tgid) {
  void *leader = (void *)load_u64(current_task(), TASK_GROUP_LEADER);
  u64 salt = mix(tgid, load_u64(leader, TASK_START_TIME));
  salt = mix(salt, load_u32(leader, TASK_SELF_EXEC_ID));
  return mix(salt, w->space.epoch);
}

// Prepares the walk of the current task's user stack behind `w->base` frames. `interrupted`: the registers
// of a sample, or null. Returns 1 where there is something to unwind by tables; 0: finish_walk does it.
static __always_inline int begin_walk(struct pt_regs *interrupted, struct config *c, struct work *w) {
  u32 tgid = bpf_get_current_pid_tgid() >> 32;
  __builtin_memset(&w->space, 0, sizeof(w->space));
  void *mm = (void *)load_u64(current_task(), TASK_MM);
  // A kernel thread, a task that has exited, or one in the middle of an exec: the memory is the new
  // program's already (and not yet whole), the registers are the old one's.
  if (!load_u64(mm, MM_START_CODE)) {
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
  w->start_stack = load_u64(mm, MM_START_STACK);
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

// Whether one more stack may be copied: while the reader keeps up with them.
static __always_inline int may_copy(struct config *c) {
  u32 zero = 0;
  struct copies *all = copies.lookup(&zero);
  return all && all->made - all->taken < c->copy_bytes;
}

// Bytes of the user stack worth copying: there is nothing to unwind above where a program's first stack
// began, nor above a thread's own block, which libc puts at the upper end of the thread's stack.
static __always_inline u64 bytes_to_copy(struct work *w) {
  u64 used = w->start_stack - w->regs.sp;
#ifdef TASK_FSBASE
  u64 to_block = load_u64(current_task(), TASK_FSBASE) - w->regs.sp;
  if (to_block < used) used = to_block;
#endif
  if (used > COPY_PAGES * PAGE_BYTES) used = COPY_PAGES * PAGE_BYTES;
  return used + ABOVE_STACK;
}

// Where the tables are not in the kernel (yet): the registers and the stack itself, for the user side to
// unwind when it has them. Returns the number of words behind `base`, 0: not to be had. A page that is not
// there (of a large array that nobody wrote to yet) is left out; bits say which are there, the lowest first.
static __always_inline u32 copy_stack(struct work *w) {
  u64 end = (w->regs.sp & ~7ull) + (bytes_to_copy(w) & ~7ull), from = (w->regs.sp & ~7ull) - RED_ZONE;
  u64 words = (end - from) / 8;
  u32 at = w->base & 127;
  struct copy_room *room = get_copy_room(w);
  if (!room) return 0;
  char *registers = room->memory + at * 8, *memory = registers + sizeof(w->regs);
  if (words > COPY_WORDS) words = COPY_WORDS;
  asm volatile("" : "+r"(words));
  if (words > COPY_WORDS) return 0;  // for the verifier
  w->n = words;
  w->regs.cs = frame_of(w, w->regs.ip, w->regs.sp, w->regs.bp);  // likewise: a copy has no code
  w->regs.ss = ~0ull;  // for the user side, which has no use for the segment
  if (bpf_probe_read_user(memory, words * 8, (void *)from)) {
    // What the verifier learns of the counters in a loop would make all ways through it differ: in memory.
    volatile u32 *n = &w->n;
    volatile u64 *pages = (volatile u64 *)&w->regs.ss;
    *n = 0;
    *pages = 0;
#pragma clang loop unroll(disable)
    for (u32 i = 0; i < COPY_PAGES; i++) {
      u64 size = PAGE_BYTES - (from & (PAGE_BYTES - 1)), to = *n;
      if (from + size > end) size = end - from;
      if (size > (COPY_WORDS - to) * 8) size = (COPY_WORDS - to) * 8;
      if (!size) break;
      asm volatile("" : "+r"(size), "+r"(to));
      if (size > PAGE_BYTES || to > COPY_WORDS) break;
      if (!bpf_probe_read_user(memory + to * 8, size, (void *)from)) {
        *n += size / 8;
        *pages |= 1ull << i;
      }
      from += size;
    }
  }
  bpf_probe_read_kernel(room->memory, at * 8, w->frames);
  bpf_probe_read_kernel(registers, sizeof(w->regs), &w->regs);
  return w->n ? w->n + REGISTERS : 0;
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
  if (w->unsure && w->status == STACK_COMPLETE) w->status = STACK_FP_END;
  if (how == BY_COPY) {
    w->n = may_copy(c) ? copy_stack(w) : 0;
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
