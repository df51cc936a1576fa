// Stacks of their own: libc's contexts, and a switch by hand whose stack has no beginning.
#define _GNU_SOURCE
#include "corpus.h"

#include <stdlib.h>
#include <string.h>
#include <ucontext.h>

static ucontext_t main_context, other_context;
static char stack[1 << 16] __attribute__((aligned(64)));

APART static void down(int depth) {
  if (depth) down(depth - 1);
  else mark();
  STAY;
}

static void coroutine(void) {
  down(3);
  swapcontext(&other_context, &main_context);
  down(5);
}

#ifdef BARE
// Runs a function on another stack; at its base lies what `word` says, not a return address.
void run_on(void *top, void (*function)(int), long word);
asm(".text\n.type run_on, @function\nrun_on:\n"
    "push %rbp\npush %rbx\nmov %rsp, %rbx\nmov %rdi, %rsp\npush %rdx\nxor %ebp, %ebp\n"
    "mov $3, %edi\ncall *%rsi\nmov %rbx, %rsp\npop %rbx\npop %rbp\nret\n"
    ".size run_on, . - run_on\n");
#endif

int main(int argc, char **argv) {
  corpus_begin(argc, argv);
#ifdef BARE
  run_on(stack + sizeof(stack) - 72, down, 0);
  run_on(stack + sizeof(stack) - 72, down, (long)main);
  memset(stack, 0x41, sizeof(stack));
  run_on(stack + sizeof(stack) - 72, down, 0x4141414141414141);
#else
  getcontext(&other_context);
  other_context.uc_stack.ss_sp = stack;
  other_context.uc_stack.ss_size = sizeof(stack);
  other_context.uc_link = &main_context;
  makecontext(&other_context, coroutine, 0);
  swapcontext(&main_context, &other_context);
  mark();
  swapcontext(&main_context, &other_context);
#endif
  corpus_end();
}
