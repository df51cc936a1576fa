// block DIRECTORY: writes and reads a file past the page cache, and through it with fsync; a thread each.
#include "truth.h"
#include <pthread.h>

enum { CHUNK = 1 << 16, CHUNKS = 60 };

static int direct_fd, cached_fd;
static char *buffer;

static int open_file(const char *directory, int flags) {
  int fd = open(directory, O_TMPFILE | O_RDWR | O_CLOEXEC | flags, 0600);
  if (fd < 0) err(1, "%s", directory);
  return fd;
}

static void write_direct(void) {
  for (int i = 0; i < CHUNKS; i++)
    if (pwrite(direct_fd, buffer, CHUNK, (off_t)i * CHUNK) != CHUNK) err(1, "pwrite");
}

static void read_direct(void) {
  for (int i = 0; i < CHUNKS; i++)
    if (pread(direct_fd, buffer, CHUNK, (off_t)i * CHUNK) != CHUNK) err(1, "pread");
}

static void write_cached(void) {
  for (int i = 0; i < CHUNKS; i++)
    if (pwrite(cached_fd, buffer, CHUNK, (off_t)i * CHUNK) != CHUNK) err(1, "pwrite");
  if (fsync(cached_fd)) err(1, "fsync");
}

static void *run(void *argument) {
  void (*phase)(void) = argument;
  tell_number("tid", thread_id());
  phase();
  return NULL;
}

static void in_thread(const char *name, void (*phase)(void)) {
  pthread_t thread;
  tell_begin(name, '{');
  if (pthread_create(&thread, NULL, run, phase)) errx(1, "no thread");
  pthread_join(thread, NULL);
  tell_number("bytes", (i64)CHUNK * CHUNKS);
  tell_end('}');
}

int main(int argc, char **argv) {
  if (truth_begin(argc, argv) != 2) errx(2, "usage: block DIRECTORY --truth FILE");
  if (posix_memalign((void **)&buffer, 4096, CHUNK)) errx(1, "no memory");
  for (int i = 0; i < CHUNK; i++) buffer[i] = i * 7;
  direct_fd = open_file(argv[1], O_DIRECT);
  cached_fd = open_file(argv[1], 0);
  // Once before, so that what is measured finds its blocks written and changes no metadata.
  write_direct();
  if (fsync(direct_fd)) err(1, "fsync");
  in_thread("write_direct", write_direct);
  in_thread("read_direct", read_direct);
  in_thread("write_cached", write_cached);
  tell_number("chunk", CHUNK);
  truth_end();
  return 0;
}
