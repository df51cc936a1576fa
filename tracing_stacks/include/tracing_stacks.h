/* Spans for C (gnu99 and later) and C++ (11 and later), seen by a recorder from outside the process.
 *
 *     #include "tracing_stacks.h"
 *
 *     void checkout(uint64_t order, uint64_t bytes) {
 *         TRACING_STACKS_SPAN("checkout", order, bytes);      // until the end of this block
 *         …
 *     }
 *
 * In C++ the same, or  tracing_stacks::span span{"checkout", order, bytes};
 * Where one block does not hold the whole of it: tracing_stacks_open, _enter, _exit, _close.
 *
 * Linux on x86-64 and arm64; elsewhere nothing happens. Nothing to link, no sys/sdt.h.
 *
 * Five USDT probes of the provider stacks_tracing, each guarded by a semaphore that the kernel counts
 * up while somebody listens. A probe is one function of one nop, shared by all files of a program: its
 * arguments are where a call puts them, and there is one place to attach to. The nop has one byte,
 * for Linux 6.18 turns a probed 5-byte nop into a call whose target forked children lack. */
#pragma once
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <time.h>

#ifdef __cplusplus
#define TRACING_STACKS_C extern "C"
#else
#define TRACING_STACKS_C extern
#endif
#define TRACING_STACKS_HIDDEN __attribute__((visibility("hidden")))
#define TRACING_STACKS_UNUSED __attribute__((unused))

#if defined(__linux__) && defined(__x86_64__) && defined(__LP64__)
#define TRACING_STACKS_ONE "8@%rdi"
#define TRACING_STACKS_THREE "8@%rdi 8@%rsi 8@%rdx"
#define TRACING_STACKS_SIX "8@%rdi 8@%rsi 8@%rdx 8@%rcx 8@%r8 8@%r9"
#elif defined(__linux__) && defined(__aarch64__) && defined(__LP64__)
#define TRACING_STACKS_ONE "8@x0"
#define TRACING_STACKS_THREE "8@x0 8@x1 8@x2"
#define TRACING_STACKS_SIX "8@x0 8@x1 8@x2 8@x3 8@x4 8@x5"
#endif

#ifdef TRACING_STACKS_ONE
/* tracing_stacks_fire_NAME and tracing_stacks_NAME_semaphore, with the note that describes them (the
 * format is https://sourceware.org/systemtap/wiki/UserSpaceProbeImplementation). The group makes the
 * linker keep one of each; .ifndef does so where LTO assembles several files as one.
 *
 * Semaphores begin a page. Some linkers (lld) put a segment's end and the next one's begin into one page of
 * the file, which is then mapped twice: the kernel would count in the copy that nobody reads. */
