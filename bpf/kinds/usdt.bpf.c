// usdt: the spans that programs mark with probes of the provider `stacks_tracing`.
//
// Entering puts a span on its thread's stack, leaving takes it off. A span is told when it is first
// entered (struct span_opened), when it is left (trace_exit) and when it is closed (trace_close), in
// this order in one ring: so whatever bears a span comes after what tells of it.
//
// A probe's program may be preempted by that of another task on the same CPU, so events lie on the
// stack; only a walk needs scratch memory, which is given to one at a time.
// SPDX-License-Identifier: GPL-2.0-only OR MIT

#define NAME_BYTES 63       // of a span's name; the rest is cut
#define SHORT_NAME 16       // what a provider that doesn't tell the length has at least
#define SEEN_BEFORE 63      // bit of the name's length: the span has been entered before
#define AWAITS_BYTES 2048   // of an await chain: a power of two

// Where a compiler left an argument of a probe; written by stacks_tui/capture/usdt.py.
enum argument_kind { ARGUMENT_CONSTANT = 1, ARGUMENT_REGISTER = 2, ARGUMENT_MEMORY = 3 };
struct argument {
  u8 kind;
  u8 bits;      // of the value: 8, 16, 32, 64
  u8 negative;  // it is signed
  u8 place;     // of the register in struct pt_regs, bytes
  u8 index;     // memory: of a second register, times `scale`; scale 0: none
  u8 scale;
  u16 reserved;
  s64 value;    // constant, or displacement
};
struct site {
  struct argument argument[6];
  u64 count;
};
// By attach cookie.
BPF_F_TABLE("array", u32, struct site, sites, 4096, 0);

static __always_inline struct site *get_site(struct pt_regs *ctx) {
  u32 cookie = bpf_get_attach_cookie(ctx);
  return sites.lookup(&cookie);
}

static __always_inline int on(struct config *c) {
  return (c->want[PROGRAM_USDT] & WANT_ACTIVE) && traced(c);
}

static __always_inline u64 read_register(struct pt_regs *ctx, u32 place) {
  u64 value = 0;
  bpf_probe_read_kernel(&value, sizeof(value), (void *)ctx + (place & 255));
  return value;
}

static __always_inline u64 argument(struct pt_regs *ctx, struct site *site, u32 n) {
  struct argument *a = &site->argument[n];
  u64 value = a->value;
  if (n >= site->count) return 0;
  if (a->kind != ARGUMENT_CONSTANT) {
    u64 base = read_register(ctx, a->place);
    if (a->kind == ARGUMENT_MEMORY) {
      if (a->scale) base += read_register(ctx, a->index) * a->scale;
      base += a->value;
      value = 0;
      u32 bytes = a->bits >> 3;
      if (bytes > sizeof(value)) bytes = sizeof(value);
      bpf_probe_read_user(&value, bytes, (void *)base);
    } else {
      value = base;
    }
  }
  u32 unused = (64 - a->bits) & 63;
  return a->negative ? (u64)((s64)(value << unused) >> unused) : value << unused >> unused;
}

// `depth` without the holes on top.
static __always_inline u64 without_holes(struct thread_spans *t, u64 depth) {
#pragma clang loop unroll(disable)
  for (u32 i = 0; i < SPAN_DEPTH; i++) {
    if (!depth || t->open[(depth - 1) & (SPAN_DEPTH - 1)].span_id) break;
    depth--;
  }
  asm volatile("" : "+r"(depth));
  return depth;
}

