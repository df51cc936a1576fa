/* Writes of one byte to /dev/null, so many a second, from a few different functions. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#define NOINLINE __attribute__((noinline))

static int out;

static NOINLINE void put(void) {
  if (write(out, "x", 1) != 1) abort();
}
static NOINLINE void log_line(void) { put(); }
static NOINLINE void log_error(void) { put(); }
static NOINLINE void flush_cache(void) { log_line(); }
static NOINLINE void serve(int at) {
  if (at % 3 == 0) log_line();
  else if (at % 3 == 1) log_error();
  else flush_cache();
}

int main(int argc, char **argv) {
  long per_second = argc > 1 ? atol(argv[1]) : 0;
  struct timespec next;
  out = open("/dev/null", O_WRONLY);
  clock_gettime(CLOCK_MONOTONIC, &next);
  for (;;) {
    for (long at = 0; at < per_second / 200; at++) serve((int)at);
    next.tv_nsec += 5000000;
    if (next.tv_nsec >= 1000000000) next.tv_nsec -= 1000000000, next.tv_sec++;
    clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &next, 0);
  }
}
