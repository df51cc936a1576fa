// The programs that others tail-call. This text is spliced once for each TYPE of program, for a program array
// holds one type: sample (perf events), raw (raw tracepoints), probe (user probes).
// SPDX-License-Identifier: GPL-2.0-only OR MIT

int unwind_TYPE(CONTEXT *ctx) {
  struct config *c = get_config();
  struct work *w = TYPE_work();
  if (!c || !w) return 0;
  if (step(w) == STACK_CUT && w->n < c->max_frames) TYPE_programs.call(ctx, TAIL_UNWIND);
  if (begin_python(w)) TYPE_programs.call(ctx, TAIL_PYTHON);
  TYPE_programs.call(ctx, TAIL_FINISH);
  leave(w);
  return 0;
}

int python_TYPE(CONTEXT *ctx) {
  struct work *w = TYPE_work();
  if (!w) return 0;
  struct python_work *y = get_python_work(w->slot);
  u32 next = y ? walk_on(w, y, TAIL_PYTHON) : PYTHON_END;
  if (next == PYTHON_AGAIN) TYPE_programs.call(ctx, TAIL_PYTHON);
  if (next == PYTHON_ON) TYPE_programs.call(ctx, TAIL_PYTHON_FRAMES);
  TYPE_programs.call(ctx, TAIL_FINISH);
  leave(w);
  return 0;
}

int python_frames_TYPE(CONTEXT *ctx) {
  struct work *w = TYPE_work();
  if (!w) return 0;
  struct python_work *y = get_python_work(w->slot);
  u32 next = y ? walk_on(w, y, TAIL_PYTHON_FRAMES) : PYTHON_END;
  if (next == PYTHON_AGAIN) TYPE_programs.call(ctx, TAIL_PYTHON_FRAMES);
  if (next == PYTHON_ON) TYPE_programs.call(ctx, TAIL_PYTHON_CODES);
  TYPE_programs.call(ctx, TAIL_FINISH);
  leave(w);
  return 0;
}

int python_codes_TYPE(CONTEXT *ctx) {
  struct work *w = TYPE_work();
  if (!w) return 0;
  struct python_work *y = get_python_work(w->slot);
  if (y && walk_on(w, y, TAIL_PYTHON_CODES) == PYTHON_AGAIN)
    TYPE_programs.call(ctx, TAIL_PYTHON_CODES);
  TYPE_programs.call(ctx, TAIL_FINISH);
  leave(w);
  return 0;
}

int finish_TYPE(CONTEXT *ctx) {
  struct work *w = TYPE_work();
  if (!w) return 0;
  finish(ctx, w);
  leave(w);
  return 0;
}
