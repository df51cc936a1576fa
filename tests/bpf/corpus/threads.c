// Threads: their starts, cleanups and keys.
#include "corpus.h"

#include <pthread.h>
#include <stdlib.h>

static pthread_key_t key;
static pthread_once_t once = PTHREAD_ONCE_INIT;

static void first(void) { mark(); }
static void destroy(void *value) {
  (void)value;
  mark();
}
static void clean(void *value) {
  (void)value;
  mark();
}

APART static int down(long depth) {
  if (!depth) mark();
  int found = depth ? down(depth - 1) : 0;
  STAY;
  return found + 1;
}

static void *thread(void *number) {
  pthread_setspecific(key, &key);
  pthread_once(&once, first);
  down((long)number);
  pthread_cleanup_push(clean, NULL);
  if ((long)number & 1) pthread_exit(NULL);
  pthread_cleanup_pop(1);
  return NULL;
}

int main(int argc, char **argv) {
  pthread_t threads[8];
  corpus_begin(argc, argv);
  pthread_key_create(&key, destroy);
  for (long i = 0; i < 8; i++) pthread_create(&threads[i], NULL, thread, (void *)i);
  for (int i = 0; i < 8; i++) pthread_join(threads[i], NULL);
  corpus_end();
}
