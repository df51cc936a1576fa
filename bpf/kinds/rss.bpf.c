// rss: resident memory of the current task's own address space, each time it has moved far enough.
// SPDX-License-Identifier: GPL-2.0-only OR MIT

#define RSS_MEMBERS 4  // MM_FILEPAGES, MM_ANONPAGES, MM_SWAPENTS, MM_SHMEMPAGES
#define SWAP_MEMBER 2

#define MOST_CPUS 512

struct resident {
  u64 mm;
  s64 pages[RSS_MEMBERS];
  s64 stored;  // the total of the last row
  u64 fresh;   // the address space is new: its growth counts from nothing
};
// By tgid: what is resident, as last seen.
BPF_F_TABLE("hash", u32, struct resident, residents, 32768, 0);

static __always_inline u64 counter_of(u64 mm, u32 member) {
  return mm + MM_RSS_STAT + member * RSS_MEMBER_SIZE;
}

// Pages of a member that the kernel counts in one place, or the part of it that is in one place.
static __always_inline s64 count_shared(u64 mm, u32 member) {
#ifdef RSS_PER_CPU
  return read_u64(counter_of(mm, member) + PERCPU_COUNTER_COUNT);
#else
  return read_u64(counter_of(mm, member));
#endif
}

// Pages of one member, summed over the CPUs where the kernel counts per CPU (percpu_counter, from 6.2).
static __always_inline s64 count_pages(struct config *c, u64 mm, u32 member) {
  s64 pages = count_shared(mm, member);
#ifdef RSS_PER_CPU
  u64 counters = read_u64(counter_of(mm, member) + PERCPU_COUNTER_COUNTERS);
#pragma clang loop unroll(disable)
  for (u32 cpu = 0; cpu < MOST_CPUS; cpu++) {
    if (cpu >= c->cpu_count) break;
    u64 offset = cpu_offset(cpu);
    if (offset) pages += (s32)read_u32(offset + counters);
  }
#endif
  return pages;
}

static __always_inline s64 total_pages(struct resident *r) {
  s64 total = r->pages[0] + r->pages[1] + r->pages[3];
  return total < 0 ? 0 : total;
}

// All members in one pass: file, anon, shmem.
static __always_inline void count_all(struct config *c, struct resident *r, u64 mm) {
  s64 file = count_shared(mm, 0), anon = count_shared(mm, 1), shmem = count_shared(mm, 3);
#ifdef RSS_PER_CPU
  u64 file_at = read_u64(counter_of(mm, 0) + PERCPU_COUNTER_COUNTERS);
  u64 anon_at = read_u64(counter_of(mm, 1) + PERCPU_COUNTER_COUNTERS);
  u64 shmem_at = read_u64(counter_of(mm, 3) + PERCPU_COUNTER_COUNTERS);
#pragma clang loop unroll(disable)
  for (u32 cpu = 0; cpu < MOST_CPUS; cpu++) {
    if (cpu >= c->cpu_count) break;
    u64 offset = cpu_offset(cpu);
    if (!offset) continue;
    file += (s32)read_u32(offset + file_at);
    anon += (s32)read_u32(offset + anon_at);
    shmem += (s32)read_u32(offset + shmem_at);
  }
#endif
  r->mm = mm;
  r->pages[0] = file;
  r->pages[1] = anon;
  r->pages[3] = shmem;
}

// args: mm, member (and, until 6.7, the count)
int on_rss(struct bpf_raw_tracepoint_args *ctx) {
  struct config *c = get_config();
  u64 mm = ctx->args[0];
  u32 member = ctx->args[1];
  if (!c || !mm || member >= RSS_MEMBERS || member == SWAP_MEMBER) return 0;
  if (mm != read_u64((u64)current_task() + TASK_MM)) return 0;
  if (!traced(c)) return 0;
  u32 tgid = bpf_get_current_pid_tgid() >> 32;
  struct resident *r = residents.lookup(&tgid);
  if (!r || r->mm != mm || r->fresh) {
    struct resident first = {};
    count_all(c, &first, mm);
    // After an exec it has grown from nothing; where it existed before, growth is known from here on.
    first.stored = r ? 0 : total_pages(&first);
    residents.update(&tgid, &first);
    r = residents.lookup(&tgid);
    if (!r) return 0;
  } else {
    r->pages[member & 3] = count_pages(c, mm, member);
  }
  s64 total = total_pages(r), moved = total - r->stored;
  if ((u64)(moved < 0 ? -moved : moved) < c->number[PROGRAM_RSS]) return 0;
  struct work *w = get_work(SLOT_RSS);
  if (!w) return 0;
  r->stored = total;
  enter(w, SLOT_RSS);
  begin_event(&w->event, KIND_RSS, bpf_ktime_get_ns());
  w->event.amount = (u64)total * PAGE_BYTES;
  w->event.word0 = (u64)moved * PAGE_BYTES;
  w->want = c->want[PROGRAM_RSS];
  walk(ctx, c, w);
  return 0;
}
