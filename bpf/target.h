// One question: is the current task traced?
// SPDX-License-Identifier: GPL-2.0-only OR MIT
#pragma once

static __always_inline int traced_by_comm(void) {
  struct comm_key key = {};
  bpf_get_current_comm(&key, sizeof(key));
  if (comms.lookup(&key)) return 1;
  // The name of the process is that of its first thread.
  u64 leader = read_u64((u64)current_task() + TASK_GROUP_LEADER);
  // Into an empty key: what a longer name left behind its end would make it another one.
  struct comm_key process = {};
  bpf_probe_read_kernel_str(&process, sizeof(process), (void *)leader + TASK_COMM);
  return comms.lookup(&process) != 0;
}

static __always_inline int traced(struct config *c) {
  u32 tgid = bpf_get_current_pid_tgid() >> 32;
  if (!tgid || tgid == c->own_tgid) return 0;
  if (c->target_flags & TARGET_ALL) return 1;
  if (targets.lookup(&tgid)) return 1;
  if ((c->target_flags & TARGET_COMMS) && traced_by_comm()) return 1;
  if (c->target_flags & TARGET_CGROUP)
    return bpf_get_current_ancestor_cgroup_id(c->cgroup_level) == c->cgroup_id;
  return 0;
}
