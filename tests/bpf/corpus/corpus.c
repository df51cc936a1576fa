// The second opinion: libgcc's unwinder; with -finstrument-functions in a program (-DSHADOW here) the
// return addresses that its functions were called with, which needs no unwinder at all.
#define _GNU_SOURCE
#include "corpus.h"

#include <err.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>
#include <unwind.h>

enum { DEEPEST = 640, ROOM = 1 << 20 };

static int sink_fd;
static const char *path;
static void *words[ROOM];  // of each point: pid, n, count, addresses
static unsigned long used, points;

struct taken {
  void **to;
  unsigned long count;
};

static _Unwind_Reason_Code take(struct _Unwind_Context *context, void *to) {
  struct taken *t = to;
  void *ip = (void *)_Unwind_GetIP(context);
  if (ip && t->count < DEEPEST) t->to[t->count++] = ip;
  return t->count < DEEPEST ? _URC_NO_REASON : _URC_END_OF_STACK;
}

unsigned long shadow_depth;

#ifdef SHADOW
static void *shadow[DEEPEST];
void __cyg_profile_func_enter(void *function, void *call_site) {
  (void)function;
  shadow[shadow_depth++] = call_site;
}
void __cyg_profile_func_exit(void *function, void *call_site) {
  (void)function;
  (void)call_site;
  shadow_depth--;
}
#endif

#ifdef FIND_OBJECT
// What a libgcc that was made for glibc asks its libc for, by musl's means.
#include <link.h>
struct dl_find_object {
  unsigned long long flags;
  void *start, *end, *link_map, *eh_frame;
  unsigned long long reserved[7];
};
struct sought {
  unsigned long pc;
  struct dl_find_object *found;
};
static int look(struct dl_phdr_info *info, size_t size, void *to) {
  struct sought *s = to;
  int here = 0;
  (void)size;
  for (int i = 0; i < info->dlpi_phnum; i++) {
    const ElfW(Phdr) *p = &info->dlpi_phdr[i];
    unsigned long start = info->dlpi_addr + p->p_vaddr;
    if (p->p_type == PT_LOAD && s->pc >= start && s->pc < start + p->p_memsz) here = 1;
    if (p->p_type == PT_GNU_EH_FRAME) s->found->eh_frame = (void *)start;
  }
  return here;
}
int _dl_find_object(void *pc, struct dl_find_object *found);
int _dl_find_object(void *pc, struct dl_find_object *found) {
  memset(found, 0, sizeof(*found));
  return dl_iterate_phdr(look, &(struct sought){(unsigned long)pc, found}) && found->eh_frame ? 0 : -1;
}
#endif

static long call3(long number, long a, long b, long c) {
#ifdef __x86_64__
  long result;
  asm volatile("syscall" : "=a"(result) : "a"(number), "D"(a), "S"(b), "d"(c) : "rcx", "r11", "memory");
  return result;
#else
  return syscall(number, a, b, c);
#endif
}

void *corpus_more[64];
unsigned long corpus_more_count;

unsigned long corpus_number(void) { return __atomic_fetch_add(&points, 1, __ATOMIC_RELAXED); }

unsigned long corpus_callers(void *to[64]) {
  void *all[DEEPEST];
  struct taken t = {all, 0};
  _Unwind_Backtrace(take, &t);
  if (t.count < 2 || t.count > 66) abort();
  memcpy(to, all + 2, (t.count - 2) * sizeof(*all));
  return t.count - 2;
}

void corpus_point(unsigned long number, void **own, unsigned long count) {
  unsigned long at = __atomic_fetch_add(&used, count + 3, __ATOMIC_RELAXED);
  if (at + count + 3 > ROOM) abort();
  memcpy(&words[at + 3], own, count * sizeof(*own));
  words[at] = (void *)call3(SYS_getpid, 0, 0, 0);
  words[at + 1] = (void *)number;
  words[at + 2] = (void *)count;
}

__attribute__((noinline)) void mark(void) {
  unsigned long n = corpus_number();
  void *own[DEEPEST];
  struct taken t = {own, 0};
  memset(own, 0, sizeof(own));  // no page of our stack is yet to be had
  opaque(own);
#ifdef SHADOW
  t.to[t.count++] = (void *)mark;
  t.to[t.count++] = __builtin_return_address(0);
  for (unsigned long i = shadow_depth; i-- > 0;) t.to[t.count++] = shadow[i];
#else
  _Unwind_Backtrace(take, &t);
#endif
  for (unsigned long i = 0; i < corpus_more_count && t.count < DEEPEST; i++) t.to[t.count++] = corpus_more[i];
  corpus_point(n, own, t.count);
  char byte = 0;
  call3(SYS_write, sink_fd, (long)&byte, FIRST_POINT + n);
  asm volatile("" ::: "memory");
}

void opaque(void *value) { asm volatile("" ::"r"(value) : "memory"); }

void corpus_begin(int argc, char **argv) {
  if (argc < 2) errx(2, "usage: %s FILE", argv[0]);
  path = argv[argc - 1];
  sink_fd = open("/dev/zero", O_WRONLY | O_CLOEXEC);
  if (sink_fd < 0) err(1, "/dev/zero");
  struct taken t = {&words[0], 0};
  _Unwind_Backtrace(take, &t);  // the first time it may allocate
  nanosleep(&(struct timespec){0, 100000000}, NULL);  // the recorder may read our files
}

void corpus_end(void) {
  char line[4096];
  FILE *out = fopen(path, "w"), *maps = fopen("/proc/self/maps", "r");
  if (!out || !maps) err(1, "%s", path);
  while (fgets(line, sizeof(line), maps)) fprintf(out, "map %s", line);
  for (unsigned long at = 0; at < used; at += (unsigned long)words[at + 2] + 3) {
    fprintf(out, "point %lu %lu", (unsigned long)words[at], (unsigned long)words[at + 1]);
    for (unsigned long i = 0; i < (unsigned long)words[at + 2]; i++)
      fprintf(out, " %lx", (unsigned long)words[at + 3 + i]);
    fprintf(out, "\n");
  }
  fclose(maps);
  if (fclose(out)) err(1, "%s", path);
}
