// c_spans SCENARIO [N] --truth FILE: spans of a C program, with their truth.
//
// Truth: "spans": each with tgid, ids, name (a character a byte), enters, busy and total time, and the
// bytes written to /dev/null while it was innermost; "outside_bytes": written in no span. Of spans that
// are too many for that, the number, under their name.
#include "noted.h"
#include "tracing_stacks.h"
#include <pthread.h>
#include <sys/mman.h>
#include <sys/wait.h>

static u64 outside_bytes;

struct span {
  tracing_stacks_span span;
  struct noted noted;
};

static struct span span_open(const char *name, u64 id, u64 amount, int exit_stack) {
  struct span s = {.span = tracing_stacks_open(name, id, amount)};
  s.span.exit_stack = exit_stack;
  s.noted = (struct noted){.span_id = s.span.span_id, .parent_id = s.span.parent_id, .id = id, .amount = amount,
                           .name = name, .name_length = strlen(name), .tgid = getpid()};
  return s;
}
static void span_enter(struct span *s) {
  note_enter(&s->noted);
  tracing_stacks_enter(&s->span);
}
static void span_exit(struct span *s) {
  tracing_stacks_exit(&s->span);
  note_exit(&s->noted);
}
static void span_close(struct span *s) {
  tracing_stacks_close(&s->span);
  note_close(&s->noted);
}
static void span_write(struct span *s, size_t bytes) { noted_write(&s->noted, bytes); }

// What is told after the spans: counts of those that are too many to be told one by one.
static struct {
  const char *name;
  i64 value;
} told_later[4];
static size_t told_later_count;

static void more(const char *name, i64 value) {
  told_later[told_later_count].name = name;
  told_later[told_later_count++].value = value;
}

static void write_outside(size_t bytes) {
  struct noted nowhere = {0};
  noted_write(&nowhere, bytes);
  outside_bytes += bytes;
}

static void nap_us(long us) { nanosleep(&(struct timespec){.tv_nsec = us * 1000}, NULL); }

// Three levels, with bytes at each, twice over.
static void bytes(int ignored) {
  (void)ignored;
  for (u64 i = 1; i <= 2; i++) {
    struct span order = span_open("order", i, 1000 * i, 0), query, row;
    write_outside(11);
    span_enter(&order);
    span_write(&order, 100 * i);
    query = span_open("query", 10 * i, 0, 1);
    span_enter(&query);
    span_write(&query, 4096);
    row = span_open("row", 0, UINT64_MAX, 0);
    span_enter(&row);
    span_write(&row, 1);
    spin_ns(2000000);
    span_exit(&row);
    span_close(&row);
    nap_us(3000);
    span_write(&query, 7);
    span_exit(&query);
    span_close(&query);
    span_write(&order, 5);
    span_exit(&order);
    span_close(&order);
    tell_span(&row.noted);
    tell_span(&query.noted);
    tell_span(&order.noted);
  }
}

static void nested(int levels) {
  struct span *spans = calloc(levels, sizeof(*spans));
  for (int i = 0; i < levels; i++) {
    spans[i] = span_open("level", i, 0, 0);
    span_enter(&spans[i]);
    span_write(&spans[i], 1 + i);
  }
  for (int i = levels; i-- > 0;) {
    span_write(&spans[i], 1000 + i);
    span_exit(&spans[i]);
    span_close(&spans[i]);
    tell_span(&spans[i].noted);
  }
  free(spans);
}

// Exits in another order than the enters: after each, a byte count tells who is innermost.
static void out_of_order(int ignored) {
  (void)ignored;
  struct span a = span_open("a", 0, 0, 0), b, c;
  span_enter(&a);
  b = span_open("b", 0, 0, 0);
  span_enter(&b);
  c = span_open("c", 0, 0, 0);
  span_enter(&c);
  span_exit(&a);
  span_write(&c, 10);
  span_exit(&c);
  span_write(&b, 20);
  span_exit(&b);
  write_outside(30);
  span_close(&b);
  span_close(&a);
  span_close(&c);
  tell_span(&a.noted);
  tell_span(&b.noted);
  tell_span(&c.noted);
}

