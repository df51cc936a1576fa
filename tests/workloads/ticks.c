// ticks MILLISECONDS SECONDS: writes 1, 2, 3 … bytes, one write each so many milliseconds.
#include "truth.h"

static char buffer[1 << 20];

int main(int argc, char **argv) {
  if (truth_begin(argc, argv) != 3) errx(2, "usage: ticks MILLISECONDS SECONDS --truth FILE");
  struct timespec pause = {0, atol(argv[1]) * 1000000};
  u64 end = now_ns(CLOCK_MONOTONIC) + (u64)(atof(argv[2]) * 1e9);
  int fd = open("/dev/null", O_WRONLY | O_CLOEXEC);
  size_t ticks = 0;
  while (now_ns(CLOCK_MONOTONIC) < end && ticks < sizeof(buffer)) {
    ticks++;
    if (write(fd, buffer, ticks) != (ssize_t)ticks) err(1, "write");
    nanosleep(&pause, NULL);
  }
  tell_number("ticks", ticks);
  truth_end();
  return 0;
}
