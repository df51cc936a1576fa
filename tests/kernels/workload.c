// A static program of known work: workload DIRECTORY TRUTH [PHASE…]. Each phase (default: all) runs in a process of its own with
// the comm wl-PHASE, on files in DIRECTORY. The file TRUTH gets one JSON object: phase → what it really did, as it counted itself.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <err.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

typedef uint64_t u64;

struct truth {
  u64 pid;
  u64 write_calls, write_bytes, read_calls, read_bytes;
  u64 switches, begin_ns, end_ns, slept_ns, asked_ns;
  u64 grown_bytes;
  u64 cpu_ns;
  u64 tcp_send_calls, tcp_send_bytes, tcp_recv_calls, tcp_recv_bytes;
  u64 udp_send_calls, udp_send_bytes, udp_recv_calls, udp_recv_bytes;
};

static const char *directory;

static u64 now_ns(clockid_t clock) {
  struct timespec t;
  clock_gettime(clock, &t);
  return t.tv_sec * 1000000000ull + t.tv_nsec;
}

static u64 switches(void) {
  struct rusage usage;
  getrusage(RUSAGE_SELF, &usage);
  return usage.ru_nvcsw + usage.ru_nivcsw;
}

// A moment and the number of context switches before it. Reads again when a switch came between, so that both are of one moment.
static u64 count_switches(u64 *moment_ns) {
  for (;;) {
    u64 before = switches();
    *moment_ns = now_ns(CLOCK_REALTIME);
    if (switches() == before) return before;
  }
}

static int open_file(const char *name, int flags) {
  char path[4096];
  snprintf(path, sizeof(path), "%s/%s", directory, name);
  int fd = open(path, flags | O_RDWR | O_CREAT | O_TRUNC, 0600);
  if (fd < 0) err(1, "%s", path);
  unlink(path);
  return fd;
}

static void moved(u64 *calls, u64 *bytes, ssize_t n) {
  if (n < 0) err(1, "phase failed");
  *calls += 1;
  *bytes += n;
}

static void vfs(struct truth *t) {
  static char buffer[8192];
  struct iovec parts[2] = {{buffer, 1000}, {buffer + 1000, 2345}};
  int fd = open_file("vfs", 0);
  for (int i = 0; i < 500; i++) {
    moved(&t->write_calls, &t->write_bytes, write(fd, buffer, 100 + i));
    moved(&t->write_calls, &t->write_bytes, pwrite(fd, buffer, 4096, i * 4096));
    moved(&t->write_calls, &t->write_bytes, writev(fd, parts, 2));
    moved(&t->read_calls, &t->read_bytes, pread(fd, buffer, 777, i * 100));
    moved(&t->read_calls, &t->read_bytes, preadv(fd, parts, 2, i * 10));
  }
  lseek(fd, 0, SEEK_SET);
  ssize_t n;
  do {  // the last call moves nothing, and is a call
    n = read(fd, buffer, sizeof(buffer));
    moved(&t->read_calls, &t->read_bytes, n);
  } while (n > 0);
}

// Keeps the moments of count_switches away from the sleeps, for clocks agree only so well.
static void spin(void) {
  u64 until = now_ns(CLOCK_MONOTONIC) + 10000000;
  while (now_ns(CLOCK_MONOTONIC) < until) {
  }
}

static void switching(struct truth *t) {
  struct timespec nap = {0, 2000000};
  spin();
  u64 before = count_switches(&t->begin_ns);
  spin();
  u64 began = now_ns(CLOCK_MONOTONIC);
  for (int i = 0; i < 100; i++) {
    nanosleep(&nap, NULL);
    t->asked_ns += nap.tv_nsec;
  }
  t->slept_ns = now_ns(CLOCK_MONOTONIC) - began;
  spin();
  t->switches = count_switches(&t->end_ns) - before;
  spin();
}