// One span that N times goes to the next of four threads, each of which writes in it.
static struct {
  struct span span;
  int left;
  pthread_mutex_t mutex;
  pthread_cond_t turn;
} travelling = {.mutex = PTHREAD_MUTEX_INITIALIZER, .turn = PTHREAD_COND_INITIALIZER};

static void *host(void *number) {
  pthread_mutex_lock(&travelling.mutex);
  for (;;) {
    while (travelling.left > 0 && travelling.left % 4 != (long)number)
      pthread_cond_wait(&travelling.turn, &travelling.mutex);
    if (travelling.left <= 0) break;
    span_enter(&travelling.span);
    span_write(&travelling.span, 3);
    span_exit(&travelling.span);
    write_outside(2);
    travelling.left--;
    pthread_cond_broadcast(&travelling.turn);
  }
  pthread_mutex_unlock(&travelling.mutex);
  return NULL;
}
static void migrate(int times) {
  pthread_t threads[4];
  travelling.left = times;
  travelling.span = span_open("traveller", 77, 0, 0);
  for (long i = 0; i < 4; i++) pthread_create(&threads[i], NULL, host, (void *)i);
  for (int i = 0; i < 4; i++) pthread_join(threads[i], NULL);
  span_close(&travelling.span);
  tell_span(&travelling.span.noted);
}

// Entered on one thread, exited on another, which is in a span of its own then.
static void *exit_it(void *given) {
  struct span *foreign = given, own = span_open("exiting", 0, 0, 0);
  span_enter(&own);
  span_exit(foreign);
  span_write(&own, 40);
  span_exit(&own);
  span_close(&own);
  tell_span(&own.noted);
  return NULL;
}
static void exit_elsewhere(int ignored) {
  (void)ignored;
  struct span span = span_open("handed over", 0, 0, 0);
  pthread_t thread;
  span_enter(&span);
  span_write(&span, 50);
  pthread_create(&thread, NULL, exit_it, &span);
  pthread_join(thread, NULL);
  write_outside(60);
  span_close(&span);
  tell_span(&span.noted);
}

// A thread ends inside a span; the next one, which may get its number, writes outside.
static void *die_inside(void *given) {
  span_enter(given);
  span_write(given, 70);
  return NULL;
}
static void *only_write(void *ignored) {
  write_outside(80);
  return ignored;
}
static void thread_dies(int ignored) {
  (void)ignored;
  struct span span = span_open("left open", 0, 0, 0);
  pthread_t thread;
  pthread_create(&thread, NULL, die_inside, &span);
  pthread_join(thread, NULL);
  pthread_create(&thread, NULL, only_write, NULL);
  pthread_join(thread, NULL);
  tell_span(&span.noted);
}

// Two threads in spans of their own, which wake one another N times.
static int ping[2], pong[2];
static struct span players[2];
static void *player(void *number) {
  struct span *self = &players[(long)number];
  int *in = number ? ping : pong, *out = number ? pong : ping;
  char ball;
  span_enter(self);
  for (u64 i = 0; i < self->span.amount; i++) {
    if (!number && write(out[1], "o", 1) != 1) err(1, "pipe");
    if (read(in[0], &ball, 1) != 1) err(1, "pipe");
    if (number && write(out[1], "o", 1) != 1) err(1, "pipe");
  }
  span_exit(self);
  span_close(self);
  return NULL;
}
static void ping_pong(int times) {
  pthread_t threads[2];
  if (pipe(ping) || pipe(pong)) err(1, "pipe");
  for (long i = 0; i < 2; i++) {
    players[i] = span_open(i ? "pong" : "ping", i, times, 0);
    pthread_create(&threads[i], NULL, player, (void *)i);
  }
  for (int i = 0; i < 2; i++) pthread_join(threads[i], NULL);
  tell_span(&players[0].noted);
  tell_span(&players[1].noted);
}

