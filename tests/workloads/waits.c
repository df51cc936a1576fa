// waits CASE: threads that sleep, wait for a mutex, share a CPU, or lock each other out for ever.
#include "truth.h"
#include <pthread.h>
#include <semaphore.h>
#include <signal.h>

enum { NAPS = 8, HANDOVERS = 8 };

static pid_t tids[2];
static u64 begin_ns[2], end_ns[2];

static void start(pthread_t *thread, void *(*run)(void *), void *argument) {
  if (pthread_create(thread, NULL, run, argument)) errx(1, "no thread");
}

// ---- sleep: naps of growing length, the kernel's own count of the time spent runnable beside them

static u64 runnable_ns(void) {
  unsigned long long ran = 0, waited = 0;
  FILE *file = fopen("/proc/thread-self/schedstat", "re");
  if (!file || fscanf(file, "%llu %llu", &ran, &waited) != 2) errx(1, "no schedstat");
  fclose(file);
  return waited;
}

static void *nap(void *unused) {
  (void)unused;
  tell_number("tid", thread_id());
  tell_begin("naps", '[');
  for (int i = 0; i < NAPS; i++) {
    u64 asked = (i + 1) * 20000000ull;
    struct timespec time = {0, asked};
    u64 began = now_ns(CLOCK_MONOTONIC);
    nanosleep(&time, NULL);
    u64 ended = now_ns(CLOCK_MONOTONIC);
    tell_begin(NULL, '{');
    tell_number("asked_ns", asked);
    tell_number("begin_ns", began);
    tell_number("end_ns", ended);
    tell_end('}');
  }
  tell_end(']');
  return NULL;
}

static void run_sleep(void) {
  pthread_t thread;
  start(&thread, nap, NULL);
  pthread_join(thread, NULL);
}

// ---- mutex: the owner hands over to the waiter, again and again

static pthread_mutex_t gate = PTHREAD_MUTEX_INITIALIZER;
static sem_t locked, about_to_wait;
static struct {
  u64 begin_ns, end_ns;
} handovers[HANDOVERS];

__attribute__((noinline)) static void open_gate(void) {
  pthread_mutex_unlock(&gate);
  asm volatile("");  // no tail call: the frame stays
}

__attribute__((noinline)) static void wait_at_gate(void) {
  pthread_mutex_lock(&gate);
  asm volatile("");
}

static void *own(void *unused) {
  (void)unused;
  tids[0] = thread_id();
  for (int i = 0; i < HANDOVERS; i++) {
    struct timespec time = {0, 40000000};
    pthread_mutex_lock(&gate);
    sem_post(&locked);
    sem_wait(&about_to_wait);
    nanosleep(&time, NULL);
    open_gate();
    sem_wait(&about_to_wait);  // it has it, and has left it
  }
  return NULL;
}

static void *want(void *unused) {
  (void)unused;
  tids[1] = thread_id();
  for (int i = 0; i < HANDOVERS; i++) {
    sem_wait(&locked);
    sem_post(&about_to_wait);
    handovers[i].begin_ns = now_ns(CLOCK_MONOTONIC);
    wait_at_gate();
    handovers[i].end_ns = now_ns(CLOCK_MONOTONIC);
    pthread_mutex_unlock(&gate);
    sem_post(&about_to_wait);
  }
  return NULL;
}

static void run_mutex(void) {
  pthread_t owner, waiter;
  sem_init(&locked, 0, 0);
  sem_init(&about_to_wait, 0, 0);
  start(&owner, own, NULL);
  start(&waiter, want, NULL);
  pthread_join(owner, NULL);
  pthread_join(waiter, NULL);
  tell_number("owner", tids[0]);
  tell_number("waiter", tids[1]);
  tell_begin("handovers", '[');
  for (int i = 0; i < HANDOVERS; i++) {
    tell_begin(NULL, '{');
    tell_number("begin_ns", handovers[i].begin_ns);
    tell_number("end_ns", handovers[i].end_ns);
    tell_end('}');
  }
  tell_end(']');
}

// ---- share: two threads that are always busy, on one CPU

static u64 cpu_ns[2], wanted_ns[2];
static pthread_barrier_t together;

static void *burn(void *argument) {
  int me = argument == &tids[1];
  tids[me] = thread_id();
  begin_ns[me] = now_ns(CLOCK_MONOTONIC);
  pthread_barrier_wait(&together);
  spin_ns(2000000000);
  cpu_ns[me] = now_ns(CLOCK_THREAD_CPUTIME_ID);
  wanted_ns[me] = runnable_ns();
  end_ns[me] = now_ns(CLOCK_MONOTONIC);
  return NULL;
}

static void run_share(void) {
  pthread_t threads[2];
  claim_cpu(0);
  pthread_barrier_init(&together, NULL, 2);
  start(&threads[0], burn, &tids[0]);
  start(&threads[1], burn, &tids[1]);
  tell_begin("threads", '[');
  for (int i = 0; i < 2; i++) {
    pthread_join(threads[i], NULL);
    tell_begin(NULL, '{');
    tell_number("tid", tids[i]);
    tell_number("begin_ns", begin_ns[i]);
    tell_number("end_ns", end_ns[i]);
    tell_number("cpu_ns", cpu_ns[i]);
    tell_number("runnable_ns", wanted_ns[i]);
    tell_end('}');
  }
  tell_end(']');
}

// ---- deadlock: each has one lock and wants the other

static pthread_mutex_t left = PTHREAD_MUTEX_INITIALIZER, right = PTHREAD_MUTEX_INITIALIZER;

__attribute__((noinline)) static void take_right_after_left(void) {
  pthread_mutex_lock(&right);
  asm volatile("");
}
__attribute__((noinline)) static void take_left_after_right(void) {
  pthread_mutex_lock(&left);
  asm volatile("");
}

static void *left_first(void *unused) {
  (void)unused;
  tids[0] = thread_id();
  pthread_mutex_lock(&left);
  pthread_barrier_wait(&together);
  take_right_after_left();
  return NULL;
}

static void *right_first(void *unused) {
  (void)unused;
  tids[1] = thread_id();
  pthread_mutex_lock(&right);
  pthread_barrier_wait(&together);
  take_left_after_right();
  return NULL;
}

static void run_deadlock(void) {
  pthread_t threads[2];
  alarm(60);  // should nobody end it
  pthread_barrier_init(&together, NULL, 3);
  start(&threads[0], left_first, NULL);
  start(&threads[1], right_first, NULL);
  pthread_barrier_wait(&together);
  tell_number("left_first", tids[0]);
  tell_number("right_first", tids[1]);
  tell_number("locked_ns", now_ns(CLOCK_MONOTONIC));
  truth_end();
  pthread_join(threads[0], NULL);
}

int main(int argc, char **argv) {
  if (truth_begin(argc, argv) != 2) errx(2, "usage: waits sleep|mutex|share|deadlock --truth FILE");
  if (!strcmp(argv[1], "sleep")) run_sleep();
  else if (!strcmp(argv[1], "mutex")) run_mutex();
  else if (!strcmp(argv[1], "share")) run_share();
  else if (!strcmp(argv[1], "deadlock")) run_deadlock();
  else errx(2, "no case %s", argv[1]);
  truth_end();
  return 0;
}
