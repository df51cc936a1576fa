// vfs DIRECTORY: moves known bytes through each family of calls, a thread for each, and counts.
#include "truth.h"
#include <pthread.h>
#include <sys/sendfile.h>
#include <sys/uio.h>

enum { ROUNDS = 150, LARGEST = 1 << 16 };

struct tally {
  u64 calls, bytes;
};
struct counts {
  struct tally read, write;
};

static const char *directory;
static __thread char buffer[LARGEST];
static char *volatile nowhere = (char *)8;

static int open_scratch(void) {
  int fd = open(directory, O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
  if (fd < 0) err(1, "%s", directory);
  return fd;
}

static int open_filled(size_t size) {
  int fd = open_scratch();
  if (ftruncate(fd, size)) err(1, "ftruncate");
  return fd;
}

static void moved(struct tally *t, ssize_t n) {
  if (n < 0) err(1, "a call failed");
  t->calls++;
  t->bytes += n;
}

// A call that must fail: it is a call, and moves nothing.
static void refused(struct tally *t, ssize_t n) {
  if (n >= 0) errx(1, "a call succeeded that can't");
  t->calls++;
}

static size_t chunk(int round) { return 1 + (size_t)round * 397 % LARGEST; }

static void by_read_write(struct counts *c) {
  int fd = open_scratch(), pipes[2];
  for (int i = 0; i < ROUNDS; i++) moved(&c->write, write(fd, buffer, chunk(i)));
  lseek(fd, 0, SEEK_SET);
  for (int i = 0; i < ROUNDS; i++) moved(&c->read, read(fd, buffer, chunk(i)));
  moved(&c->read, read(fd, buffer, sizeof(buffer)));  // at the end: nothing
  if (pipe(pipes)) err(1, "pipe");
  moved(&c->write, write(pipes[1], buffer, 700));
  moved(&c->read, read(pipes[0], buffer, sizeof(buffer)));  // less than asked for
  refused(&c->read, read(-1, buffer, 10));
  refused(&c->write, write(-1, buffer, 10));
  refused(&c->write, write(fd, nowhere, 10));
}

static void by_pread_pwrite(struct counts *c) {
  int fd = open_scratch();
  for (int i = 0; i < ROUNDS; i++) moved(&c->write, pwrite(fd, buffer, chunk(i), i * 1000));
  for (int i = 0; i < ROUNDS; i++) moved(&c->read, pread(fd, buffer, chunk(i), i * 1000));
  moved(&c->read, pread(fd, buffer, 10, 1 << 30));
}

static void split(struct iovec *parts, size_t size) {
  parts[0] = (struct iovec){buffer, size / 3};
  parts[1] = (struct iovec){buffer, 0};
  parts[2] = (struct iovec){buffer + size / 3, size - size / 3};
}

static void by_readv_writev(struct counts *c) {
  struct iovec parts[3];
  int fd = open_scratch();
  for (int i = 0; i < ROUNDS; i++) {
    split(parts, chunk(i));
    moved(&c->write, writev(fd, parts, 3));
  }
  lseek(fd, 0, SEEK_SET);
  for (int i = 0; i < ROUNDS; i++) {
    split(parts, chunk(i));
    moved(&c->read, readv(fd, parts, 3));
  }
}

static void by_preadv_pwritev(struct counts *c) {
  struct iovec parts[3];
  int fd = open_scratch();
  for (int i = 0; i < ROUNDS; i++) {
    split(parts, chunk(i));
    moved(&c->write, pwritev(fd, parts, 3, i * 500));
    moved(&c->read, preadv(fd, parts, 3, i * 500));
  }
}

static void by_preadv2_pwritev2(struct counts *c) {
  struct iovec parts[3];
  int fd = open_scratch();
  for (int i = 0; i < ROUNDS; i++) {
    split(parts, chunk(i));
    // flags that a preadv does not take, so that libc must make the newer call
    moved(&c->write, pwritev2(fd, parts, 3, i * 500, RWF_APPEND));
    moved(&c->read, preadv2(fd, parts, 3, i * 500, RWF_HIPRI));
  }
}

static void by_sendfile(struct counts *c) {
  int from = open_filled(ROUNDS * 4096), to = open_scratch();
  for (int i = 0; i < ROUNDS; i++) {
    off_t at = i * 100;
    ssize_t n = sendfile(to, from, &at, chunk(i));
    moved(&c->read, n);
    moved(&c->write, n);
  }
}

static void by_copy_file_range(struct counts *c) {
  int from = open_filled(ROUNDS * 4096), to = open_scratch();
  for (int i = 0; i < ROUNDS; i++) {
    off_t at = i * 100;
    ssize_t n = copy_file_range(from, &at, to, NULL, chunk(i), 0);
    moved(&c->read, n);
    moved(&c->write, n);
  }
}

static void by_splice(struct counts *c) {
  int from = open_filled(ROUNDS * 4096), to = open_scratch(), pipes[2];
  if (pipe(pipes)) err(1, "pipe");
  for (int i = 0; i < ROUNDS; i++) {
    off_t at = i * 100;
    ssize_t n = splice(from, &at, pipes[1], NULL, 1 + chunk(i) % 4000, 0);
    moved(&c->read, n);
    moved(&c->write, n);
    ssize_t m = splice(pipes[0], NULL, to, NULL, n, 0);
    if (m != n) errx(1, "splice moved %zd of %zd", m, n);
    moved(&c->read, m);
    moved(&c->write, m);
  }
}

static struct family {
  const char *name;
  void (*run)(struct counts *);
  struct counts counts;
  pid_t tid;
} families[] = {
    {.name = "read_write", .run = by_read_write},
    {.name = "pread_pwrite", .run = by_pread_pwrite},
    {.name = "readv_writev", .run = by_readv_writev},
    {.name = "preadv_pwritev", .run = by_preadv_pwritev},
    {.name = "preadv2_pwritev2", .run = by_preadv2_pwritev2},
    {.name = "sendfile", .run = by_sendfile},
    {.name = "copy_file_range", .run = by_copy_file_range},
    {.name = "splice", .run = by_splice},
};

static void *run(void *argument) {
  struct family *family = argument;
  family->tid = thread_id();
  family->run(&family->counts);
  return NULL;
}

int main(int argc, char **argv) {
  if (truth_begin(argc, argv) != 2) errx(2, "usage: vfs DIRECTORY --truth FILE");
  directory = argv[1];
  tell_begin("families", '{');
  for (size_t i = 0; i < COUNT(families); i++) {
    struct family *f = &families[i];
    pthread_t thread;
    if (pthread_create(&thread, NULL, run, f)) errx(1, "no thread");
    pthread_join(thread, NULL);
    tell_begin(f->name, '{');
    tell_number("tid", f->tid);
    tell_number("read_calls", f->counts.read.calls);
    tell_number("read_bytes", f->counts.read.bytes);
    tell_number("write_calls", f->counts.write.calls);
    tell_number("write_bytes", f->counts.write.bytes);
    tell_end('}');
  }
  tell_end('}');
  truth_end();
  return 0;
}