#define TRACING_STACKS_PROBE(name, semaphore_alignment, arguments)                        \
  __asm__(".ifndef tracing_stacks_fire_" #name "\n"                                       \
          ".pushsection .text.tracing_stacks_" #name                                      \
          ",\"axG\",%progbits,tracing_stacks_" #name ",comdat\n"                          \
          ".weak tracing_stacks_fire_" #name "\n"                                         \
          ".hidden tracing_stacks_fire_" #name "\n"                                       \
          ".type tracing_stacks_fire_" #name ", %function\n"                              \
          "tracing_stacks_fire_" #name ":\n"                                              \
          ".cfi_startproc\n"                                                              \
          "990: nop\n"                                                                    \
          "ret\n"                                                                         \
          ".cfi_endproc\n"                                                                \
          ".size tracing_stacks_fire_" #name ", . - tracing_stacks_fire_" #name "\n"      \
          ".pushsection .note.stapsdt,\"?\",\"note\"\n"                                   \
          ".balign 4\n"                                                                   \
          ".4byte 992f-991f, 994f-993f, 3\n"                                              \
          "991: .asciz \"stapsdt\"\n"                                                     \
          "992: .balign 4\n"                                                              \
          "993: .8byte 990b\n"                                                            \
          ".8byte _.stapsdt.base\n"                                                       \
          ".8byte tracing_stacks_" #name "_semaphore\n"                                   \
          ".asciz \"stacks_tracing\"\n"                                                   \
          ".asciz \"" #name "\"\n"                                                        \
          ".asciz \"" arguments "\"\n"                                                    \
          "994: .balign 4\n"                                                              \
          ".popsection\n"                                                                 \
          ".popsection\n"                                                                 \
          ".pushsection .probes,\"awG\",%progbits,tracing_stacks_" #name ",comdat\n"      \
          ".balign " #semaphore_alignment "\n"                                            \
          ".weak tracing_stacks_" #name "_semaphore\n"                                    \
          ".hidden tracing_stacks_" #name "_semaphore\n"                                  \
          ".type tracing_stacks_" #name "_semaphore, %object\n"                           \
          ".size tracing_stacks_" #name "_semaphore, 2\n"                                 \
          "tracing_stacks_" #name "_semaphore: .2byte 0\n"                                \
          ".popsection\n"                                                                 \
          ".endif\n"                                                                      \
          ".ifndef _.stapsdt.base\n"                                                      \
          ".pushsection .stapsdt.base,\"aG\",%progbits,.stapsdt.base,comdat\n"            \
          ".weak _.stapsdt.base\n"                                                        \
          ".hidden _.stapsdt.base\n"                                                      \
          "_.stapsdt.base: .space 1\n"                                                    \
          ".size _.stapsdt.base, 1\n"                                                     \
          ".popsection\n"                                                                 \
          ".endif\n");                                                                    \
  TRACING_STACKS_C TRACING_STACKS_HIDDEN volatile uint16_t tracing_stacks_##name##_semaphore;
#define TRACING_STACKS_LISTENED(name) __builtin_expect(tracing_stacks_##name##_semaphore != 0, 0)
#define TRACING_STACKS_FIRE(name, parameters) \
  TRACING_STACKS_C TRACING_STACKS_HIDDEN void tracing_stacks_fire_##name parameters;
#else
#define TRACING_STACKS_SIX
#define TRACING_STACKS_PROBE(name, semaphore_alignment, arguments)
#define TRACING_STACKS_LISTENED(name) 0
#define TRACING_STACKS_FIRE(name, parameters) \
  TRACING_STACKS_UNUSED static inline void tracing_stacks_fire_##name parameters {}
#endif

TRACING_STACKS_PROBE(enter, 4096, TRACING_STACKS_SIX)
TRACING_STACKS_PROBE(exit, 2, TRACING_STACKS_ONE)
TRACING_STACKS_PROBE(exit_stack, 2, TRACING_STACKS_ONE)
TRACING_STACKS_PROBE(close, 2, TRACING_STACKS_ONE)
TRACING_STACKS_PROBE(awaits, 2, TRACING_STACKS_THREE)

/* `name` points to 16 readable bytes at least; see TRACING_STACKS_ENTERED for `name_length`. */
TRACING_STACKS_FIRE(enter, (uint64_t span_id, uint64_t parent_id, uint64_t id, uint64_t amount,
                            const char *name, uint64_t name_length))
TRACING_STACKS_FIRE(exit, (uint64_t span_id))
TRACING_STACKS_FIRE(exit_stack, (uint64_t span_id))
TRACING_STACKS_FIRE(close, (uint64_t span_id))
/* Where a task is suspended, innermost first, a line each: qualified name, tab, file, tab, line. Of
 * a chain that was cut the last line has no end. */
TRACING_STACKS_FIRE(awaits, (uint64_t span_id, const char *text, uint64_t length))

/* In `name_length`: this span has been entered before. A listener that has not seen it came late. */
#define TRACING_STACKS_ENTERED (UINT64_C(1) << 63)

#ifndef TRACING_STACKS_PROBES_ONLY
/* Spans that are open on a thread, for the parents of new ones; deeper than this the parent is the
 * deepest that is kept. */
