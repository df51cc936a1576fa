// memory: maps, touches and frees known sizes, and reads what is resident at each step.
#include "truth.h"
#include <pthread.h>
#include <sys/mman.h>
#include <sys/wait.h>

enum { MIB = 1 << 20 };

// Counted page by page: VmRSS itself is up to 32 pages per CPU and kind of page away from the truth.
static u64 resident_bytes(void) {
  static char text[8192];
  int fd = open("/proc/self/smaps_rollup", O_RDONLY | O_CLOEXEC);
  ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof(text) - 1);
  if (n <= 0) err(1, "smaps_rollup");
  close(fd);
  text[n] = 0;
  char *line = strstr(text, "\nRss:");
  if (!line) errx(1, "no Rss");
  return strtoull(line + 5, NULL, 10) * 1024;
}

// Some quiet time before and after, so that no change is at the mark itself.
static void mark(const char *what) {
  spin_ns(3000000);
  resident_bytes();  // the code that reads and tells is mapped by its first run
  now_ns(CLOCK_MONOTONIC);
  u64 resident = resident_bytes();
  tell_begin(NULL, '{');
  tell("\"after\": \"%s\", ", what);
  tell_number("time_ns", now_ns(CLOCK_MONOTONIC));
  tell_number("resident_bytes", resident);
  tell_end('}');
  spin_ns(3000000);
}

static char *map(size_t size, int flags, int fd) {
  char *memory = mmap(NULL, size, PROT_READ | PROT_WRITE, flags, fd, 0);
  if (memory == MAP_FAILED) err(1, "mmap");
  madvise(memory, size, MADV_NOHUGEPAGE);
  return memory;
}

static void touch(char *memory, size_t size) {
  for (size_t at = 0; at < size; at += 4096) memory[at] = 1;
}

static void *touch_in_thread(void *memory) {
  touch(memory, 8 * MIB);
  return NULL;
}

int main(int argc, char **argv) {
  if (truth_begin(argc, argv) != 2) errx(2, "usage: memory DIRECTORY --truth FILE");
  tell_begin("marks", '[');
  mark("nothing");
  char *anonymous = map(48 * MIB, MAP_PRIVATE | MAP_ANONYMOUS, -1);
  mark("map");
  touch(anonymous, 48 * MIB);
  mark("touch");
  madvise(anonymous, 24 * MIB, MADV_DONTNEED);
  mark("return half");
  char *other = map(8 * MIB, MAP_PRIVATE | MAP_ANONYMOUS, -1);
  pthread_t thread;
  if (pthread_create(&thread, NULL, touch_in_thread, other)) errx(1, "no thread");
  pthread_join(thread, NULL);
  mark("touch in a thread");
  char *shared = map(4 * MIB, MAP_SHARED | MAP_ANONYMOUS, -1);
  touch(shared, 4 * MIB);
  mark("touch shared");
  int fd = open(argv[1], O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
  if (fd < 0 || ftruncate(fd, 4 * MIB)) err(1, "%s", argv[1]);
  char *file = map(4 * MIB, MAP_SHARED, fd);
  touch(file, 4 * MIB);
  mark("touch a file");
  pid_t child = fork();
  if (child == 0) {  // its own memory is not ours
    touch(map(16 * MIB, MAP_PRIVATE | MAP_ANONYMOUS, -1), 16 * MIB);
    _exit(0);
  }
  if (child < 0 || waitpid(child, NULL, 0) != child) err(1, "fork");
  mark("touch in a child");
  munmap(file, 4 * MIB);
  munmap(shared, 4 * MIB);
  munmap(other, 8 * MIB);
  munmap(anonymous, 48 * MIB);
  mark("unmap");
  tell_end(']');
  truth_end();
  return 0;
}
