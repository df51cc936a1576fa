// What every workload shares: the file of its truth (one JSON object), clocks, and a CPU of its own.
//
// A workload is called `NAME [ARG…] --truth FILE` and writes FILE as its last act, by one write().
#pragma once
#define _GNU_SOURCE
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sched.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define COUNT(array) (sizeof(array) / sizeof(*(array)))

typedef uint64_t u64;
typedef int64_t i64;

static struct {
  char text[1 << 20];
  size_t length;
  const char *path;
} truth;

__attribute__((format(printf, 1, 2), unused)) static void tell(const char *format, ...) {
  va_list values;
  va_start(values, format);
  size_t room = sizeof(truth.text) - truth.length;
  int length = vsnprintf(truth.text + truth.length, room, format, values);
  va_end(values);
  if (length < 0 || (size_t)length >= room) errx(1, "the truth is too long");
  truth.length += length;
}

// Members of the object; each ends with a comma, of which the last is dropped.
__attribute__((unused)) static void tell_number(const char *name, i64 value) {
  tell("\"%s\": %" PRId64 ", ", name, value);
}
__attribute__((unused)) static void tell_begin(const char *name, char bracket) {
  if (name) tell("\"%s\": %c", name, bracket);
  else tell("%c", bracket);
}
__attribute__((unused)) static void tell_end(char bracket) {
  if (truth.text[truth.length - 1] == ' ') truth.length -= 2;
  tell("%c, ", bracket);
}

// Takes `--truth FILE` from the end of the arguments; returns how many are left.
__attribute__((unused)) static int truth_begin(int argc, char **argv) {
  if (argc < 3 || strcmp(argv[argc - 2], "--truth")) errx(2, "usage: %s [ARG...] --truth FILE", argv[0]);
  truth.path = argv[argc - 1];
  argv[argc - 2] = NULL;
  tell("{\"tgid\": %d, ", (int)getpid());
  return argc - 2;
}

// Writes the file under another name first, so that a reader finds it whole or not at all.
__attribute__((unused)) static void truth_end(void) {
  char partial[4096];
  if (!strcmp(truth.path, "/dev/null")) return;  // nobody asks; a rename would replace the device
  tell_end('}');
  truth.length -= 2;
  snprintf(partial, sizeof(partial), "%s.partial", truth.path);
  int fd = open(partial, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0644);
  if (fd < 0) err(1, "%s", partial);
  if (write(fd, truth.text, truth.length) != (ssize_t)truth.length) err(1, "%s", partial);
  close(fd);
  if (rename(partial, truth.path)) err(1, "%s", truth.path);
}

__attribute__((unused)) static u64 now_ns(clockid_t clock) {
  struct timespec t;
  clock_gettime(clock, &t);
  return t.tv_sec * 1000000000ull + t.tv_nsec;
}

__attribute__((unused)) static pid_t thread_id(void) { return syscall(SYS_gettid); }

__attribute__((unused)) static void spin_ns(u64 ns) {
  u64 until = now_ns(CLOCK_MONOTONIC) + ns;
  while (now_ns(CLOCK_MONOTONIC) < until) {
  }
}

// One CPU, and nearly all of it: others' load must not change what is measured here. A session of
// its own, for the scheduler may share a CPU out by sessions first.
__attribute__((unused)) static void claim_cpu(int cpu) {
  cpu_set_t set;
  CPU_ZERO(&set);
  CPU_SET(cpu, &set);
  if (sched_setaffinity(0, sizeof(set), &set)) err(1, "cpu %d", cpu);
  setsid();
  int fd = open("/proc/self/autogroup", O_WRONLY | O_CLOEXEC);
  if (fd >= 0) {
    if (write(fd, "-20", 3) != 3) warn("autogroup");
    close(fd);
  }
  setpriority(PRIO_PROCESS, 0, -20);
}
