// CPython's own frames, taken behind the native ones: thread state, frames, and what names new code.
// Where things lie in a process is written by stacks_tui/python (twin: stacks_tui/python/layout.py).
//
// Behind the native frames in work.frames: their stack pointers (u32 each), then pairs of words, leaf first.
// A frame: the id of its code object, then struct python_at. A mark ends the frames of one evaluation
// loop: 0, then PYTHON_MARK and the low half of an address in that loop's frame on the C stack.
// SPDX-License-Identifier: GPL-2.0-only OR MIT
#pragma once

#define PYTHON_BATCH 192     // frames per step
#define THREADS_BATCH 64     // thread states looked at per step
#define CODES_BATCH 256      // code objects looked at per step
#define PYTHON_PAIRS 1024    // a power of two, above what fits into a stack's words
#define PYTHON_CALLS 30      // tail calls that the kernel allows, less those that begin and end a walk
#define FRAME_BYTES 80       // of an interpreter frame: what is needed of any version
#define NAMING_BYTES 80      // of a code object, from its first line's number on: with what tells it apart
#define CODES_LATELY 64      // a power of two
#define PYTHON_MARK (1ull << 40)
#define SHORTEST_WAIT 1000000    // ns until a thread without a state is looked for again; doubled …
#define LONGEST_WAIT 64000000    // … up to this

// Where CPython keeps what is read here, in one process; offsets in bytes.
struct python {
  u64 runtime;                    // address of _PyRuntime
  u64 none;                       // of None, the code of a mark; 0: every frame that is no function's is one
  u32 interpreters, interpreter_next, interpreter_threads;
  u32 thread_next, thread_id, thread_frame;
  u32 cframe;                     // thread_frame holds a _PyCFrame, its frame is here; ~0: none
  u32 code, previous, instruction, owner;
  u32 entry;                      // 3.11: a flag in the outermost frame of each loop; else behind the frame
  u32 mark;                       // from this owner on a frame is no function's
  u32 identity;                   // 16 bytes that differ between code objects that had one address
  u32 qualname, filename, linetable, firstlineno;
  u32 reserved;
  u32 minor;                      // of the version, 3.x
  u64 type;                       // address of the type of code objects
};

// The thread state of a thread, as last found; 0: none, to be looked for again at a time.
struct python_thread {
  u64 state, again, wait;
};

#define CODE_BYTES 256
#define QUALNAME_BYTES 192
#define FILENAME_BYTES 256
#define LINETABLE_BYTES 4096  // at most: a power of two
#define BYTES_LENGTH 16       // in a bytes object: its length; its content is at …
#define BYTES_DATA 32
#define STRING_HASH 24        // in a str object; the characters of a short one follow

// A code object the first time it is met: the beginnings of it and of what names it. The record ends
// with the location table, where that is shorter.
struct python_code {
  struct stack_header head;
  u64 address;
  u64 type;                       // what the second word of `object` is, if it is one
  u64 minor;
  u64 object[CODE_BYTES / 8];
  u64 qualname[QUALNAME_BYTES / 8];
  u64 filename[FILENAME_BYTES / 8];
  u64 linetable[LINETABLE_BYTES / 8];
};

struct python_work {
  u64 frame, cframe, fs;
  u64 interpreter, thread;        // where the search for the thread state stands
  u64 chain;                      // hash of the code objects
  u64 from, room;                 // the window, as in struct work
  char window[WINDOW_BYTES + 128];  // the masks below allow as much
  u64 naming[NAMING_BYTES / 8];
  u64 content[8];
  u64 walk;                       // a number of this walk alone
  struct {
    u64 code, id;                 // the address, xor the walk
  } lately[CODES_LATELY];         // code objects of this walk: what recurs is read once
  u32 begun, left, at, most, done, failed;
  struct python layout;
  struct python_code record;
  u64 codes[PYTHON_PAIRS];        // addresses of the code objects, by pair; 0: a mark
};

BPF_F_TABLE("hash", u32, struct python, pythons, 8192, 0);
BPF_F_TABLE("lru_hash", u32, struct python_thread, python_threads, 65536, 0);
// Code objects published, and chains of which all are.
BPF_F_TABLE("lru_hash", u64, u8, python_codes, 65536, 0);
struct python_room {
  char raw[sizeof(struct python_work)];
};
BPF_F_TABLE("percpu_array", u32, struct python_room, python_scratch, SLOT_COUNT, 0);

