// busy CPU SECONDS alone|flooded: one thread always busy on a CPU; flooded: beside one that writes and switches.
#include "truth.h"
#include <pthread.h>

static volatile int done;
static pid_t flooding;

__attribute__((noinline)) static u64 burn(u64 until_ns) {
  u64 x = 1, rounds = 0;
  while (now_ns(CLOCK_MONOTONIC) < until_ns) {
    for (int i = 0; i < 20000; i++) x = x * 6364136223846793005ull + 1;
    rounds += x & 1;
  }
  return rounds;
}

static void *flood(void *unused) {
  (void)unused;
  flooding = thread_id();
  int fd = open("/dev/null", O_WRONLY | O_CLOEXEC);
  struct timespec moment = {0, 1};
  while (!done) {
    for (int i = 0; i < 20; i++)
      if (write(fd, "x", 1) != 1) err(1, "write");
    nanosleep(&moment, NULL);
  }
  return NULL;
}

int main(int argc, char **argv) {
  if (truth_begin(argc, argv) != 4) errx(2, "usage: busy CPU SECONDS alone|flooded --truth FILE");
  claim_cpu(atoi(argv[1]));
  pthread_t thread;
  int flooded = !strcmp(argv[3], "flooded");
  if (flooded && pthread_create(&thread, NULL, flood, NULL)) errx(1, "no thread");
  spin_ns(50000000);
  u64 begin = now_ns(CLOCK_MONOTONIC), all = now_ns(CLOCK_PROCESS_CPUTIME_ID), own = now_ns(CLOCK_THREAD_CPUTIME_ID);
  u64 rounds = burn(begin + (u64)(atof(argv[2]) * 1e9));
  u64 end = now_ns(CLOCK_MONOTONIC);
  all = now_ns(CLOCK_PROCESS_CPUTIME_ID) - all;
  own = now_ns(CLOCK_THREAD_CPUTIME_ID) - own;
  spin_ns(50000000);
  done = 1;
  if (flooded) pthread_join(thread, NULL);
  tell_number("tid", thread_id());
  tell_number("flooding", flooding);
  tell_number("begin_ns", begin);
  tell_number("end_ns", end);
  tell_number("process_cpu_ns", all);
  tell_number("thread_cpu_ns", own);
  tell_number("rounds", rounds);
  truth_end();
  return 0;
}
