// life NEXT: one process under many names. Each name is told by the bytes it writes, see `tests/bpf/test_life.py`.
//
// NEXT is this program compiled with -DNEXT: it writes TAG bytes ROUNDS times and ends.
#include "truth.h"
#include <pthread.h>
#include <sys/prctl.h>
#include <sys/wait.h>

enum { ROUNDS = 20, FLIPS = 300 };

static int null_fd;
static char buffer[4096];

static void tag(size_t bytes, int rounds) {
  for (int i = 0; i < rounds; i++)
    if (write(null_fd, buffer, bytes) != (ssize_t)bytes) err(1, "write");
}

#ifdef NEXT

int main(int argc, char **argv) {
  null_fd = open("/dev/null", O_WRONLY | O_CLOEXEC);
  if (argc != 2) errx(2, "usage: life_next TAG");
  tag(atoi(argv[1]), ROUNDS);
  return 0;
}

#else

static char *next_path;

static void be_next(const char *tag_text) {
  execl(next_path, next_path, tag_text, (char *)NULL);
  err(1, "%s", next_path);
}

static void *be_worker(void *unused) {
  (void)unused;
  tell_number("worker", thread_id());
  tag(1103, ROUNDS);
  prctl(PR_SET_NAME, "worker-a");
  tag(1104, ROUNDS);
  prctl(PR_SET_NAME, "worker-b");
  tag(1105, ROUNDS);
  return NULL;
}

static void *be_next_from_thread(void *unused) {
  (void)unused;
  be_next("1112");
  return NULL;
}

static void in_thread(void *(*run)(void *)) {
  pthread_t thread;
  if (pthread_create(&thread, NULL, run, NULL)) errx(1, "no thread");
  pthread_join(thread, NULL);
}

static void in_child(const char *name, void (*run)(void)) {
  pid_t child = fork();
  if (child == 0) {
    run();
    _exit(0);
  }
  int status;
  if (child < 0 || waitpid(child, &status, 0) != child || status) errx(1, "the child failed");
  tell_number(name, child);
}

static void child_with_names(void) {
  tag(1106, ROUNDS);
  prctl(PR_SET_NAME, "child-name");
  tag(1107, ROUNDS);
  be_next("1108");
}

static void child_with_thread(void) { in_thread(be_next_from_thread); }

int main(int argc, char **argv) {
  if (truth_begin(argc, argv) != 2) errx(2, "usage: life NEXT --truth FILE");
  next_path = argv[1];
  null_fd = open("/dev/null", O_WRONLY | O_CLOEXEC);
  tag(1101, ROUNDS);
  prctl(PR_SET_NAME, "renamed-self");
  tag(1102, ROUNDS);
  in_thread(be_worker);
  in_child("child", child_with_names);
  in_child("threaded_child", child_with_thread);
  for (int i = 0; i < FLIPS; i++) {
    prctl(PR_SET_NAME, "odd-name");
    tag(1111, 1);
    prctl(PR_SET_NAME, "even-name");
    tag(1110, 1);
  }
  tell_number("rounds", ROUNDS);
  tell_number("flips", FLIPS);
  truth_end();
  be_next("1109");
}

#endif