static __always_inline struct python_work *get_python_work(u32 slot) {
  return (struct python_work *)python_scratch.lookup(&slot);
}

static __always_inline u64 peek(u64 at) {
  u64 value = 0;
  bpf_probe_read_user(&value, sizeof(value), (void *)at);  // 0 where it fails
  return value;
}

// All ones if v is 0, else 0; without a jump, as below().
static __always_inline u64 is_zero(u64 v) {
  u64 mask = (u64)((s64) ~(v | -v) >> 63);
  asm volatile("" : "+r"(mask));
  return mask;
}

// After the native frames: whether the process has Python frames, with room to walk them.
static __always_inline int begin_python(struct work *w) {
#ifdef TASK_FSBASE
  u32 tgid = w->event.tgid, calls = w->n / STEP_FRAMES;
  if (w->how != BY_TABLE || !pythons.lookup(&tgid) || calls + 4 > PYTHON_CALLS) return 0;
  struct python_work *y = get_python_work(w->slot);
  if (!y) return 0;
  y->begun = 0;
  y->left = PYTHON_CALLS - calls;
  return 1;
#else
  return 0;
#endif
}

// What the program in hand does next.
enum python_next { PYTHON_END, PYTHON_AGAIN, PYTHON_ON };

// One more tail call, if the kernel allows it.
static __always_inline int may_go_on(struct python_work *y) {
  if (!y->left) return 0;
  y->left--;
  return 1;
}

static __always_inline void prepare_python(struct work *w, struct python_work *y, struct python *p) {
  u32 at = w->base + w->n, words = (w->n + 1) / 2;
  u64 fs = 0;
  y->layout = *p;
#ifdef TASK_FSBASE
  fs = load_u64(current_task(), TASK_FSBASE);
#endif
  y->fs = fs;
  y->begun = 1;
  y->done = 0;
  y->failed = 0;
  y->chain = w->salt;
  y->room = -1;
  y->walk = mix(mix(w->salt, bpf_ktime_get_ns()), bpf_get_current_pid_tgid());
  y->interpreter = peek(p->runtime + p->interpreters);
  y->thread = y->interpreter ? peek(y->interpreter + p->interpreter_threads) : 0;
  asm volatile("" : "+r"(at), "+r"(words));
  bpf_probe_read_kernel(&w->frames[at & (FRAMES - 1)], (words & (FRAMES / 4 - 1)) * 8,
                        &w->sps[w->base & 127]);
  y->at = at + words;
  y->most = (FRAMES - 4 - y->at) / 2;
}

// The thread state of the running thread, whose thread_id is pthread_self(), which is the fs base. (The
// native id would not do in a pid namespace.) PYTHON_ON: found; y->thread.
static __always_inline u32 find_thread(struct work *w, struct python_work *y) {
  u32 tid = bpf_get_current_pid_tgid(), tgid = w->event.tgid;
  struct python *p = &y->layout;
  struct python_thread *known = python_threads.lookup(&tid), found = {};
  u64 now = bpf_ktime_get_ns();
  if (!y->begun) {
    struct python *published = pythons.lookup(&tgid);
    if (!published) return PYTHON_END;
    prepare_python(w, y, published);
    w->python = PYTHON_NO_THREAD;
    if (known && known->state && peek(known->state + p->thread_id) == y->fs) {
      y->thread = known->state;
      return PYTHON_ON;
    }
    if (known && !known->state && now < known->again) return PYTHON_END;
  }
  u64 interpreter = y->interpreter, thread = y->thread;
#pragma clang loop unroll(disable)
  for (u32 i = 0; i < THREADS_BATCH; i++) {
    if (!thread) {
      if (!interpreter) break;
      interpreter = peek(interpreter + p->interpreter_next);
      thread = interpreter ? peek(interpreter + p->interpreter_threads) : 0;
      continue;
    }
    if (peek(thread + p->thread_id) == y->fs) {
      found.state = thread;
      break;
    }
    thread = peek(thread + p->thread_next);
  }
  y->interpreter = interpreter;
  y->thread = thread;
  if (!found.state) {
    if (interpreter) return PYTHON_AGAIN;
    found.wait = known && !known->state ? known->wait * 2 : SHORTEST_WAIT;
    if (found.wait > LONGEST_WAIT) found.wait = LONGEST_WAIT;
    found.again = now + found.wait;
  }
  python_threads.update(&tid, &found);
  return found.state ? PYTHON_ON : PYTHON_END;
}

