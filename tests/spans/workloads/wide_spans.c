// wide_spans FOLDER --truth FILE: one span in which bytes of all kinds move, after the same outside of it.
//
// FOLDER: on a block device. The truth is that of noted.h, whose written_bytes are those of write(); and
// "outside" and "inside": blk_written (past the page cache), sent, received (TCP, loopback), grown.
#include "noted.h"
#include "tracing_stacks.h"
#include <netinet/in.h>
#include <sys/mman.h>
#include <sys/socket.h>

enum { CHUNK = 1 << 16, CHUNKS = 16, MESSAGE = 3001, MESSAGES = 20, TOUCHED = 8 << 20 };

static int file, client, server;
static char *chunk, message[MESSAGE];

static void open_all(const char *folder) {
  struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  socklen_t size = sizeof(address);
  int listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  client = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (bind(listener, (void *)&address, size) || listen(listener, 1) ||
      getsockname(listener, (void *)&address, &size) || connect(client, (void *)&address, size) ||
      (server = accept(listener, NULL, NULL)) < 0)
    err(1, "sockets");
  file = open(folder, O_TMPFILE | O_RDWR | O_CLOEXEC | O_DIRECT, 0600);
  if (file < 0 || posix_memalign((void **)&chunk, 4096, CHUNK)) err(1, "%s", folder);
  memset(chunk, 7, CHUNK);
}

// The first `chunks` of the file, as many messages as that, and `touched` bytes of memory that stay.
static void move(int chunks, int messages, size_t touched) {
  for (int i = 0; i < chunks; i++)
    if (pwrite(file, chunk, CHUNK, (off_t)i * CHUNK) != CHUNK) err(1, "pwrite");
  if (fsync(file)) err(1, "fsync");
  for (int i = 0; i < messages; i++) {
    if (send(client, message, MESSAGE, 0) != MESSAGE) err(1, "send");
    if (recv(server, message, MESSAGE, MSG_WAITALL) != MESSAGE) err(1, "recv");
  }
  volatile char *memory = mmap(NULL, touched, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) err(1, "mmap");
  madvise((void *)memory, touched, MADV_NOHUGEPAGE);
  for (size_t at = 0; at < touched; at += 4096) memory[at] = 1;
}
static void tell_moved(const char *name, u64 chunks, u64 messages, u64 touched) {
  tell_begin(name, '{');
  tell_number("blk_written", chunks * CHUNK);
  tell_number("sent", messages * MESSAGE);
  tell_number("received", messages * MESSAGE);
  tell_number("grown", touched);
  tell_end('}');
}

int main(int argc, char **argv) {
  static char name[32] = "all sorts";
  if (truth_begin(argc, argv) != 2) errx(2, "usage: wide_spans FOLDER --truth FILE");
  null_fd = open("/dev/null", O_WRONLY | O_CLOEXEC);
  open_all(argv[1]);
  struct noted n = {.name = name, .name_length = strlen(name), .tgid = getpid()};
  move(CHUNKS, 3, 1 << 20); // allocates the file's blocks; whatever runs below is mapped now
  tracing_stacks_span span = tracing_stacks_open(name, 1, 2);
  n.span_id = span.span_id, n.id = 1, n.amount = 2;
  note_enter(&n);
  tracing_stacks_enter(&span);
  move(CHUNKS / 2, MESSAGES, TOUCHED);
  n.written += CHUNKS / 2 * CHUNK;
  noted_write(&n, 123);
  tracing_stacks_exit(&span);
  note_exit(&n);
  move(CHUNKS / 4, 5, 1 << 20);
  tracing_stacks_close(&span);
  note_close(&n);
  tell_begin("spans", '[');
  tell_span(&n);
  tell_end(']');
  tell_moved("inside", CHUNKS / 2, MESSAGES, TOUCHED);
  tell_moved("outside", CHUNKS + CHUNKS / 4, 3 + 5, 2 << 20);
  truth_end();
}
