// puppet: does as told by lines on stdin, says "done" on stdout after each, and is quiet in between.
//
//   write N    N writes of one byte           both N    N writes of two bytes, each after a read of three
//   switch N   N hand-overs between two threads on one CPU
// Static, so that it makes no call that it was not told to make.
#define _GNU_SOURCE
#include <err.h>
#include <fcntl.h>
#include <pthread.h>
#include <sched.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

static sem_t turn[2], finished;
static volatile long rounds;

static void *take_turns(void *argument) {
  long me = (long)argument, left = 0;
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(0, &set);
  sched_setaffinity(0, sizeof(set), &set);
  for (;;) {
    sem_wait(&turn[me]);
    if (!left) left = rounds;
    left--;
    if (me == 0 || left) sem_post(&turn[!me]);
    if (!left) sem_post(&finished);
  }
  return NULL;
}

int main(void) {
  char line[256], three[3];
  int null_fd = open("/dev/null", O_WRONLY | O_CLOEXEC), zero_fd = open("/dev/zero", O_RDONLY | O_CLOEXEC);
  pthread_t thread;
  sem_init(&turn[0], 0, 0);
  sem_init(&turn[1], 0, 0);
  sem_init(&finished, 0, 0);
  for (long i = 0; i < 2; i++)
    if (pthread_create(&thread, NULL, take_turns, (void *)i)) errx(1, "no thread");
  for (;;) {
    ssize_t n = read(0, line, sizeof(line) - 1);
    if (n <= 0) return 0;
    line[n] = 0;
    char *space = strchr(line, ' ');
    long count = space ? atol(space) : 0;
    if (!strncmp(line, "write", 5)) {
      for (long i = 0; i < count; i++)
        if (write(null_fd, line, 1) != 1) err(1, "write");
    } else if (!strncmp(line, "both", 4)) {
      for (long i = 0; i < count; i++)
        if (read(zero_fd, three, 3) != 3 || write(null_fd, three, 2) != 2) err(1, "read or write");
    } else if (!strncmp(line, "switch", 6) && count) {
      rounds = count;
      sem_post(&turn[0]);
      sem_wait(&finished);
      sem_wait(&finished);
    } else {
      errx(2, "no such order: %s", line);
    }
    if (write(1, "done\n", 5) != 5) err(1, "stdout");
  }
}