static void many(int count) {
  u64 begin = now_ns(CLOCK_MONOTONIC);
  for (int i = 0; i < count; i++) {
    TRACING_STACKS_SPAN("one of many", i, 1);
  }
  more("one of many", count);
  more("elapsed_ns", now_ns(CLOCK_MONOTONIC) - begin);
}

// N spans open at once on one thread, all exited and closed, first to last.
static void open_at_once(int count) {
  tracing_stacks_span *spans = calloc(count, sizeof(*spans));
  for (int i = 0; i < count; i++) {
    spans[i] = tracing_stacks_open("heap", i, 0);
    tracing_stacks_enter(&spans[i]);
  }
  for (int i = 0; i < count; i++) tracing_stacks_exit(&spans[i]);
  write_outside(90);
  for (int i = 0; i < count; i++) tracing_stacks_close(&spans[i]);
  free(spans);
  struct span after = span_open("after", 0, 0, 0);
  span_enter(&after);
  span_write(&after, 100);
  span_exit(&after);
  span_close(&after);
  tell_span(&after.noted);
  more("heap", count);
}

// Names of all lengths that matter, and such as nobody would choose.
static void names(int ignored) {
  (void)ignored;
  static char cut[64];
  const char *const texts[] = {
      "", "a", "fifteen letters", "sixteen letters!", "seventeen letters",
      "sixty-three letters, that is as long as a name that's kept whole",
      "sixty-four letters, that is one more than a name that's kept now.",
      "a name far longer than any reader keeps: it goes on and on, and on it goes, to 128 and beyond......",
      "[red]markup[/red] [/] {x} <b>&amp;", "\x1b[31mred\x1b]0;title\x07", "tab\tnewline\nreturn\r",
      "\xff\xfe no UTF-8 \xc3", "right\xe2\x80\xaeto left", "'; drop table spans; --", "=1+1", cut,
  };
  memset(cut, 'x', 62);
  memcpy(cut + 62, "\xc3\xa9", 2); // é lies across byte 63; the string ends with the next array
  for (size_t i = 0; i < COUNT(texts); i++) {
    struct span span = span_open(texts[i], i, 0, 0);
    if (texts[i] == cut) span.span.name_length = span.noted.name_length = 64;
    span_enter(&span);
    span_write(&span, 200 + i);
    span_exit(&span);
    span_close(&span);
    tell_span(&span.noted);
  }
}

// A name that can't be read: nowhere, at NULL, at the end of a page, with a length that lies.
static void bad_names(int ignored) {
  (void)ignored;
  char *page = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
  if (page == MAP_FAILED || mprotect(page + 4096, 4096, PROT_NONE)) err(1, "mmap");
  memcpy(page + 4096 - 20, "twenty letters, here", 20);
  const struct {
    const char *name;
    u64 length;
  } bad[] = {
      {(const char *)8, 40}, {NULL, 40}, {(const char *)UINT64_C(0xffff888000000000), 20},
      {page + 4096 - 20, 20}, {page + 4096 - 20, 63}, {"a length that lies", 0xffffffff},
  };
  for (size_t i = 0; i < COUNT(bad); i++) {
    struct span span = span_open("", i, 0, 0);
    if (TRACING_STACKS_LISTENED(enter))
      tracing_stacks_fire_enter(span.span.span_id, 0, i, 0, bad[i].name, bad[i].length);
    span_write(&span, 300 + i);
    if (TRACING_STACKS_LISTENED(exit)) tracing_stacks_fire_exit(span.span.span_id);
    if (TRACING_STACKS_LISTENED(close)) tracing_stacks_fire_close(span.span.span_id);
    span.noted.enters = 1;
    span.noted.total = 1;
    tell_span(&span.noted);
  }
}

