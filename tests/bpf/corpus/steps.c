// Stops after every single instruction of some calls (the trap flag), and takes the stack from there:
// what lies between a function's first and last instruction, in code of all kinds.
#define _GNU_SOURCE
#include "corpus.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <ucontext.h>

static volatile int stepping, steps;

static void on_step(int number) {
  (void)number;
  if (stepping && steps++ < 1500) mark();
}

#define STEP(call)                                                   \
  do {                                                               \
    steps = 0;                                                       \
    stepping = 1;                                                    \
    asm volatile("pushfq; orl $0x100, (%%rsp); popfq" ::: "memory"); \
    call;                                                            \
    asm volatile("pushfq; andl $~0x100, (%%rsp); popfq" ::: "memory"); \
    stepping = 0;                                                    \
  } while (0)

static int by_value(const void *a, const void *b) { return *(const int *)a - *(const int *)b; }

APART static int leaf(int a, int b) {
  int room[100];
  opaque(room);
  return a * b + room[3];
}
APART static int aligned(int a) {
  char room[64] __attribute__((aligned(64)));
  opaque(room);
  return leaf(a, room[0]) + 1;
}

int main(int argc, char **argv) {
  struct timespec now;
  char text[64];
  int values[4] = {3, 1, 2, 0};
  corpus_begin(argc, argv);
  struct sigaction action = {.sa_handler = on_step};
  sigaction(SIGTRAP, &action, NULL);
  STEP(aligned(argc));
#ifdef LAZY
  STEP(strtol("12", NULL, 10));  // bound by this very call
#else
  STEP(clock_gettime(CLOCK_MONOTONIC, &now));
  STEP(qsort(values, 4, sizeof(*values), by_value));
  STEP(snprintf(text, sizeof(text), "%d", argc));
#endif
  opaque(text);
  opaque(&now);
  opaque(values);
  corpus_end();
  return 0;
}
