// sdt_spans --truth FILE: spans by the macros of systemtap's <sys/sdt.h>, as other programs have them.
//
// Built with -DSEMAPHORES, each probe has a counter of its listeners. It begins when its input ends or has
// a line, so that a listener can come before. The truth is that of noted.h; "heard": counters that are up.
#ifdef SEMAPHORES
#define _SDT_HAS_SEMAPHORES 1
#define COUNTER(name) __extension__ unsigned short stacks_tracing_##name##_semaphore __attribute__((section(".probes")))
COUNTER(enter);
COUNTER(exit);
COUNTER(exit_stack);
COUNTER(close);
#endif
#include "noted.h"
#include <sys/sdt.h>

enum { SITES = 4, CONSTANT_ID = 7, CONSTANT_AMOUNT = 123456 };

// Where the compiler leaves arguments is up to this constraint, which the header reads at each use.
#undef STAP_SDT_ARG_CONSTRAINT
#define STAP_SDT_ARG_CONSTRAINT r
static void __attribute__((noinline)) enter_registers(const struct noted *n) {
  STAP_PROBE5(stacks_tracing, enter, n->span_id, n->parent_id, n->id, n->amount, n->name);
}

#undef STAP_SDT_ARG_CONSTRAINT
#define STAP_SDT_ARG_CONSTRAINT m
static void __attribute__((noinline)) enter_memory(const struct noted *n) {
  volatile u64 amount = n->amount;
  STAP_PROBE5(stacks_tracing, enter, n->span_id, n->parent_id, n->id, amount, n->name);
}

#undef STAP_SDT_ARG_CONSTRAINT
#define STAP_SDT_ARG_CONSTRAINT nor
static void __attribute__((noinline)) enter_constants(const struct noted *n) {
  STAP_PROBE5(stacks_tracing, enter, n->span_id, n->parent_id, CONSTANT_ID, CONSTANT_AMOUNT, n->name);
}

static u64 global_id;
static struct {
  u64 before, amount;
} global;
static void __attribute__((noinline)) enter_globals(const struct noted *n) {
  STAP_PROBE5(stacks_tracing, enter, n->span_id, n->parent_id, global_id, global.amount, n->name);
}

static void (*const enters[SITES])(const struct noted *) = {enter_registers, enter_memory, enter_constants,
                                                             enter_globals};

static void begin(void (*enter)(const struct noted *), struct noted *n) {
  note_enter(n);
  enter(n);
}
static void end(struct noted *n, int with_stack) {
  if (with_stack) STAP_PROBE1(stacks_tracing, exit_stack, n->span_id);
  else STAP_PROBE1(stacks_tracing, exit, n->span_id);
  note_exit(n);
}
static void end_for_good(struct noted *n) {
  STAP_PROBE1(stacks_tracing, close, n->span_id);
  note_close(n);
  tell_span(n);
}

int main(int argc, char **argv) {
  static char names[SITES][32] = {"in registers", "in memory", "constants", "globals"}, outer_name[32] = "outer";
  char line[16];
  truth_begin(argc, argv);
  null_fd = open("/dev/null", O_WRONLY | O_CLOEXEC);
  if (read(STDIN_FILENO, line, sizeof(line)) < 0) err(1, "standard input");
  tell_begin("spans", '[');
  struct noted outer = {.span_id = 1000, .amount = 5, .name = outer_name, .name_length = strlen(outer_name),
                        .tgid = getpid()};
  begin(enter_registers, &outer);
  for (int site = 0; site < SITES; site++) {
    struct noted n = {.span_id = 1 + site, .parent_id = outer.span_id, .id = 100 + site, .amount = UINT64_MAX - site,
                      .name = names[site], .name_length = strlen(names[site]), .tgid = getpid()};
    if (enters[site] == enter_constants) n.id = CONSTANT_ID, n.amount = CONSTANT_AMOUNT;
    global_id = n.id, global.amount = n.amount;
    for (int again = 0; again < 3; again++) {
      begin(enters[site], &n);
      noted_write(&n, 100 * site + again + 1);
      spin_ns(1000000);
      end(&n, site % 2);
    }
    end_for_good(&n);
  }
  noted_write(&outer, 9);
  end(&outer, 0);
  end_for_good(&outer);
  tell_end(']');
#ifdef SEMAPHORES
  tell_number("heard", !!stacks_tracing_enter_semaphore + !!stacks_tracing_exit_semaphore +
                           !!stacks_tracing_exit_stack_semaphore + !!stacks_tracing_close_semaphore);
#endif
  truth_end();
}
