// Calls through code written by hand.
#include "corpus.h"

void by_push(void (*function)(void));
void by_rbx(void (*function)(void));
void by_saved_stack(void (*function)(void));
void unframed(void (*function)(void));

static void (*chain[4])(void (*)(void));
static int at;
static void next(void) {
  if (at < 4 && chain[at]) chain[at++](next);
  else mark();
  STAY;
}
APART static void go(void (*a)(void (*)(void)), void (*b)(void (*)(void))) {
  at = 0;
  chain[0] = a;
  chain[1] = b;
  next();
  STAY;
}

int main(int argc, char **argv) {
  corpus_begin(argc, argv);
#if defined(RBX)
  go(by_rbx, 0);
  go(by_push, by_rbx);
#elif defined(UNFRAMED)
  go(unframed, 0);
  go(by_push, unframed);
#else
  go(by_push, by_saved_stack);
  go(by_saved_stack, by_push);
  go(by_saved_stack, by_saved_stack);
#endif
  corpus_end();
}
