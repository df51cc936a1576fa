// Frames of every shape that a C compiler makes.
#include "corpus.h"

#include <alloca.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

APART static int recurse(int depth) {
  if (depth % 50 == 0) mark();
  return depth ? recurse(depth - 1) + depth : 0;
}

APART static void with_alloca(int size) {
  char *room = alloca(size);
  memset(room, 1, size);
  opaque(room);
  mark();
  opaque(room);
}

APART static void with_array(int size) {
  volatile int room[size];
  for (int i = 0; i < size; i++) room[i] = i;
  with_alloca(room[size - 1] + 100);
  opaque((void *)room);
}

APART static int variadic(const char *format, ...) {
  int sum = 0;
  va_list values;
  va_start(values, format);
  for (const char *c = format; *c; c++) sum += *c == 'd' ? (int)va_arg(values, double) : va_arg(values, int);
  va_end(values);
  mark();
  return sum;
}

APART static int tail_last(int n) {
  mark();
  return n;
}
APART static int tail_middle(int n) { return tail_last(n + 1); }  // a jump
APART static int tail_first(int n) {
  int found = tail_middle(n + 1);
  STAY;
  return found;
}

#ifdef __x86_64__
typedef double wide __attribute__((vector_size(32)));
__attribute__((target("avx"))) APART static void realigned(int depth) {
  wide locals[4];  // 32 bytes aligned: more than the ABI's stack is
  for (int i = 0; i < 4; i++) locals[i] = (wide){depth, i, 2, 3};
  opaque(locals);
  if (depth) realigned(depth - 1);
  mark();
  opaque(locals);
}

// An argument on the stack and a stack realigned: the compiler keeps the old one in a register (DRAP).
__attribute__((target("avx"))) APART static void realigned_with(int a, int b, int c, int d, int e, int f, int g,
                                                               int size) {
  wide local = {a, b, c, d};
  char *room = alloca(size + e + f + g);
  opaque(&local);
  opaque(room);
  mark();
  opaque(&local);
}
#else
static void realigned(int depth) { (void)depth; }
static void realigned_with(int a, int b, int c, int d, int e, int f, int g, int s) {
  (void)a, (void)b, (void)c, (void)d, (void)e, (void)f, (void)g, (void)s;
}
#endif

static int compared;
static int by_value(const void *a, const void *b) {
  if (compared++ < 5) mark();
  return *(const int *)a - *(const int *)b;
}

static jmp_buf back;
APART static void jump_from(int depth) {
  if (depth) jump_from(depth - 1);
  else longjmp(back, 1);
  STAY;
}

APART static void far(void) {
  unsigned long depth = shadow_depth;
  if (!setjmp(back)) jump_from(7);
  shadow_depth = depth;
  mark();
}

APART static void large(void) {
  volatile char room[200000];
  room[0] = room[sizeof(room) - 1] = 1;
  mark();
  opaque((void *)room);
}

static void at_exit(void) {
  mark();
  corpus_end();
}

int main(int argc, char **argv) {
  corpus_begin(argc, argv);
  atexit(at_exit);
  recurse(300);
  with_alloca(argc * 24);
  with_array(argc * 40);
  variadic("diddid", 1.0, 2, 3.0, 4.0, 5, 6.0);
  tail_first(argc);
  realigned(6);
  realigned_with(1, 2, 3, 4, 5, 6, 7, argc * 100);
  int values[20];
  for (int i = 0; i < 20; i++) values[i] = i * 7919 % 20;
  qsort(values, 20, sizeof(*values), by_value);
  far();
  large();
  return 0;
}
