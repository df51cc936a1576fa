// listening.c MODE N: N spans opened, entered, left and closed (spans), or N writes of a byte inside one
// span (inside) or in none (outside). Prints nanoseconds for each.
#include "tracing_stacks.h"
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1e9 + t.tv_nsec;
}

int main(int argc, char **argv) {
  long n = argc > 2 ? atol(argv[2]) : 1000000;
  char mode = argc > 1 ? argv[1][0] : 's';
  int null = open("/dev/null", O_WRONLY);
  tracing_stacks_span one = tracing_stacks_open("writes", 0, 0);
  if (mode == 'i') tracing_stacks_enter(&one);
  double began = now();
  for (long i = 0; i < n; i++) {
    if (mode == 's') {
      TRACING_STACKS_SPAN("one of many", i, 0);
    } else if (write(null, "", 1) != 1) {
      return 1;
    }
  }
  printf("%.1f\n", (now() - began) / n);
  if (mode == 'i') tracing_stacks_exit(&one);
}