// Takes a span off the stack of the thread that runs; says since when it was entered, 0: it isn't there.
static __always_inline u64 take_own(struct thread_spans *t, u64 span_id) {
  u64 depth = without_holes(t, t->depth), found = SPAN_DEPTH;
  t->depth = depth;
  if (!depth) return 0;
  struct open_span *top = &t->open[(depth - 1) & (SPAN_DEPTH - 1)];
  if (top->span_id == span_id) {
    u64 since = top->entered;
    t->depth = without_holes(t, depth - 1);
    return since;
  }
#pragma clang loop unroll(disable)
  for (u32 i = 0; i < SPAN_DEPTH; i++) {  // without jumps, for the verifier
    u64 here = is_zero(t->open[i & (SPAN_DEPTH - 1)].span_id ^ span_id) & below(i, depth);
    found = (found & ~here) | (i & here);
  }
  if (found >= SPAN_DEPTH) return 0;
  u64 entered = t->open[found & (SPAN_DEPTH - 1)].entered;
#pragma clang loop unroll(disable)
  for (u32 i = 0; i < SPAN_DEPTH - 1; i++) {
    u64 from = i + 1 + below(i, found);
    asm volatile("" : "+r"(from));
    t->open[i & (SPAN_DEPTH - 1)] = t->open[from & (SPAN_DEPTH - 1)];
  }
  t->depth = depth - 1;
  count_span(SPAN_OUT_OF_ORDER);
  return entered;
}

// The same on the stack of another thread, which may be using it: each change is one that it can't undo.
static __always_inline u64 take_foreign(struct thread_spans *t, u64 span_id) {
  u64 entered = 0;
#pragma clang loop unroll(disable)
  for (u32 i = 0; i < SPAN_DEPTH; i++) {
    struct open_span *one = &t->open[i & (SPAN_DEPTH - 1)];
    if (i >= t->depth) break;
    if (one->span_id != span_id) continue;
    entered = one->entered;
    if (__sync_val_compare_and_swap(&one->span_id, span_id, 0) == span_id) break;
    entered = 0;
  }
  if (!entered) return 0;
  u64 depth = t->depth, left = without_holes(t, depth);
  __sync_val_compare_and_swap(&t->depth, depth, left);
  count_span(SPAN_MIGRATED);
  return entered;
}

// The span is left; says since when it was entered, 0: it wasn't.
static __always_inline u64 take(struct thread_spans *t, struct span_state *s, u64 span_id, u32 pid) {
  u64 entered = t ? take_own(t, span_id) : 0;
  if (entered || !s) return entered;
  if (s->deep) {
    entered = s->deep;
    s->deep = 0;
    return entered;
  }
  u32 other = s->pid;
  if (other == pid) return 0;
  struct thread_spans *there = thread_spans.lookup(&other);
  return there ? take_foreign(there, span_id) : 0;
}

static __always_inline int put(u32 pid, u64 span_id, u64 now, u32 born) {
  struct thread_spans *t = thread_spans.lookup(&pid);
  if (!t) {
    u32 zero = 0;
    struct thread_spans *none = no_spans.lookup(&zero);
    if (none) thread_spans.update(&pid, none);
    t = thread_spans.lookup(&pid);
    if (!t) {
      count_span(SPAN_THREADS_FULL);
      return 0;
    }
  }
  u64 depth = without_holes(t, t->depth);
  if (t->awaits_of == span_id) t->awaits_of = 0;
  if (depth >= SPAN_DEPTH) {
    count_span(SPAN_TOO_DEEP);
    return 0;
  }
  struct open_span *one = &t->open[depth & (SPAN_DEPTH - 1)];
  one->span_id = 0;  // none is seen half written
  asm volatile("" ::: "memory");
  one->entered = now;
  one->born = born;
  t->depth = depth + 1;
  asm volatile("" ::: "memory");
  one->span_id = span_id;
  return 1;
}

// Two records of the events ring in one: a reservation, a head, no way to lose half of it.
struct span_opened {
  struct event span;
  u64 head;  // where the second one's would be: neither busy nor discarded
  u64 name[8];
  u8 rest[__builtin_offsetof(struct event, kind) - 64];
  u8 kind;
  u8 reserved[sizeof(struct event) - __builtin_offsetof(struct event, kind) - 1];
};

