// profile: a sample of the CPU's clock.
// SPDX-License-Identifier: GPL-2.0-only OR MIT

int on_sample(struct bpf_perf_event_data *ctx) {
  struct config *c = get_config();
  if (!c || !traced(c)) return 0;
  struct work *w = get_work(SLOT_PROFILE);
  if (!w) return 0;
  enter(w, SLOT_PROFILE);
  begin_event(&w->event, KIND_PROFILE, bpf_ktime_get_ns());
  w->event.duration = c->number[PROGRAM_PROFILE];  // the period, ns
  w->want = c->want[PROGRAM_PROFILE];
  if ((w->want & WANT_USER) && begin_walk(&ctx->regs, c, w)) sample_programs.call(ctx, TAIL_UNWIND);
  sample_programs.call(ctx, TAIL_FINISH);
  leave(w);  // only where the tail call failed
  return 0;
}
