// net: bytes that TCP and UDP sockets sent and received. A look without taking (MSG_PEEK) is no receipt.
// SPDX-License-Identifier: GPL-2.0-only OR MIT

#define AF_INET 2
#define AF_INET6 10
#define IPPROTO_TCP 6
#define IPPROTO_UDP 17
#define MSG_PEEK 2

// args: socket, result, flags
static __always_inline int on_socket(struct bpf_raw_tracepoint_args *ctx, u32 tcp_kind, u32 udp_kind,
                                     u32 ignored_flags) {
  u64 sk = ctx->args[0];
  s32 moved = ctx->args[1];
  struct config *c = get_config();
  if (moved < 0 || (ctx->args[2] & ignored_flags) || !c || !traced(c)) return 0;
  u16 family = read_u32(sk + SOCK_FAMILY), protocol = read_u32(sk + SOCK_PROTOCOL);
  if (family != AF_INET && family != AF_INET6) return 0;
  if (protocol != IPPROTO_TCP && protocol != IPPROTO_UDP) return 0;
  struct work *w = get_work(SLOT_NET);
  if (!w) return 0;
  enter(w, SLOT_NET);
  begin_event(&w->event, protocol == IPPROTO_TCP ? tcp_kind : udp_kind, bpf_ktime_get_ns());
  w->event.amount = moved;
  w->want = c->want[PROGRAM_NET];
  walk(ctx, c, w);
  return 0;
}

int on_send(struct bpf_raw_tracepoint_args *ctx) {
  return on_socket(ctx, KIND_TCP_SEND, KIND_UDP_SEND, 0);
}

int on_receive(struct bpf_raw_tracepoint_args *ctx) {
  return on_socket(ctx, KIND_TCP_RECV, KIND_UDP_RECV, MSG_PEEK);
}