static __always_inline void tell(struct pt_regs *ctx, struct site *site, struct span_key *key,
                                 struct span_state *s, u64 now, u32 pid) {
  struct span_opened o = {};
  u64 name = argument(ctx, site, 4), told = argument(ctx, site, 5);
  u32 length = told;
  long got;
  o.span.time = now;
  o.span.kind = RECORD_SPAN;
  o.span.span_id = key->span_id;
  o.span.span_born = s->first;
  o.span.tgid = key->tgid;
  o.span.waker = key->image;
  o.span.pid = pid;
  o.span.word0 = argument(ctx, site, 2);
  o.span.word1 = argument(ctx, site, 1);
  o.span.amount = s->amount;
  o.span.flags = s->flags;
  o.kind = RECORD_NAME;
  if (site->count > 5) {
    o.span.state = length;
    if (length > NAME_BYTES) length = NAME_BYTES;
    asm volatile("" : "+r"(length));  // the mask below is for the verifier
    got = bpf_probe_read_user(o.name, length & NAME_BYTES, (void *)name);
  } else {
    o.span.state = ~0;
    got = bpf_probe_read_user_str(o.name, SHORT_NAME + 1, (void *)name);
  }
  if (got < 0) count_span(SPAN_BAD_NAME);
  if (events.ringbuf_output(&o, sizeof(o), NO_WAKEUP)) {
    count_span(SPAN_UNNAMED);
  } else {
    s->told = 1;
  }
}

// A span of id 0 could not be told from none.
static __always_inline int no_id(void) {
  count_span(SPAN_NO_ID);
  return 0;
}

int span_enter_probe(struct pt_regs *ctx) {
  struct config *c = get_config();
  struct site *site = get_site(ctx);
  if (!c || !site || !on(c)) return 0;
  u64 id = bpf_get_current_pid_tgid(), now = bpf_ktime_get_ns();
  u32 pid = id;
  struct span_key key = {};
  key.tgid = id >> 32;
  key.image = current_image();
  key.span_id = argument(ctx, site, 0);
  if (!key.span_id) return no_id();
  struct span_state *s = open_spans.lookup(&key);
  if (!s) {
    struct span_state new = {};
    new.first = now;
    if (argument(ctx, site, 5) >> SEEN_BEFORE) new.flags = EVENT_SINCE_SEEN;
    open_spans.update(&key, &new);
    s = open_spans.lookup(&key);
    if (!s) {
      count_span(SPAN_NO_ROOM);
      return 0;
    }
  }
  s->amount = argument(ctx, site, 3);
  if (!s->told) tell(ctx, site, &key, s, now, pid);
  s->pid = pid;
  __sync_fetch_and_add(&s->enters, 1);
  __sync_fetch_and_add(&s->inside, 1);
  if (!put(pid, key.span_id, now, s->first)) s->deep = now;
  return 0;
}

static __always_inline int on_span_exit(struct pt_regs *ctx, int stack) {
  struct config *c = get_config();
  struct site *site = get_site(ctx);
  if (!c || !site || !on(c)) return 0;
  u64 id = bpf_get_current_pid_tgid(), now = bpf_ktime_get_ns();
  u32 pid = id;
  struct span_key key = {};
  struct event e = {};
  key.tgid = id >> 32;
  key.image = current_image();
  key.span_id = argument(ctx, site, 0);
  if (!key.span_id) return no_id();
  struct span_state *s = open_spans.lookup(&key);
  struct thread_spans *t = thread_spans.lookup(&pid);
  u64 entered = take(t, s, key.span_id, pid);
  if (!entered) {
    count_span(SPAN_UNMATCHED_EXIT);
    return 0;
  }
  e.time = now;
  e.duration = now - entered;
  e.kind = KIND_TRACE_EXIT;
  e.tgid = key.tgid;
  e.pid = pid;
  e.cpu = bpf_get_smp_processor_id();
  e.span_id = key.span_id;
  if (s) {
    e.amount = s->amount;
    e.flags = s->flags;
    e.span_born = s->first;
    __sync_fetch_and_add(&s->busy, e.duration);
    __sync_fetch_and_add(&s->inside, -1);
  }
  u32 want = stack ? c->want[PROGRAM_USDT] & (WANT_USER | WANT_KERNEL) : 0;
  if (t && t->awaits_of == key.span_id) {
    e.ustack = t->awaits;
    e.flags |= t->awaits_flags;
    t->awaits_of = 0;
    want = 0;
  }
  struct work *w = want ? get_work(SLOT_USDT) : 0;
  if (!w || w->taken) {
    if (w) count_span(SPAN_NO_WORK);
    emit(&e);
    return 0;
  }
  w->taken = 1;
  enter(w, SLOT_USDT);
  w->event = e;
  w->want = want;
  if ((want & WANT_USER) && begin_walk(0, c, w)) probe_programs.call(ctx, TAIL_UNWIND);
  probe_programs.call(ctx, TAIL_FINISH);
  leave(w);
  return 0;
}

