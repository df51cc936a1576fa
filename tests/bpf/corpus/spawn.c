// Children: of vfork, of clone by libc, and of a plain fork.
#define _GNU_SOURCE
#include "corpus.h"

#include <spawn.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

extern char **environ;

APART static void by_vfork(void) {
  pid_t pid = vfork();
  if (!pid) {
    mark();  // in our memory, on our stack
    execl("/bin/true", "true", (char *)0);
    _exit(1);
  }
  waitpid(pid, NULL, 0);
  mark();
}

APART static void by_spawn(void) {
  pid_t pid;
  char *argv[] = {"true", NULL};
  if (!posix_spawn(&pid, "/bin/true", NULL, NULL, argv, environ)) waitpid(pid, NULL, 0);
  mark();
}

int main(int argc, char **argv) {
  corpus_begin(argc, argv);
  by_vfork();
  by_spawn();
  if (system("true")) return 1;
  mark();
  corpus_end();
}
