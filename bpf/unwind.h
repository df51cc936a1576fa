// User stacks by tables made from .eh_frame, frame pointers where code has no table.
// The rows and mappings are written by stacks_tui/unwind (twin: stacks_tui/unwind/rows.py).
//
// Shaped for the verifier: big map values searched at a masked index, so that one lookup with one null
// check serves a whole search, and masks in place of jumps, for every open jump costs it hundreds of
// instructions. BPF verifies one step of STEP_FRAMES frames; a deep stack takes several, by tail call.
// SPDX-License-Identifier: GPL-2.0-only OR MIT
#pragma once

#define STEP_FRAMES 24
#define ROWS_PER_CHUNK 16384
#define MAPPINGS_PER_CHUNK 1024

// How to find the CFA (the caller's rsp). The return address is at CFA - 8.
enum row_kind {
  ROW_NONE = 0,    // no rule: frame pointer
  ROW_RSP = 1,     // rsp + 8 off
  ROW_RBP = 2,     // rbp + 8 off
  ROW_PLT = 3,     // rsp + 8 off, and 8 more in the second half of a PLT entry
  ROW_DRSP = 4,    // *(rsp + 8 off)
  ROW_DRBP = 5,    // *(rbp + 8 off)
  ROW_DRSP8 = 6,   // *(rsp + 8 off) + 8
  ROW_DRBP8 = 7,   // *(rbp + 8 off) + 8
  ROW_REG = 8,     // register (off >> 8) + 8 (off & 255); innermost frame only
  ROW_SIGNAL = 9,  // the kernel's signal frame; off: see rows.py
  ROW_STOP = 10,   // the outermost frame: a start
  ROW_BAD = 11,    // a rule that rows can't say
  ROW_RAREG = 12,  // rsp + 8 (off & 255), return address in register (off >> 8); innermost only
  ROW_ABSENT = 13,  // the module's rows are not in the kernel
};
// rbp of a row: 0 unchanged, n < 0 saved at CFA + 8n, 1 saved at *(rbp), 127 no longer known.

struct mapping {
  u64 start, end, bias;
  u16 first, count;
  u32 chunk;
};

// The registers by DWARF number.
static __always_inline u64 dwarf_register(struct pt_regs *r, u32 n) {
  switch (n) {
    case 0: return r->ax;
    case 1: return r->dx;
    case 2: return r->cx;
    case 3: return r->bx;
    case 4: return r->si;
    case 5: return r->di;
    case 6: return r->bp;
    case 7: return r->sp;
    case 8: return r->r8;
    case 9: return r->r9;
    case 10: return r->r10;
    case 11: return r->r11;
    case 12: return r->r12;
    case 13: return r->r13;
    case 14: return r->r14;
    case 15: return r->r15;
  }
  return 0;
}

// All ones if a < b, else 0, without a jump (a, b < 2^63); kept out of the optimiser's sight, lest it
// make a jump of it again.
static __always_inline u64 below(u64 a, u64 b) {
  u64 mask = (u64)((s64)(a - b) >> 63);
  asm volatile("" : "+r"(mask));
  return mask;
}

static __always_inline u64 mix(u64 hash, u64 word) {
  hash = (hash ^ word) * 0x9E3779B97F4A7C15ull;
  return hash ^ hash >> 29;
}

// A word of the window, at an offset that lies in it.
static __always_inline u64 word_of(struct work *w, u64 offset) {
  asm volatile("" : "+r"(offset));
  return *(u64 *)(w->window + (offset & (WINDOW_BYTES - 1)));
}

