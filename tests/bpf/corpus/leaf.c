// Code without rules that keeps frame pointers, stopped before its frame is set up and after it is gone.
#define _GNU_SOURCE
#include "corpus.h"

#include <err.h>
#include <fcntl.h>
#include <signal.h>
#include <ucontext.h>

typedef void function(int fd, const void *memory, unsigned long size);
void outer(int fd, const void *memory, unsigned long size, function *called);
function at_check, at_push, at_landing, at_mov, at_body, at_leave, at_ret, at_pad, framed;
extern const char outer_end[], outer_calls[], framed_end[];
extern void *outer_caller;

static void *callers[64];
static unsigned long caller_count;

// Where a function is when its system call is made.
static void *after_syscall(function *made) {
  const unsigned char *at = (const unsigned char *)made;
  while (at[0] != 0x0f || at[1] != 0x05) at++;
  return (void *)(at + 2);
}

__attribute__((unused)) APART static void write_from(int fd, const void *memory, function *made) {
  unsigned long n = corpus_number();
  outer(fd, memory, FIRST_POINT + n, made);
  void *own[67] = {after_syscall(made), (void *)outer_calls, outer_caller};
  caller_count = corpus_callers(callers);
  for (unsigned long i = 0; i < caller_count; i++) own[3 + i] = callers[i];
  corpus_point(n, own, 3 + caller_count);
}

static volatile int stepping;

__attribute__((unused)) static void on_step(int number, siginfo_t *info, void *context) {
  const char *ip = (const char *)((ucontext_t *)context)->uc_mcontext.gregs[REG_RIP];
  const char *sp = (const char *)((ucontext_t *)context)->uc_mcontext.gregs[REG_RSP];
  int in_framed = ip >= (char *)framed && ip < framed_end, in_outer = ip >= (char *)outer && ip < outer_end;
  (void)number;
  (void)info;
  if (!stepping) return;
  corpus_more_count = 0;
  if (in_framed) corpus_more[corpus_more_count++] = (void *)outer_calls;
  if (in_framed || in_outer) {
    if (ip == (char *)outer) outer_caller = *(void **)sp;
    corpus_more[corpus_more_count++] = outer_caller;
    for (unsigned long i = 0; i < caller_count; i++) corpus_more[corpus_more_count++] = callers[i];
    mark();
  }
}

__attribute__((unused)) APART static void step(void) {
  caller_count = corpus_callers(callers);
  stepping = 1;
  asm volatile("pushfq; orl $0x100, (%%rsp); popfq" ::: "memory");
  outer(0, 0, 0, framed);
  asm volatile("pushfq; andl $~0x100, (%%rsp); popfq" ::: "memory");
  stepping = 0;
}

int main(int argc, char **argv) {
  char byte = 0;
  corpus_begin(argc, argv);
  int fd = open("/dev/zero", O_WRONLY | O_CLOEXEC);
  if (fd < 0) err(1, "/dev/zero");
#if defined(PAD)
  write_from(fd, &byte, at_pad);
#elif defined(STEP)
  struct sigaction action = {.sa_sigaction = on_step, .sa_flags = SA_SIGINFO};
  sigaction(SIGTRAP, &action, NULL);
  step();
#else
  function *all[] = {at_check, at_push, at_landing, at_mov, at_body, at_leave, at_ret};
  for (unsigned i = 0; i < sizeof(all) / sizeof(*all); i++) write_from(fd, &byte, all[i]);
#endif
  corpus_end();
}