static void rss(struct truth *t) {
  t->grown_bytes = 64 << 20;
  char *memory = mmap(NULL, t->grown_bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (memory == MAP_FAILED) err(1, "mmap");
  madvise(memory, t->grown_bytes, MADV_NOHUGEPAGE);
  for (u64 at = 0; at < t->grown_bytes; at += 4096) memory[at] = 1;
  munmap(memory, t->grown_bytes);
}

static void profile(struct truth *t) {
  volatile u64 x = 1;
  u64 until = now_ns(CLOCK_PROCESS_CPUTIME_ID) + 3000000000ull;
  while (now_ns(CLOCK_PROCESS_CPUTIME_ID) < until)
    for (int i = 0; i < 100000; i++) x = x * 6364136223846793005ull + 1;
  t->cpu_ns = now_ns(CLOCK_PROCESS_CPUTIME_ID);
}

static void block(struct truth *t) {
  enum { SIZE = 16384, CALLS = 40 };  // of a size that no metadata has
  void *buffer;
  if (posix_memalign(&buffer, 4096, SIZE)) errx(1, "no memory");
  memset(buffer, 1, SIZE);
  int fd = open_file("block", O_DIRECT);
  if (posix_fallocate(fd, 0, SIZE * CALLS)) errx(1, "fallocate failed");
  for (int i = 0; i < CALLS; i++) moved(&t->write_calls, &t->write_bytes, pwrite(fd, buffer, SIZE, i * SIZE));
  fsync(fd);
  for (int i = 0; i < CALLS; i++) moved(&t->read_calls, &t->read_bytes, pread(fd, buffer, SIZE, i * SIZE));
}

static int loopback(int type, struct sockaddr_in *address) {
  int fd = socket(AF_INET, type, 0);
  memset(address, 0, sizeof(*address));
  address->sin_family = AF_INET;
  address->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof(*address);
  if (fd < 0 || bind(fd, (void *)address, size) || getsockname(fd, (void *)address, &size)) err(1, "socket");
  return fd;
}

static void net(struct truth *t) {
  static char buffer[65536];
  struct sockaddr_in address;
  int listener = loopback(SOCK_STREAM, &address);
  int client = socket(AF_INET, SOCK_STREAM, 0);
  if (listen(listener, 1) || connect(client, (void *)&address, sizeof(address))) err(1, "connect");
  int server = accept(listener, NULL, NULL);
  for (int i = 0; i < 200; i++) {
    moved(&t->tcp_send_calls, &t->tcp_send_bytes, send(client, buffer, 1000 + i, 0));
    for (ssize_t got = 0; got < 1000 + i;) {
      ssize_t n = recv(server, buffer, sizeof(buffer), 0);
      moved(&t->tcp_recv_calls, &t->tcp_recv_bytes, n);
      got += n;
    }
  }
  int receiver = loopback(SOCK_DGRAM, &address);
  int sender = socket(AF_INET, SOCK_DGRAM, 0);
  for (int i = 0; i < 200; i++) {
    moved(&t->udp_send_calls, &t->udp_send_bytes, sendto(sender, buffer, 100 + i, 0, (void *)&address, sizeof(address)));
    moved(&t->udp_recv_calls, &t->udp_recv_bytes, recv(receiver, buffer, sizeof(buffer), 0));
  }
}

static const struct {
  const char *name;
  void (*run)(struct truth *);
} PHASES[] = {{"vfs", vfs}, {"switch", switching}, {"rss", rss}, {"profile", profile}, {"block", block}, {"net", net}};

int main(int argc, char **argv) {
  if (argc < 3) errx(2, "usage: workload DIRECTORY TRUTH [PHASE…]");
  directory = argv[1];
  struct truth *t = mmap(NULL, sizeof(*t), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  if (t == MAP_FAILED) err(1, "mmap");
  FILE *out = fopen(argv[2], "we");
  if (!out) err(1, "%s", argv[2]);
  const char *comma = "";
  fprintf(out, "{");
  for (size_t i = 0; i < sizeof(PHASES) / sizeof(*PHASES); i++) {
    int wanted = argc == 3;
    for (int a = 3; a < argc; a++) wanted |= !strcmp(argv[a], PHASES[i].name);
    if (!wanted) continue;
    memset(t, 0, sizeof(*t));
    fflush(out);
    pid_t child = fork();
    if (child < 0) err(1, "fork");
    if (child == 0) {
      char comm[16];
      snprintf(comm, sizeof(comm), "wl-%s", PHASES[i].name);
      prctl(PR_SET_NAME, comm);
      PHASES[i].run(t);
      _exit(0);
    }
    int status;
    if (waitpid(child, &status, 0) != child || status) errx(1, "phase %s ended with status %d", PHASES[i].name, status);
    fprintf(out, "%s\n\"%s\": {\"pid\": %d", comma, PHASES[i].name, child);
    comma = ",";
#define FIELD(name) fprintf(out, ", \"" #name "\": %llu", (unsigned long long)t->name)
    FIELD(write_calls); FIELD(write_bytes); FIELD(read_calls); FIELD(read_bytes);
    FIELD(switches); FIELD(begin_ns); FIELD(end_ns); FIELD(slept_ns); FIELD(asked_ns);
    FIELD(grown_bytes); FIELD(cpu_ns);
    FIELD(tcp_send_calls); FIELD(tcp_send_bytes); FIELD(tcp_recv_calls); FIELD(tcp_recv_bytes);
    FIELD(udp_send_calls); FIELD(udp_send_bytes); FIELD(udp_recv_calls); FIELD(udp_recv_bytes);
    fprintf(out, "}");
  }
  fprintf(out, "\n}\n");
  if (fclose(out)) err(1, "%s", argv[2]);
  return 0;
}