static __always_inline u32 start_python(struct work *w, struct python_work *y) {
  u32 next = find_thread(w, y);
  if (next != PYTHON_ON) return next;
  struct python *p = &y->layout;
  u64 frame = peek(y->thread + p->thread_frame);
  y->cframe = frame;
  if (frame && p->cframe != ~0u) frame = peek(frame + p->cframe);
  y->frame = frame;
  w->python = frame ? PYTHON_CUT : PYTHON_NO_FRAME;
  return frame ? PYTHON_ON : PYTHON_END;
}

// What tells a code object from others. Those of 3.11 have no number of their own, and a loop of exec() may get
// the same memory for all parts of each: so what they say counts too.
static __always_inline u64 identify(struct work *w, struct python_work *y, struct python *p, u64 code) {
  u64 *words = y->content;
  bpf_probe_read_user(y->naming, NAMING_BYTES, (void *)code + p->firstlineno);  // zeros where it fails
  u64 *two = (u64 *)((char *)y->naming + (p->identity - p->firstlineno & 63));
  u64 name = two[0], table = two[1];  // pointers in 3.11
  u64 id = mix(mix(mix(w->salt, code), name), table) | 1;
  if (p->minor != 11) return id;
  bpf_probe_read_user(words, 40, (void *)name + STRING_HASH);
  bpf_probe_read_user(words + 5, 24, (void *)table + BYTES_DATA);
  id = mix(mix(mix(id, y->naming[0]), words[0]), words[3]);
  return mix(mix(mix(mix(id, words[4]), words[5]), words[6]), words[7]) | 1;
}

// Reads an interpreter frame and what lies below it in its page: there its callers mostly are.
static __always_inline long read_frames(struct python_work *y, u64 frame) {
  u64 before = frame & (PAGE_BYTES - 1);
  before += (WINDOW_BYTES - FRAME_BYTES - before) & below(WINDOW_BYTES - FRAME_BYTES, before);
  y->from = frame - before;
  y->room = before;
  asm volatile("" : "+r"(before));
  u64 size = (before & (WINDOW_BYTES - 1)) + FRAME_BYTES;
  return bpf_probe_read_user(y->window, size, (void *)frame - before);  // zeros where it fails
}

// Up to PYTHON_BATCH more frames. Few jumps, and the counters in memory, as in hash_frames().
static __always_inline u32 walk_python(struct work *w, struct python_work *y) {
  struct python *p = &y->layout;
  u64 frame = y->frame, failed = y->failed, in_frame = below(p->entry, FRAME_BYTES) & 1;
  u32 status = PYTHON_CUT;
#pragma clang loop unroll(disable)
  for (u32 i = 0; i < PYTHON_BATCH; i++) {
    u64 here = frame;
    if ((frame - y->from | y->room - (frame - y->from)) >> 12) failed |= read_frames(y, frame);
    u64 offset = frame - y->from;
    asm volatile("" : "+r"(offset));
    char *bytes = y->window + (offset & (WINDOW_BYTES - 1));
    u64 code = *(u64 *)(bytes + (p->code & 120)) & ~7ull;
    u64 instruction = *(u64 *)(bytes + (p->instruction & 120));
    u64 owner = *(u8 *)(bytes + (p->owner & 127)), entry = *(u8 *)(bytes + (p->entry & 127)) & in_frame;
    frame = *(u64 *)(bytes + (p->previous & 120));
    u64 tag = code ^ y->walk, slot = mix(0, code) >> 40;
    asm volatile("" : "+r"(slot));
    slot &= CODES_LATELY - 1;
    if (y->lately[slot].code != tag) {
      y->lately[slot].code = tag;
      y->lately[slot].id = identify(w, y, p, code);
    }
    u64 id = y->lately[slot].id;
    u64 python = below(owner, p->mark);  // else an entry into the evaluation loop, or a trampoline
    u64 at = ((instruction - code) & 0xffffffff) | owner << 32;
    u64 mark = (~python & (is_zero(p->none) | is_zero(code ^ p->none)) & 1) | entry;
    if (entry) {  // 3.11: the loop's _PyCFrame lies in its frame on the C stack
      here = y->cframe;
      y->cframe = peek(here + p->cframe + 8);
    }
    u32 n = w->n_python, to = y->at + 2 * n;
    asm volatile("" : "+r"(to), "+r"(n));
    u64 *pair = &w->frames[to & (FRAMES - 1)];
    pair[0] = id;
    pair[1] = at;
    y->codes[n & (PYTHON_PAIRS - 1)] = code & python;
    n += python & 1;
    to = y->at + 2 * n;
    asm volatile("" : "+r"(to), "+r"(n));
    pair = &w->frames[to & (FRAMES - 1)];
    pair[0] &= mark - 1;  // 0 for a mark
    pair[1] = (here & 0xffffffff) | PYTHON_MARK;
    y->codes[n & (PYTHON_PAIRS - 1)] = 0;
    n += mark;
    y->chain = (y->chain ^ (id & python)) * 0x9E3779B97F4A7C15ull;
    w->hash = mix(w->hash, ((id ^ at << 17) & python) + mark);
    w->n_python = n;
    if (!frame) {
      status = failed ? PYTHON_FAULT : PYTHON_WHOLE;
      break;
    }
    if (n >= y->most) break;
  }
  y->frame = frame;
  y->failed = failed != 0;
  w->python = status;
  return status == PYTHON_CUT && w->n_python < y->most ? PYTHON_AGAIN : PYTHON_ON;
}

