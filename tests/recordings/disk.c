/* A database that waits for its disk: a journal that is synced for every entry, and a backup. */
#define _GNU_SOURCE
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define NOINLINE __attribute__((noinline))
#define BLOCK (256 << 10)

static volatile int done;

static double now(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec + t.tv_nsec * 1e-9;
}

static int create(const char *name, int flags) {
  int fd = open(name, O_RDWR | O_CREAT | O_TRUNC | flags, 0600);
  if (fd < 0) perror(name), exit(1);
  unlink(name);
  return fd;
}

static NOINLINE void sync_journal(int fd) {
  if (write(fd, "entry\n", 6) != 6 || fdatasync(fd)) abort();
}

static void *committer(void *arg) {
  pthread_setname_np(pthread_self(), "committer");
  int fd = create("journal.tmp", 0);
  while (!done) {
    sync_journal(fd);
    usleep(20000);
  }
  return arg;
}

static NOINLINE void copy_block(int fd, void *block, long at) {
  if (pwrite(fd, block, BLOCK, at % 64 * BLOCK) != BLOCK) abort();
}

static void *backup(void *arg) {
  pthread_setname_np(pthread_self(), "backup");
  int fd = create("backup.tmp", O_DIRECT);
  void *block;
  if (posix_memalign(&block, 4096, BLOCK)) abort();
  memset(block, 7, BLOCK);
  for (long at = 0; !done; at++) {
    copy_block(fd, block, at);
    usleep(3000);
  }
  return arg;
}

int main(int argc, char **argv) {
  pthread_t threads[2];
  pthread_create(&threads[0], 0, committer, 0);
  pthread_create(&threads[1], 0, backup, 0);
  double end = now() + (argc > 1 ? atof(argv[1]) : 3);
  while (now() < end) usleep(10000);
  done = 1;
  for (int i = 0; i < 2; i++) pthread_join(threads[i], 0);
  return 0;
}
