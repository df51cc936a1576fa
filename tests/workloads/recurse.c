// recurse WAIT_MS DEPTH...: waits, goes down that many calls, burns CPU there, and tells the depth by a write of as many bytes.
//
// Compiled with frame pointers, and without: the three functions differ in how their frames are laid out.
#include "truth.h"
#include <alloca.h>

static int null_fd;
static char buffer[1 << 12];
static volatile u64 sink;

// The system call itself, for a function of libc would be a frame more.
static inline __attribute__((always_inline)) long write_directly(int fd, const void *from, size_t size) {
  long result = SYS_write;
  asm volatile("syscall" : "+a"(result) : "D"(fd), "S"(from), "d"(size) : "rcx", "r11", "memory");
  return result;
}

__attribute__((noipa)) void leaf(int depth) {
  u64 x = depth;
  if (write_directly(null_fd, buffer, depth) != depth) _exit(1);
  for (u64 i = 0; i < 40000000; i++) {
    x = x * 6364136223846793005ull + 1;
    asm volatile("" : "+r"(x));
  }
  sink = x;
}

__attribute__((noipa)) void down_plain(int left, int depth);
__attribute__((noipa)) void down_wide(int left, int depth);
__attribute__((noipa)) void down_dynamic(int left, int depth);

static inline __attribute__((always_inline)) void next(int left, int depth) {
  if (left == 0) leaf(depth);
  else if (left % 3 == 0) down_plain(left, depth);
  else if (left % 3 == 1) down_wide(left, depth);
  else down_dynamic(left, depth);
  asm volatile("" ::: "memory");  // no tail call: the frame stays
}

void down_plain(int left, int depth) { next(left - 1, depth); }

void down_wide(int left, int depth) {
  volatile char room[1000];
  room[left] = depth;
  next(left - 1, depth);
  sink = room[left];
}

void down_dynamic(int left, int depth) {
  volatile char *room = alloca(16 + left % 7 * 24);
  room[0] = depth;
  next(left - 1, depth);
  sink = room[0];
}

int main(int argc, char **argv) {
  int count = truth_begin(argc, argv);
  null_fd = open("/dev/null", O_WRONLY | O_CLOEXEC);
  struct timespec wait = {atoi(argv[1]) / 1000, atoi(argv[1]) % 1000 * 1000000l};
  nanosleep(&wait, NULL);
  for (int i = 2; i < count; i++) next(atoi(argv[i]), atoi(argv[i]));
  truth_end();
  return 0;
}