// An object of at most `size` bytes; where it is shorter, its memory may end behind it, on a page's end.
static __always_inline void read_up_to(void *to, u32 size, u64 from) {
  if (!bpf_probe_read_user(to, size, (void *)from)) return;
  u32 rest = -from & (PAGE_BYTES - 1);
  asm volatile("" : "+r"(rest));
  if (rest < size) bpf_probe_read_user(to, rest, (void *)from);
}

// Publishes the code objects of the frames that were never met before: their memory may soon hold others.
static __always_inline u32 publish_codes(struct work *w, struct python_work *y) {
  struct python *p = &y->layout;
  struct python_code *r = &y->record;
  u8 one = 1;
  u64 chain = y->chain | 1;
  if (!y->done && python_codes.lookup(&chain)) return PYTHON_END;
  r->head.time = w->event.time;
  r->head.tgid = w->event.tgid;
  r->head.pid = w->event.pid;
  r->head.n_kernel = 0;
  r->head.status = 0;
  r->head.flags = STACK_CODE;
  r->head.kind = w->event.kind;
  r->type = p->type;
  r->minor = p->minor;
  if (!y->done) y->failed = 0;
#pragma clang loop unroll(disable)
  for (u32 i = 0; i < CODES_BATCH; i++) {
    u32 n = y->done, to = y->at + 2 * n;
    if (n >= w->n_python) {
      if (!y->failed) python_codes.update(&chain, &one);
      return PYTHON_END;
    }
    y->done = n + 1;
    asm volatile("" : "+r"(to), "+r"(n));
    u64 id = w->frames[to & (FRAMES - 1)], code = y->codes[n & (PYTHON_PAIRS - 1)];
    if (!code || python_codes.lookup(&id)) continue;
    r->head.id = id;
    r->address = code;
    read_up_to(r->object, CODE_BYTES, code);
    read_up_to(r->qualname, QUALNAME_BYTES, r->object[p->qualname >> 3 & 31]);
    read_up_to(r->filename, FILENAME_BYTES, r->object[p->filename >> 3 & 31]);
    u64 table = r->object[p->linetable >> 3 & 31], size = peek(table + BYTES_LENGTH) + BYTES_DATA + 7;
    if (size > LINETABLE_BYTES - 1) size = LINETABLE_BYTES - 1;
    size &= LINETABLE_BYTES - 8;
    bpf_probe_read_user(r->linetable, size, (void *)table);  // zeros where it fails
    r->head.n_user = (sizeof(*r) - sizeof(r->head) - LINETABLE_BYTES + size) / 8;
    // What did not fit is read by the reader, while the process is there.
    u64 wakeup = size < LINETABLE_BYTES - 8 ? NO_WAKEUP : 0;
    if (stacks.ringbuf_output(r, sizeof(*r) - LINETABLE_BYTES + size, wakeup)) {
      y->failed = 1;
      struct counts *counts = get_counts(w->event.kind);
      if (counts) counts->stacks_lost++;
    } else {
      python_codes.update(&id, &one);
    }
  }
  return PYTHON_AGAIN;
}
