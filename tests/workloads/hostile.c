// hostile [OWNER MODE]: a comm, a function and a perf map with names that would hurt a terminal or a parser.
//
// Writes 201 bytes under the comm, 202 from the function, 203 below code that only the perf map names.
// The map is made OWNER's, with this octal MODE, before that.
#include "truth.h"
#include <sys/mman.h>
#include <sys/prctl.h>

static int null_fd;
static char buffer[4096];

static inline __attribute__((always_inline)) void tag(size_t bytes) {
  for (int i = 0; i < 20; i++)
    if (write(null_fd, buffer, bytes) != (ssize_t)bytes) err(1, "write");
}

// Its name is a place for another: whoever builds this puts bytes there that no assembler takes.
__attribute__((noipa)) void evil_name_goes_here_(void) {
  tag(202);
  asm volatile("");
}

__attribute__((noipa)) static void below_jit(void) {
  tag(203);
  asm volatile("");
}

// push %rbp; mov %rsp,%rbp; call *%rdi; pop %rbp; ret
static const unsigned char code[] = {0x55, 0x48, 0x89, 0xe5, 0xff, 0xd7, 0x5d, 0xc3};

int main(int argc, char **argv) {
  int count = truth_begin(argc, argv);
  if (count != 1 && count != 3) errx(2, "usage: hostile [OWNER MODE] --truth FILE");
  null_fd = open("/dev/null", O_WRONLY | O_CLOEXEC);
  prctl(PR_SET_NAME, "a\"'\033]8;;\n\377z");
  tag(201);
  evil_name_goes_here_();
  char *jit = mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (jit == MAP_FAILED) err(1, "mmap");
  memcpy(jit, code, sizeof(code));
  char path[64];
  snprintf(path, sizeof(path), "/tmp/perf-%d.map", (int)getpid());
  FILE *map = fopen(path, "wxe");
  if (!map) err(1, "%s", path);
  fprintf(map, "%lx %zx jit \"quoted\" \033]8;;x\007 \377\n", (unsigned long)jit, sizeof(code));
  fclose(map);
  if (count == 3 && (chown(path, atoi(argv[1]), 0) || chmod(path, strtol(argv[2], NULL, 8)))) err(1, "%s", path);
  ((void (*)(void (*)(void)))jit)(below_jit);
  truth_end();
  sleep(2);  // as long as a reader may want to look at it
  unlink(path);
  return 0;
}
