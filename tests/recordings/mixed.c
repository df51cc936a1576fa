/* A program with several troubles at once, each in functions that bear its name. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define NOINLINE __attribute__((noinline))

static pthread_mutex_t ledger_lock = PTHREAD_MUTEX_INITIALIZER;
static volatile int done;
static volatile double sink;

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec + t.tv_nsec * 1e-9;
}

static NOINLINE void spin(double seconds) {
  double end = now() + seconds;
  while (now() < end)
    for (int i = 1; i < 2000; i++) sink += 1.0 / i;
}

static NOINLINE void multiply_matrix(void) { for (int i = 1; i < 400000; i++) sink += sink / i; }
static NOINLINE void factorize(void) { for (int i = 1; i < 150000; i++) sink -= 1.0 / i; }
static NOINLINE void solve_system(void) { multiply_matrix(); factorize(); }

static void *number_cruncher(void *arg) {
  pthread_setname_np(pthread_self(), "cruncher");
  while (!done) solve_system();
  return arg;
}

static NOINLINE void post_to_ledger(void) {
  pthread_mutex_lock(&ledger_lock);
  spin(0.008);
  pthread_mutex_unlock(&ledger_lock);
}

static void *bookkeeper(void *arg) {
  pthread_setname_np(pthread_self(), "bookkeeper");
  while (!done) {
    post_to_ledger();
    usleep(100);
  }
  return arg;
}

static NOINLINE void log_one_byte(int fd) {
  if (write(fd, "x", 1) != 1) abort();
}

static void *chatty_logger(void *arg) {
  pthread_setname_np(pthread_self(), "logger");
  int fd = open("/dev/null", O_WRONLY);
  while (!done) {
    for (int i = 0; i < 20; i++) log_one_byte(fd);
    usleep(4000);
  }
  close(fd);
  return arg;
}

static NOINLINE void cache_and_never_free(void) {
  char *page = mmap(0, 1 << 20, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  memset(page, 1, 1 << 20);
}

static void *leaky_cache(void *arg) {
  pthread_setname_np(pthread_self(), "cache");
  while (!done) {
    cache_and_never_free();
    usleep(60000);
  }
  return arg;
}

static NOINLINE void wait_for_request(int fd, char *byte) {
  if (read(fd, byte, 1) < 0) abort();
}

static int ends[2];

static void *server(void *arg) {
  pthread_setname_np(pthread_self(), "server");
  char byte = 0;
  while (byte != 'q') wait_for_request(ends[0], &byte);
  return arg;
}

int main(int argc, char **argv) {
  double seconds = argc > 1 ? atof(argv[1]) : 4;
  void *(*work[])(void *) = {number_cruncher, bookkeeper, bookkeeper, chatty_logger, leaky_cache, server};
  pthread_t threads[6];
  if (pipe(ends)) return 1;
  for (int i = 0; i < 6; i++) pthread_create(&threads[i], 0, work[i], 0);
  double end = now() + seconds;
  while (now() < end) {
    usleep(20000);
    if (write(ends[1], "r", 1) != 1) return 1;
  }
  done = 1;
  if (write(ends[1], "q", 1) != 1) return 1;
  for (int i = 0; i < 6; i++) pthread_join(threads[i], 0);
  return 0;
}