// Reads the words at `first` and `first + more`, and what follows them on the stack: one call for many
// frames. It ends with the page, unless both words are behind that, so that it fails only where they are
// not to be had; then they are read alone. (The stack is that of this very thread: it stands still.)
static __always_inline long read_window(struct work *w, u64 first, u64 more) {
  u64 size = WINDOW_BYTES, rest = PAGE_BYTES - (first & (PAGE_BYTES - 1)), least = more + 8;
  long bad = 0;
  size += (rest - size) & below(rest, size);
  size += (least - size) & below(size, least);
  size = ((size - 1) & (WINDOW_BYTES - 1)) + 1;
  w->from = first;
  w->room = size - 8;
  if (bpf_probe_read_user(w->window, size, (void *)first)) {
    bad = bpf_probe_read_user(w->window, 8, (void *)first);  // zero on failure
    bad |= bpf_probe_read_user(w->window + (more & (WINDOW_BYTES - 1)), 8, (void *)first + more);
    w->room = -1;
  }
  return bad;
}

// Takes up to STEP_FRAMES more frames. STACK_CUT: not at the end yet.
static __always_inline u32 unwind_step(struct work *w) {
  u64 ip = w->ip, sp = w->sp, bp = w->bp, exact = w->exact, hash = w->hash, bad = w->bad;
  u64 start = 0, size = 0, bias = 0;  // the mapping of the frame before: mostly the next one's too
  u32 i, status = STACK_CUT, fp = w->by_frame_pointer, walked = 0;
  u32 row_first = 0, row_count = 0, row_chunk = 0;
  u32 chunk = w->space.chunk, map_first = w->space.first, map_count = w->space.count;
  u32 at = w->base + w->n, n0 = w->n;
  u32 slot = w->slot;
  u64 from = w->from, room = w->room;
  u64 *maps = (u64 *)mappings.lookup(&chunk);
  struct known_row *known = (struct known_row *)known_rows.lookup(&slot);
  if (!maps || !known) return STACK_NO_SPACE;
  u64 here = mix(w->salt, (u64)chunk << 32 | map_first << 16 | map_count);
#pragma clang loop unroll(disable)
  for (i = 0; i < STEP_FRAMES; i++) {
    u64 v, cfa, pc = ip - 1 + exact;  // a return address belongs to the call before it
    w->frames[(at + i) & (FRAMES - 1)] = ip;
    w->sps[(at + i) & (FRAMES - 1)] = sp;
    w->n = n0 + i + 1;
    hash = mix(hash, ip);
    u64 key = mix(here, pc);
    struct known_row *row = &known[key >> 40 & (KNOWN_ROWS - 1)];
    u64 r = row->row;
    if ((row->check ^ key) != r) {
      if (pc - start >= size) {
        u32 lo = map_first, n = map_count;
#pragma clang loop unroll(full)
        for (int k = 0; k < 10; k++) {
          u32 half = n >> 1;
          lo += half & ~below(pc, maps[((lo + half) & (MAPPINGS_PER_CHUNK - 1)) * 4]);
          n -= half;
        }
        struct mapping *m = (void *)&maps[(lo & (MAPPINGS_PER_CHUNK - 1)) * 4];
        start = m->start;
        size = m->end - start;
        bias = m->bias;
        row_first = m->first;
        row_count = m->count;
        row_chunk = m->chunk;
      }
      r = (u64)ROW_ABSENT << 48;  // a mapping that isn't known yet
      if (pc - start < size) {
        u64 *c = (u64 *)rows.lookup(&row_chunk);
        if (!c) break;
        u32 rel = pc - bias, lo = row_first, n = row_count;
#pragma clang loop unroll(full)
        for (int k = 0; k < 14; k++) {
          u32 half = n >> 1;
          lo += half & ~below(rel, (u32)c[(lo + half) & (ROWS_PER_CHUNK - 1)]);
          n -= half;
        }
        r = c[lo & (ROWS_PER_CHUNK - 1)];
      }
      row->row = r;
      row->check = r ^ key ^ ((r >> 48 & 255) == ROW_ABSENT);  // not to be kept
    }
    u32 kind = r >> 48 & 255;
    s64 off = (s64)(r << 16) >> 48, rb = (s64)r >> 56;
    exact = 0;
    if (kind - ROW_RSP > ROW_RBP - ROW_RSP) {  // one test takes the seldom kinds out of the way
      if (kind == ROW_STOP) {
        status = STACK_COMPLETE;
        break;
      }
      if (kind == ROW_SIGNAL && !(off && pc == ip)) {  // off: only of a return to the byte after
        u64 frame = sp;  // rt_sigframe: the ucontext lies at rsp (arch/x86: sigcontext_64)
        exact = 1;
        walked = 0;
        bad |= bpf_probe_read_user(&v, 8, (void *)frame + 168);
        ip = v;
        bad |= bpf_probe_read_user(&v, 8, (void *)frame + 120);
        bp = v;
        bad |= bpf_probe_read_user(&v, 8, (void *)frame + 160);
        sp = v;
        if (bad) {
          status = STACK_FAULT;
          break;
        }
        continue;
      }
      if (kind - ROW_PLT <= ROW_DRBP8 - ROW_PLT) {
        u64 by_bp = -(u64)(0xa0 >> kind & 1);  // DRBP, DRBP8
        off += below(10, ip & 15) & (0x8 >> kind & 1);
        if (kind != ROW_PLT) {
          bad |= bpf_probe_read_user(&v, 8, (void *)(sp ^ ((sp ^ bp) & by_bp)) + off * 8);
          sp = v;
          off = 0xc0 >> kind & 1;
        }
        kind = ROW_RSP;
      } else if (kind == ROW_REG && i == 0 && n0 == 0) {
        sp = dwarf_register(&w->regs, (u64)off >> 8 & 255);
        off &= 255;
        kind = ROW_RSP;
      } else if (kind == ROW_RAREG && i == 0 && n0 == 0) {
        ip = dwarf_register(&w->regs, (u64)off >> 8 & 255);
        sp += (off & 255) * 8;
        if (rb) {
          status = STACK_NO_RULE;
          break;
        }
        continue;
      } else if (kind == ROW_NONE) {
        if (bp < sp) {
          // rbp = 0 means a start only to code that keeps frame pointers (where one was just followed),
          // or where the stack is back at where the program began with it.
          u64 from_start = w->start_stack - sp;
          status = bp || !(walked || from_start < 64) ? STACK_FP_END : bad ? STACK_FAULT : STACK_COMPLETE;
          break;
        }
        off = 2;
        rb = -2;
        kind = ROW_RBP;
        fp++;
        walked = 2;
      } else {
        // A register that only a walk with all of them can know: that is done later, from a copy.
        status = kind == ROW_BAD || kind == ROW_SIGNAL ? STACK_NO_RULE : STACK_NO_SPACE;
        break;
      }
    }
    walked >>= 1;
    cfa = (sp ^ ((sp ^ bp) & -(u64)(kind >> 1))) + off * 8;  // ROW_RSP or ROW_RBP, by now
    u64 by_cfa = (u64)(rb >> 63);  // the caller's rbp is at CFA + 8 * rb
    u64 last = cfa - 8, first = last + ((rb * 8 + 8) & by_cfa);
    if ((first - from | room - (last - from)) >> 12) {
      bad |= read_window(w, first, last - first);
      from = w->from;
      room = w->room;
    }
    ip = word_of(w, last - from);
    bp ^= (bp ^ word_of(w, first - from)) & by_cfa;
    if (rb > 0) {  // at *(rbp), or lost
      u64 lost = below(126, rb);
      bad |= bpf_probe_read_user(&v, 8, (void *)bp) & ~lost;
      bp = (v & ~lost) | (lost & 1);  // 1 is no address: whoever needs rbp then stops
    }
    sp = cfa;
    if (ip == 0) {
      // A return address of zero is a start to a table; after a frame pointer it may be chance.
      status = bad ? STACK_FAULT : walked ? STACK_FP_END : STACK_COMPLETE;
      break;
    }
  }
  w->ip = ip;
  w->sp = sp;
  w->bp = bp;
  w->exact = exact;
  w->bad = bad;
  w->status = status;
  w->hash = hash;
  w->by_frame_pointer = fp;
  return status;
}