int span_exit_probe(struct pt_regs *ctx) { return on_span_exit(ctx, 0); }
int span_exit_stack_probe(struct pt_regs *ctx) { return on_span_exit(ctx, 1); }

int span_close_probe(struct pt_regs *ctx) {
  struct config *c = get_config();
  struct site *site = get_site(ctx);
  if (!c || !site || !on(c)) return 0;
  u64 id = bpf_get_current_pid_tgid(), now = bpf_ktime_get_ns();
  u32 pid = id;
  struct span_key key = {};
  struct event e = {};
  key.tgid = id >> 32;
  key.image = current_image();
  key.span_id = argument(ctx, site, 0);
  if (!key.span_id) return no_id();
  e.time = now;
  e.tgid = key.tgid;
  e.pid = pid;
  e.cpu = bpf_get_smp_processor_id();
  e.span_id = key.span_id;
  struct span_state *s = open_spans.lookup(&key);
  if (!s) {  // it gave way to others, or was never entered: user space knows which
    e.kind = RECORD_UNKNOWN_CLOSE;
    if (events.ringbuf_output(&e, sizeof(e), NO_WAKEUP)) count_span(SPAN_UNKNOWN_CLOSE);
    return 0;
  }
  if (s->inside) {  // closed without having been left
    u64 entered = take(thread_spans.lookup(&pid), s, key.span_id, pid);
    if (entered) s->busy += now - entered;
  }
  e.kind = KIND_TRACE_CLOSE;
  e.duration = now - s->first;
  e.span_born = s->first;
  e.amount = s->amount;
  e.word0 = s->busy;
  e.state = s->enters;
  e.flags = s->flags;
  emit(&e);
  open_spans.delete(&key);
  return 0;
}

// The await chain of a task, before its step ends: a stack of the exit that follows.
int span_awaits_probe(struct pt_regs *ctx) {
  struct config *c = get_config();
  struct site *site = get_site(ctx);
  struct work *w = get_work(SLOT_USDT);
  if (!c || !site || !w || !on(c)) return 0;
  u64 who = bpf_get_current_pid_tgid(), span_id = argument(ctx, site, 0);
  u64 text = argument(ctx, site, 1), length = argument(ctx, site, 2);
  u32 pid = who, bytes = length < AWAITS_BYTES ? length : AWAITS_BYTES, words = (bytes + 7) / 8;
  struct thread_spans *t = thread_spans.lookup(&pid);
  if (!span_id) return no_id();
  if (!t || !words) return 0;  // it is in no span that is known, so no exit will be told
  if (w->taken) {
    count_span(SPAN_NO_WORK);
    return 0;
  }
  w->taken = 1;
  enter(w, SLOT_USDT);
  begin_event(&w->event, KIND_TRACE_EXIT, bpf_ktime_get_ns());
  w->frames[(words - 1) & (AWAITS_BYTES / 8 - 1)] = 0;
  bytes--;
  asm volatile("" : "+r"(bytes));
  if (bpf_probe_read_user(w->frames, (bytes & (AWAITS_BYTES - 1)) + 1, (void *)text)) {
    count_span(SPAN_BAD_NAME);
    leave(w);
    return 0;
  }
  w->kernel = words;
  w->hash = bytes;
  hash_frames(w, 0, &w->kernel, AWAITS_BYTES / 8);
  u8 last = ((u8 *)w->frames)[bytes & (AWAITS_BYTES - 1)];
  u32 status = last == '\n' ? STACK_COMPLETE : STACK_CUT;  // each whole frame is a line
  u64 awaits = publish(w, w->hash, words, 0, status, STACK_AWAITS, KIND_TRACE_EXIT);
  t->awaits = awaits;
  t->awaits_flags = status == STACK_CUT ? EVENT_USER_TRUNCATED : 0;
  t->awaits_of = span_id;
  leave(w);
  return 0;
}
