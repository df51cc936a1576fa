// block: a request from its issue to its completion, with the stacks of whoever issued it.
// SPDX-License-Identifier: GPL-2.0-only OR MIT

#define REQ_OP_MASK 0xff
#define REQ_OP_READ 0
#define REQ_OP_WRITE 1

struct request_state {
  u64 made;
  u64 issued;
  u64 bytes;  // completed so far
  u64 ustack;
  u64 kstack;
  u64 span_id;
  u32 tgid;
  u32 pid;
  u32 kind;
  u32 flags;
  u32 span_born;
  u32 reserved;
};
// Requests on their way, by the address of their struct request.
BPF_F_TABLE("hash", u64, struct request_state, requests, 16384, 0);

// Takes note of who makes a request, and from where. issued: when it went to the device, 0: not yet.
static __always_inline int take_request(struct bpf_raw_tracepoint_args *ctx, u64 issued) {
  struct config *c = get_config();
  u64 request = ctx->args[0];
  if (!c || !traced(c)) return 0;
  u32 operation = read_u32(request + REQUEST_CMD_FLAGS) & REQ_OP_MASK;
  if (operation != REQ_OP_READ && operation != REQ_OP_WRITE) return 0;
  struct work *w = get_work(SLOT_BLOCK);
  if (!w) return 0;
  enter(w, SLOT_BLOCK);
  begin_event(&w->event, operation == REQ_OP_READ ? KIND_BLK_READ : KIND_BLK_WRITE,
              bpf_ktime_get_ns());
  w->event.duration = issued;
  w->key = request;
  w->want = c->want[PROGRAM_BLOCK];
  if (in_interrupt(c)) {
    w->want &= ~WANT_USER;
    w->event.span_id = 0;
    w->event.span_born = 0;
  }
  walk(ctx, c, w);
  return 0;
}

// The request is made, in the context of whoever asked for it. args: the request
int on_block_start(struct bpf_raw_tracepoint_args *ctx) {
  u64 request = ctx->args[0];
  requests.delete(&request);  // one that ended without completing (merged into another)
  return take_request(ctx, 0);
}

// It goes to the device, maybe by a kernel thread's hand. args: the request
int on_block_issue(struct bpf_raw_tracepoint_args *ctx) {
  u64 request = ctx->args[0], now = bpf_ktime_get_ns();
  struct request_state *r = requests.lookup(&request);
  if (r) {
    r->issued = now;
    return 0;
  }
  return take_request(ctx, now);  // a kernel that doesn't tell when requests are made
}

static __always_inline void finish_block(struct work *w) {
  struct request_state new = {};
  u64 request = w->key;
  new.made = w->event.time;
  new.issued = w->event.duration;
  new.ustack = w->event.ustack;
  new.kstack = w->event.kstack;
  new.span_id = w->event.span_id;
  new.span_born = w->event.span_born;
  new.tgid = w->event.tgid;
  new.pid = w->event.pid;
  new.kind = w->event.kind;
  new.flags = w->event.flags;
  if (requests.update(&request, &new)) count_lost(new.kind);
}

// args: the request, error, bytes completed now (a request may complete in parts)
int on_block_complete(struct bpf_raw_tracepoint_args *ctx) {
  u64 request = ctx->args[0];
  u32 bytes = ctx->args[2];
  struct request_state *r = requests.lookup(&request);
  if (!r) return 0;
  r->bytes += bytes;
  if (bytes < read_u32(request + REQUEST_DATA_LEN)) return 0;
  struct event e = {};
  e.time = bpf_ktime_get_ns();
  e.duration = e.time - (r->issued ? r->issued : r->made);
  e.amount = r->bytes;
  e.ustack = r->ustack;
  e.kstack = r->kstack;
  e.span_id = r->span_id;
  e.span_born = r->span_born;
  e.tgid = r->tgid;
  e.pid = r->pid;
  e.cpu = bpf_get_smp_processor_id();
  e.kind = r->kind;
  e.flags = r->flags;
  emit(&e);
  requests.delete(&request);
  return 0;
}
