// What a program knows of each span: the truth that a recording is compared with.
#pragma once
#include "../../workloads/truth.h"

struct noted {
  u64 span_id, parent_id, id, amount;
  const char *name;
  size_t name_length;
  u64 enters, entered_at, first_enter, busy, total, written;
  pid_t tgid;
};

static int null_fd = -1;

static void note_enter(struct noted *n) {
  n->entered_at = now_ns(CLOCK_MONOTONIC);
  if (!n->enters++) n->first_enter = n->entered_at;
}
static void note_exit(struct noted *n) { n->busy += now_ns(CLOCK_MONOTONIC) - n->entered_at; }
static void note_close(struct noted *n) { n->total = now_ns(CLOCK_MONOTONIC) - n->first_enter; }

// Writes to /dev/null, on the account of the span that is innermost.
static void noted_write(struct noted *n, size_t bytes) {
  static const char zeros[1 << 16];
  if (write(null_fd, zeros, bytes) != (ssize_t)bytes) err(1, "/dev/null");
  n->written += bytes;
}
// As JSON, one \u escape a byte: names here may be no UTF-8, and readers want the bytes.
static void tell_bytes(const char *name, const char *text, size_t length) {
  tell("\"%s\": \"", name);
  for (size_t i = 0; i < length; i++) tell("\\u%04x", (unsigned char)text[i]);
  tell("\", ");
}
static void tell_span(const struct noted *n) {
  tell_begin(NULL, '{');
  tell_number("tgid", n->tgid);
  tell("\"span_id\": %" PRIu64 ", \"parent_id\": %" PRIu64 ", \"id\": %" PRIu64 ", \"amount\": %" PRIu64 ", ",
       n->span_id, n->parent_id, n->id, n->amount);
  tell_bytes("name", n->name, n->name_length);
  tell_number("enters", n->enters);
  tell_number("busy_ns", n->busy);
  tell_number("total_ns", n->total);
  tell_number("written_bytes", n->written);
  tell("\"closed\": %s, ", n->total ? "true" : "false");
  tell_end('}');
}
