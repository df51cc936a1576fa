// Run once on each CPU at start: where the kernel keeps this CPU's data. Neither address has a symbol on
// every kernel, so they are taken from what a program can see.
// SPDX-License-Identifier: GPL-2.0-only OR MIT

#define RUNNING_MAP 0x7ffffff0  // the loader puts the descriptor of `running` here

int on_cpu_facts(void *ctx) {
  u32 zero = 0, cpu = bpf_get_smp_processor_id();
  struct work *w = get_work(SLOT_USDT);
  u32 *mine = running.lookup(&zero);
  struct cpu_facts facts = {};
  // The map `running` itself is a struct bpf_array, which holds the per-CPU address of `mine`.
  if (!mine || !w ||
      bpf_probe_read_kernel(w->frames, BPF_ARRAY_PPTRS + 8, (void *)bpf_pseudo_fd(1, RUNNING_MAP)))
    return 0;
  *(volatile u64 *)&w->hash = (u64)mine;  // through memory, to make a number of the pointer
  facts.offset = *(volatile u64 *)&w->hash - w->frames[BPF_ARRAY_PPTRS / 8];
#ifdef TASK_CFS_RQ
  facts.rq = read_u64(read_u64((u64)current_task() + TASK_CFS_RQ) + CFS_RQ_RQ);
#endif
  cpus.update(&cpu, &facts);
  return 0;
}
