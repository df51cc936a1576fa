// vfs: system calls of the read and write families, with the bytes really moved and the time in the call.
// SPDX-License-Identifier: GPL-2.0-only OR MIT

#define COMPAT_CS 0x23   // __USER32_CS
#define COMPAT 512       // where the numbers of 32-bit calls begin in `families`
#define FAMILIES 1024
enum family { FAMILY_READ = 1, FAMILY_WRITE = 2 };  // both: sendfile, copy_file_range, splice

// By system call number: enum family. Filled by the recorder.
BPF_F_TABLE("array", u32, u32, families, FAMILIES, 0);
struct call {
  u64 began;
  u32 family;
  u32 reserved;
};
// Threads in such a call, by pid.
BPF_F_TABLE("hash", u32, struct call, calls, 65536, 0);

// args: registers, number
int on_sys_enter(struct bpf_raw_tracepoint_args *ctx) {
  u32 number = ctx->args[1];
  if (number >= COMPAT) return 0;
  u32 *family = families.lookup(&number);
  u32 compat = number + COMPAT;
  u32 *compat_family = families.lookup(&compat);
  if (!family || !compat_family || !(*family | *compat_family)) return 0;
  struct config *c = get_config();
  if (!c || !traced(c)) return 0;
  if ((read_u64(ctx->args[0] + __builtin_offsetof(struct pt_regs, cs)) & 0xffff) == COMPAT_CS)
    family = compat_family;
  if (!*family) return 0;
  struct call call = {};
  call.began = bpf_ktime_get_ns();
  call.family = *family;
  u32 pid = bpf_get_current_pid_tgid();
  if (calls.update(&pid, &call))
    count_lost(call.family & FAMILY_READ ? KIND_VFS_READ : KIND_VFS_WRITE);
  return 0;
}

// args: registers, result
int on_sys_exit(struct bpf_raw_tracepoint_args *ctx) {
  u32 pid = bpf_get_current_pid_tgid();
  struct call *call = calls.lookup(&pid);
  if (!call) return 0;
  struct config *c = get_config();
  struct work *w = get_work(SLOT_VFS);
  u64 began = call->began;
  u32 family = call->family;
  calls.delete(&pid);
  if (!c || !w) return 0;
  s64 moved = ctx->args[1];
  enter(w, SLOT_VFS);
  begin_event(&w->event, family & FAMILY_READ ? KIND_VFS_READ : KIND_VFS_WRITE, bpf_ktime_get_ns());
  if (family == (FAMILY_READ | FAMILY_WRITE)) w->also = KIND_VFS_WRITE;
  w->event.duration = w->event.time - began;
  w->event.amount = moved < 0 ? 0 : moved;
  w->want = c->want[PROGRAM_VFS];
  walk(ctx, c, w);
  return 0;
}
