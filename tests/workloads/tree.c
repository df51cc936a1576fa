// tree LEVELS STACKS RATE: as many distinct stacks, each told apart by f0 and f1, and each told by the bytes it writes;
// no more than RATE of them a second.
//
// Stack i writes i + 1 bytes; of its functions, leaf first, the n-th is f1 where bit n of i is set.
#include "truth.h"

static int null_fd;
static char buffer[1 << 20];

__attribute__((noipa)) void f0(u64 index, int level);
__attribute__((noipa)) void f1(u64 index, int level);

static inline __attribute__((always_inline)) void next(u64 index, int level) {
  if (level == 0) {
    if (write(null_fd, buffer, index + 1) != (ssize_t)index + 1) err(1, "write");
  } else if (index >> (level - 1) & 1) {
    f1(index, level - 1);
  } else {
    f0(index, level - 1);
  }
  asm volatile("" ::: "memory");  // no tail call: the frame stays
}

void f0(u64 index, int level) { next(index, level); }
void f1(u64 index, int level) { next(index, level); }

int main(int argc, char **argv) {
  if (truth_begin(argc, argv) != 4) errx(2, "usage: tree LEVELS STACKS RATE --truth FILE");
  int levels = atoi(argv[1]);
  u64 stacks = strtoull(argv[2], NULL, 10);
  null_fd = open("/dev/null", O_WRONLY | O_CLOEXEC);
  if (stacks > sizeof(buffer) || stacks > 1ull << levels) errx(2, "too many stacks");
  u64 rate = strtoull(argv[3], NULL, 10), begin = now_ns(CLOCK_MONOTONIC);
  struct timespec moment = {0, 1000000};
  for (u64 i = 0; i < stacks; i++) {
    while (i > (now_ns(CLOCK_MONOTONIC) - begin) * rate / 1000000000) nanosleep(&moment, NULL);
    next(i, levels);
  }
  tell_number("stacks", stacks);
  truth_end();
  return 0;
}
