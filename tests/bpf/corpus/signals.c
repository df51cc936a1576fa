// Handlers: in the middle of anything, nested, on another stack.
#define _GNU_SOURCE
#include "corpus.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/time.h>
#include <ucontext.h>
#include <unistd.h>

static volatile sig_atomic_t left, sink;
static char other_stack[1 << 16];

static void nested(int number) {
  (void)number;
  mark();
}
static void outer(int number) {
  (void)number;
  mark();
  raise(SIGUSR2);
  mark();
}
static void timer(int number) {
  (void)number;
  if (left > 0) {
    left--;
    mark();
  }
}

static void handle(int number, void (*handler)(int), int flags) {
  struct sigaction action = {.sa_handler = handler, .sa_flags = flags};
  sigaction(number, &action, NULL);
}

static int by_value(const void *a, const void *b) { return *(const int *)a - *(const int *)b; }

APART static int work(int depth) {
  char text[64];
  int values[256];
  if (depth) return work(depth - 1) + 1;
  for (int i = 0; i < 256; i++) values[i] = rand();
  qsort(values, 256, sizeof(*values), by_value);
  memset(text, sink, sizeof(text));
  free(malloc(values[3] % 5000));
  return text[0] + values[0];
}

#ifdef FAULT
static int (*volatile nowhere)(void);
APART static int call(void) {
  int found = nowhere();
  STAY;
  return found;
}
// A call to nowhere: from here it goes back as if it had returned.
static void repair(int number, siginfo_t *info, void *context) {
  (void)number;
  (void)info;
  mark();
  long long *registers = ((ucontext_t *)context)->uc_mcontext.gregs;
  registers[REG_RIP] = *(long long *)registers[REG_RSP];
  registers[REG_RSP] += 8;
}
#endif

int main(int argc, char **argv) {
  corpus_begin(argc, argv);
  handle(SIGUSR1, outer, 0);
  handle(SIGUSR2, nested, 0);
  raise(SIGUSR1);
  stack_t other = {.ss_sp = other_stack, .ss_size = sizeof(other_stack)};
  sigaltstack(&other, NULL);
  handle(SIGUSR1, outer, SA_ONSTACK);
  handle(SIGUSR2, nested, SA_ONSTACK);
  raise(SIGUSR1);
  kill(getpid(), SIGUSR1);
  for (int round = 0; round < 2; round++) {
    handle(SIGPROF, timer, round ? SA_ONSTACK : 0);
    left = 200;
    setitimer(ITIMER_PROF, &(struct itimerval){{0, 1000}, {0, 1000}}, NULL);
    while (left) sink += work(5);
  }
#ifdef FAULT
  struct sigaction action = {.sa_sigaction = repair, .sa_flags = SA_SIGINFO};
  sigaction(SIGSEGV, &action, NULL);
  call();
#endif
  signal(SIGPROF, SIG_IGN);
  corpus_end();
  return 0;
}