// N children, forked inside a span that stays the parent's, each with a span of its own.
static void prefork(int children) {
  struct span *shared = mmap(NULL, children * sizeof(*shared), PROT_READ | PROT_WRITE,
                              MAP_SHARED | MAP_ANONYMOUS, -1, 0);
  struct span outer = span_open("master", 0, 0, 0);
  pid_t pids[64];
  if (shared == MAP_FAILED || children > 64) err(1, "mmap");
  span_enter(&outer);
  for (int i = 0; i < children; i++) {
    pids[i] = fork();
    if (pids[i] < 0) err(1, "fork");
    if (pids[i] == 0) {
      shared[i] = span_open("worker", i, 0, 0);
      span_enter(&shared[i]);
      span_write(&shared[i], 400 + i);
      nap_us(2000);
      span_exit(&shared[i]);
      span_close(&shared[i]);
      _exit(0);
    }
  }
  int failed = 0;
  for (int i = 0; i < children; i++) {
    int status;
    waitpid(pids[i], &status, 0);
    failed += status != 0;
  }
  span_exit(&outer);
  span_close(&outer);
  tell_span(&outer.noted);
  for (int i = 0; i < children; i++) tell_span(&shared[i].noted);
  more("failed", failed);
}

// Left open at the end: entered, and exited but not closed.
static void never_closed(int ignored) {
  (void)ignored;
  struct span inside = span_open("inside", 1, 0, 0), outside = span_open("outside", 2, 0, 0);
  span_enter(&outside);
  nap_us(2000);
  span_exit(&outside);
  span_enter(&inside);
  span_write(&inside, 500);
  nap_us(2000);
  tell_span(&inside.noted);
  tell_span(&outside.noted);
}

// One id used again, after its close and before.
static void same_id(int ignored) {
  (void)ignored;
  struct span first = span_open("first", 1, 0, 0);
  span_enter(&first);
  span_write(&first, 600);
  span_exit(&first);
  span_close(&first);
  struct span second = span_open("second", 2, 0, 0);
  second.span.span_id = second.noted.span_id = first.span.span_id;
  span_enter(&second);
  span_write(&second, 700);
  span_exit(&second);
  span_close(&second);
  tell_span(&first.noted);
  tell_span(&second.noted);
}

// Open from before until after somebody comes to listen: one on its thread, one entered anew.
static void late(int ignored) {
  (void)ignored;
  struct span stays = span_open("stays", 0, 0, 0), returns = span_open("returns", 0, 0, 0);
  span_enter(&stays);
  span_enter(&returns);
  span_exit(&returns);
  for (u64 end = now_ns(CLOCK_MONOTONIC) + 20000000000; !TRACING_STACKS_LISTENED(close);) {
    if (now_ns(CLOCK_MONOTONIC) > end) errx(1, "nobody listens");
    nap_us(1000);
  }
  nap_us(900000); // all probes are attached by now
  span_enter(&returns);
  span_write(&returns, 800);
  span_exit(&returns);
  span_close(&returns);
  span_exit(&stays);
  span_close(&stays);
  write_outside(900);
  tell_span(&returns.noted);
  tell_span(&stays.noted);
}

int main(int argc, char **argv) {
  static const struct {
    const char *name;
    void (*run)(int);
    int usual;
  } scenarios[] = {
      {"bytes", bytes, 0}, {"nested", nested, 20}, {"out_of_order", out_of_order, 0},
      {"migrate", migrate, 10000}, {"exit_elsewhere", exit_elsewhere, 0}, {"thread_dies", thread_dies, 0},
      {"ping_pong", ping_pong, 1000}, {"many", many, 1000000}, {"open_at_once", open_at_once, 10000},
      {"names", names, 0}, {"bad_names", bad_names, 0}, {"prefork", prefork, 8},
      {"never_closed", never_closed, 0}, {"same_id", same_id, 0}, {"late", late, 0},
  };
  argc = truth_begin(argc, argv);
  null_fd = open("/dev/null", O_WRONLY | O_CLOEXEC);
  for (size_t i = 0; argc >= 2 && i < COUNT(scenarios); i++) {
    if (strcmp(argv[1], scenarios[i].name)) continue;
    tell_begin("spans", '[');
    scenarios[i].run(argc > 2 ? atoi(argv[2]) : scenarios[i].usual);
    tell_end(']');
    tell_number("outside_bytes", outside_bytes);
    for (size_t j = 0; j < told_later_count; j++) tell_number(told_later[j].name, told_later[j].value);
    truth_end();
    return 0;
  }
  errx(2, "no such scenario");
}
