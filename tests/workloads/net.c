// net: moves known bytes over loopback by TCP and UDP, IPv4 and IPv6, connected or not; a thread each.
#include "truth.h"
#include <netinet/in.h>
#include <pthread.h>
#include <sys/socket.h>
#include <sys/uio.h>

enum { ROUNDS = 100 };

struct tally {
  u64 calls, bytes;
};

struct exchange {
  const char *name;
  int type, connected;
  struct tally sent, received;
  pid_t tid;
};

static __thread char buffer[65536];

static void moved(struct tally *t, ssize_t n) {
  if (n < 0) err(1, "a call failed");
  t->calls++;
  t->bytes += n;
}

static socklen_t loopback(int family, struct sockaddr_storage *address) {
  memset(address, 0, sizeof(*address));
  address->ss_family = family;
  if (family == AF_INET) {
    ((struct sockaddr_in *)address)->sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return sizeof(struct sockaddr_in);
  }
  ((struct sockaddr_in6 *)address)->sin6_addr = in6addr_loopback;
  return sizeof(struct sockaddr_in6);
}

static int bound(int family, int type, struct sockaddr_storage *address) {
  socklen_t size = loopback(family, address);
  int fd = socket(family, type | SOCK_CLOEXEC, 0);
  if (fd < 0 || bind(fd, (void *)address, size) || getsockname(fd, (void *)address, &size)) err(1, "socket");
  return fd;
}

static void send_way(struct exchange *e, int way, int fd, size_t size, struct sockaddr_storage *to, socklen_t length) {
  struct iovec parts[2] = {{buffer, size / 2}, {buffer, size - size / 2}};
  struct msghdr message = {.msg_iov = parts, .msg_iovlen = 2, .msg_name = to, .msg_namelen = length};
  switch (way % (to ? 2 : 5)) {
    case 0: moved(&e->sent, sendto(fd, buffer, size, 0, (void *)to, length)); break;
    case 1: moved(&e->sent, sendmsg(fd, &message, 0)); break;
    case 2: moved(&e->sent, write(fd, buffer, size)); break;
    case 3: moved(&e->sent, writev(fd, parts, 2)); break;
    case 4: moved(&e->sent, send(fd, buffer, size, MSG_NOSIGNAL)); break;
  }
}

static size_t receive_way(struct exchange *e, int way, int fd, size_t size) {
  struct iovec parts[2] = {{buffer, size / 2}, {buffer + size / 2, size - size / 2}};
  struct sockaddr_storage from;
  socklen_t length = sizeof(from);
  struct msghdr message = {.msg_iov = parts, .msg_iovlen = 2};
  u64 before = e->received.bytes;
  switch (way % 4) {
    case 0: moved(&e->received, recvfrom(fd, buffer, size, 0, (void *)&from, &length)); break;
    case 1: moved(&e->received, recvmsg(fd, &message, 0)); break;
    case 2: moved(&e->received, read(fd, buffer, size)); break;
    case 3: moved(&e->received, readv(fd, parts, 2)); break;
  }
  return e->received.bytes - before;
}

// A look takes nothing; a receipt that finds nothing is none.
static void look(int fd, size_t size) {
  struct iovec part = {buffer, size};
  struct msghdr message = {.msg_iov = &part, .msg_iovlen = 1};
  if (recv(fd, buffer, size, MSG_PEEK) <= 0 || recvmsg(fd, &message, MSG_PEEK) <= 0) err(1, "peek");
}

static void find_nothing(int fd) {
  if (recv(fd, buffer, 10, MSG_DONTWAIT) >= 0 || errno != EAGAIN) err(1, "found something");
}

static void stream(struct exchange *e, int family) {
  struct sockaddr_storage address;
  int listener = bound(family, SOCK_STREAM, &address);
  int client = socket(family, SOCK_STREAM | SOCK_CLOEXEC, 0);
  if (listen(listener, 1) || connect(client, (void *)&address, sizeof(address))) err(1, "connect");
  int server = accept(listener, NULL, NULL);
  for (int i = 0; i < ROUNDS; i++) {
    size_t size = 1000 + 37 * i;
    send_way(e, i, client, size, NULL, 0);
    look(server, 100);
    for (size_t got = 0; got < size;) got += receive_way(e, i, server, size - got);
    find_nothing(server);
  }
  shutdown(client, SHUT_WR);
  moved(&e->received, recv(server, buffer, 10, 0));  // the end of the stream
}

static void datagrams(struct exchange *e, int family) {
  struct sockaddr_storage here, there;
  int receiver = bound(family, SOCK_DGRAM, &here), sender = bound(family, SOCK_DGRAM, &there);
  if (e->connected && (connect(sender, (void *)&here, sizeof(here)) || connect(receiver, (void *)&there, sizeof(there))))
    err(1, "connect");
  for (int i = 0; i < ROUNDS; i++) {
    size_t size = 1 + 13 * i;
    if (e->connected) send_way(e, i, sender, size, NULL, 0);
    else send_way(e, i, sender, size, &here, family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6));
    look(receiver, sizeof(buffer));
    receive_way(e, i, receiver, i % 10 ? sizeof(buffer) : 1);  // now and then less than was sent
    find_nothing(receiver);
  }
  send_way(e, 0, sender, 0, e->connected ? NULL : &here,
           e->connected ? 0 : family == AF_INET ? sizeof(struct sockaddr_in) : sizeof(struct sockaddr_in6));
  receive_way(e, 0, receiver, 10);  // an empty datagram is one
}

struct job {
  struct exchange *exchange;
  int family;
};

static void *run(void *argument) {
  struct job *job = argument;
  job->exchange->tid = thread_id();
  if (job->exchange->type == SOCK_STREAM) stream(job->exchange, job->family);
  else datagrams(job->exchange, job->family);
  return NULL;
}

int main(int argc, char **argv) {
  if (truth_begin(argc, argv) != 1) errx(2, "usage: net --truth FILE");
  static const struct {
    const char *name;
    int family, type, connected;
  } cases[] = {
      {"tcp4", AF_INET, SOCK_STREAM, 1},           {"tcp6", AF_INET6, SOCK_STREAM, 1},
      {"udp4_connected", AF_INET, SOCK_DGRAM, 1},  {"udp6_connected", AF_INET6, SOCK_DGRAM, 1},
      {"udp4_unconnected", AF_INET, SOCK_DGRAM, 0}, {"udp6_unconnected", AF_INET6, SOCK_DGRAM, 0},
  };
  tell_begin("exchanges", '{');
  for (size_t i = 0; i < COUNT(cases); i++) {
    struct exchange e = {.name = cases[i].name, .type = cases[i].type, .connected = cases[i].connected};
    struct job job = {&e, cases[i].family};
    pthread_t thread;
    if (pthread_create(&thread, NULL, run, &job)) errx(1, "no thread");
    pthread_join(thread, NULL);
    tell_begin(e.name, '{');
    tell_number("tid", e.tid);
    tell_number("sent_calls", e.sent.calls);
    tell_number("sent_bytes", e.sent.bytes);
    tell_number("received_calls", e.received.calls);
    tell_number("received_bytes", e.received.bytes);
    tell_end('}');
  }
  tell_end('}');
  truth_end();
  return 0;
}
