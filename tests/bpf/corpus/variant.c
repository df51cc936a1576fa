// The same call by other functions at other addresses: VARIANT names them. With a second argument
// first something is done to the file that is being run.
#include "corpus.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#define GLUE(a, b) a##_##b
#define NAME(a, b) GLUE(a, b)

APART void NAME(VARIANT, leaf)(void) {
  mark();
  STAY;
}
APART void NAME(VARIANT, middle)(int size) {
  char room[PADDING];
  memset(room, size, sizeof(room));
  opaque(room);
  NAME(VARIANT, leaf)();
  opaque(room);
}

int main(int argc, char **argv) {
  if (argc > 3 && !strcmp(argv[1], "delete")) unlink(argv[2]);
  if (argc > 4 && !strcmp(argv[1], "replace")) rename(argv[3], argv[2]);
  corpus_begin(argc, argv);
  NAME(VARIANT, middle)(argc);
  corpus_end();
}