#define TRACING_STACKS_DEPTH 32

struct tracing_stacks_thread {
  uint64_t next_id, last_id; /* a block of ids of its own: no atomic counter */
  uint32_t depth;
  uint64_t open[TRACING_STACKS_DEPTH]; /* 0: exited before the spans that it encloses */
};

TRACING_STACKS_C TRACING_STACKS_HIDDEN __thread struct tracing_stacks_thread tracing_stacks_thread;
#ifdef __cplusplus
extern "C" {
#endif
TRACING_STACKS_HIDDEN __attribute__((weak)) __thread struct tracing_stacks_thread tracing_stacks_thread;

typedef struct tracing_stacks_span {
  uint64_t span_id, parent_id, id, amount;
  const char *name; /* must outlive the span */
  struct tracing_stacks_thread *thread; /* where it is entered, or NULL */
  uint32_t name_length, depth;
  uint8_t exit_stack, entered;
} tracing_stacks_span;

/* Blocks of 2^24 ids begin at random places among 2^38, apart from what Python (from 2^48 up) and
 * Rust (small numbers) use, so that libraries of one process with a copy of this header each differ. */
TRACING_STACKS_UNUSED __attribute__((noinline, cold)) static void tracing_stacks_new_ids(
    struct tracing_stacks_thread *thread) {
  struct timespec now;
  clock_gettime(CLOCK_REALTIME, &now);
  uint64_t mixed = (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
  mixed ^= (uint64_t)(uintptr_t)thread * UINT64_C(0x9e3779b97f4a7c15) ^ thread->last_id << 20;
  mixed = (mixed ^ mixed >> 33) * UINT64_C(0xff51afd7ed558ccd);
  mixed = (mixed ^ mixed >> 33) * UINT64_C(0xc4ceb9fe1a85ec53);
  thread->next_id = UINT64_C(1) << 62 | mixed >> 26 << 24;
  thread->last_id = thread->next_id + (UINT64_C(1) << 24);
}

TRACING_STACKS_UNUSED __attribute__((noinline, cold)) static void tracing_stacks_tell_enter(
    const tracing_stacks_span *span) {
  char padded[16] = {0};
  const char *name = span->name;
  if (span->name_length < sizeof(padded))
    name = (const char *)memcpy(padded, name, span->name_length);
  __asm__ volatile("" ::"r"(name) : "memory");
  tracing_stacks_fire_enter(span->span_id, span->parent_id, span->id, span->amount, name,
                            span->name_length | (span->entered ? TRACING_STACKS_ENTERED : 0));
}

/* The span that is innermost on this thread, 0 for none. */
TRACING_STACKS_UNUSED static inline uint64_t tracing_stacks_current(void) {
  uint32_t depth = tracing_stacks_thread.depth;
  if (depth > TRACING_STACKS_DEPTH) depth = TRACING_STACKS_DEPTH;
  return depth ? tracing_stacks_thread.open[depth - 1] : 0;
}

/* A span that is not yet entered; its parent is the innermost one of this thread. */
TRACING_STACKS_UNUSED static inline tracing_stacks_span tracing_stacks_open(const char *name,
                                                                            uint64_t id,
                                                                            uint64_t amount) {
  struct tracing_stacks_thread *thread = &tracing_stacks_thread;
  tracing_stacks_span span;
  if (__builtin_expect(thread->next_id == thread->last_id, 0)) tracing_stacks_new_ids(thread);
  span.span_id = thread->next_id++;
  span.parent_id = tracing_stacks_current();
  span.id = id;
  span.amount = amount;
  span.name = name;
  span.thread = NULL;
  span.name_length = (uint32_t)strlen(name);
  span.depth = 0;
  span.exit_stack = span.entered = 0;
  return span;
}

/* What this thread does from now on is done in the span. Nothing if it is entered already. */
TRACING_STACKS_UNUSED static inline void tracing_stacks_enter(tracing_stacks_span *span) {
  struct tracing_stacks_thread *thread = &tracing_stacks_thread;
  if (span->thread) return;
  span->thread = thread;
  span->depth = thread->depth++;
  if (span->depth < TRACING_STACKS_DEPTH) thread->open[span->depth] = span->span_id;
  if (TRACING_STACKS_LISTENED(enter)) tracing_stacks_tell_enter(span);
  span->entered = 1;
}

/* The end of what _enter began, to be called on the same thread. A span may be entered again, there
 * or on another thread. */
TRACING_STACKS_UNUSED static inline void tracing_stacks_exit(tracing_stacks_span *span) {
  struct tracing_stacks_thread *thread = &tracing_stacks_thread;
  if (!span->thread) return;
  if (span->thread == thread && span->depth + 1 < thread->depth &&
      span->depth < TRACING_STACKS_DEPTH) {
    thread->open[span->depth] = 0;
  } else if (span->thread == thread) {
    thread->depth--;
    while (thread->depth && thread->depth <= TRACING_STACKS_DEPTH && !thread->open[thread->depth - 1])
      thread->depth--;
  }
  span->thread = NULL;
  if (span->exit_stack) {
    if (TRACING_STACKS_LISTENED(exit_stack)) tracing_stacks_fire_exit_stack(span->span_id);
  } else if (TRACING_STACKS_LISTENED(exit)) {
    tracing_stacks_fire_exit(span->span_id);
  }
}

/* The span is over. */
TRACING_STACKS_UNUSED static inline void tracing_stacks_close(tracing_stacks_span *span) {
  if (span->entered && TRACING_STACKS_LISTENED(close)) tracing_stacks_fire_close(span->span_id);
  span->entered = 0;
}

TRACING_STACKS_UNUSED static inline void tracing_stacks_end(tracing_stacks_span *span) {
  tracing_stacks_exit(span);
  tracing_stacks_close(span);
}
#ifdef __cplusplus
}

namespace tracing_stacks {
/* A span from here to the end of the block. */
class span {
 public:
  explicit span(const char *name, uint64_t id = 0, uint64_t amount = 0, bool exit_stack = false) noexcept
      : span_(tracing_stacks_open(name, id, amount)) {
    span_.exit_stack = exit_stack;
    tracing_stacks_enter(&span_);
  }
  ~span() { tracing_stacks_end(&span_); }
  span(const span &) = delete;
  span &operator=(const span &) = delete;
  uint64_t span_id() const noexcept { return span_.span_id; }

 private:
  tracing_stacks_span span_;
};
}  // namespace tracing_stacks
#endif

#define TRACING_STACKS_JOIN2(a, b) a##b
#define TRACING_STACKS_JOIN(a, b) TRACING_STACKS_JOIN2(a, b)
#ifdef __cplusplus
#define TRACING_STACKS_BLOCK(name, id, amount, exit_stack_) \
  ::tracing_stacks::span TRACING_STACKS_JOIN(tracing_stacks_of_line_, __LINE__) { name, id, amount, exit_stack_ }
#else
#define TRACING_STACKS_BLOCK(name_, id_, amount_, exit_stack_)                            \
  __attribute__((cleanup(tracing_stacks_end))) tracing_stacks_span TRACING_STACKS_JOIN(   \
      tracing_stacks_of_line_, __LINE__) = tracing_stacks_open(name_, id_, amount_);      \
  TRACING_STACKS_JOIN(tracing_stacks_of_line_, __LINE__).exit_stack = exit_stack_;        \
  tracing_stacks_enter(&TRACING_STACKS_JOIN(tracing_stacks_of_line_, __LINE__))
#endif
/* A span until the end of the block; _STACK: with the stack at that end. */
#define TRACING_STACKS_SPAN(name, id, amount) TRACING_STACKS_BLOCK(name, id, amount, 0)
#define TRACING_STACKS_SPAN_STACK(name, id, amount) TRACING_STACKS_BLOCK(name, id, amount, 1)
#endif /* TRACING_STACKS_PROBES_ONLY */
