// User stacks by tables made from .eh_frame, frame pointers where code has no table.
// The rows and mappings are written by stacks_tui/unwind (twin: stacks_tui/unwind/rows.py).
//
// Shaped for the verifier: big map values searched at a masked index, so that one lookup with one null
// check serves a whole search, and masks in place of jumps, for every open jump costs it hundreds of
// instructions. BPF verifies one step of STEP_FRAMES frames; a deep stack takes several, by tail call.
// SPDX-License-Identifier: GPL-2.0-only OR MIT
#pragma once

#define STEP_FRAMES 20
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

#define ENDBR64 0xfa1e0ff3

enum frame {
  FRAME_WHOLE = 0,   // rbp points to it
  FRAME_UNSURE = 1,  // so it seems, but there may be none yet
  FRAME_PUSHED = 2,  // the caller's rbp is at *(rsp), the return address behind it
  FRAME_NONE = 3,    // the return address is at *(rsp)
};

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

// All ones if a == b, else 0, likewise.
static __always_inline u64 equal(u64 a, u64 b) {
  u64 other = a ^ b;
  asm volatile("" : "+r"(other));
  u64 mask = ((other | -other) >> 63) - 1;
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

// Whether the 8 bytes before an address end in a call: e8 with 4 bytes, or ff /2 with 0 to 5 behind.
static __always_inline u64 is_call(u64 code) {
  u64 other = ~code | ((code >> 8 ^ 0x1010101010101010) & 0x3838383838383838) | 0xff000000000000ff;
  other = (other & ~0xff000000ull) | ((code ^ 0xe8000000) & 0xff000000);
  return (other - 0x0101010101010101) & ~other & 0x8080808080808080;  // a byte is 0
}

// Whether a return is next, behind a test that falls through to it: V8's of how many arguments there were
// (cmp rcx, n; jg), HotSpot's for a safepoint (cmp rsp, [r15 + n]; ja).
static __always_inline u64 returns_soon(u8 *code) {
  u64 v8 = equal(*(u32 *)code & 0xffffff, 0xf98348), near = v8 & equal(*(u32 *)(code + 4) & 0xfe00ff, 0xc2007f);
  u64 far = v8 & equal(*(u16 *)(code + 4), 0x8f0f) & equal(code[10] & 0xfe, 0xc2);
  u64 hotspot = equal(*(u32 *)code & 0xffffff, 0xa73b49) & equal(*(u16 *)(code + 7), 0x870f);
  return near | far | (hotspot & equal(code[13] & 0xfe, 0xc2));
}

// The high bit of each of 8 bytes of code that is `byte`.
static __always_inline u64 bytes_like(u8 *code, u64 byte) {
  u64 low = ~0ull / 255 * 127, other = *(u64 *)code ^ ~0ull / 255 * byte;
  return ~(((other & low) + low) | other | low);
}

// Whether a frame is set up within the next instructions: push rbp; mov rbp, rsp. What may be the end of a
// function (pop rbp, leave, ret, int3, call, jmp) ends the search.
static __always_inline u64 frame_comes(u8 *code) {
  u64 comes = 0, on = ~0ull;
#pragma clang loop unroll(full)
  for (int k = 0; k < 16; k += 8) {
    u8 *at = code + k;
    u64 begin = bytes_like(at, 0x55) & bytes_like(at + 1, 0x48);
    u64 move = (bytes_like(at + 2, 0x89) & bytes_like(at + 3, 0xe5)) |
               (bytes_like(at + 2, 0x8b) & bytes_like(at + 3, 0xec));
    u64 end = bytes_like(at, 0x5d) | bytes_like(at, 0xc9) | bytes_like(at, 0xc3) | bytes_like(at, 0xcc);
    end |= bytes_like(at, 0xe8) | bytes_like(at, 0xe9) | bytes_like(at, 0xeb);
    comes |= begin & move & ((end & -end) - 1) & on;
    on &= equal(end, 0);
  }
  return comes;
}

// How a frame without a rule stands, of which all registers are known. It is entered by a call, pushes rbp,
// makes it its frame pointer, pops it and returns: before and after, rbp is the caller's. A return address at
// *(rsp) alone proves nothing: it may be left from a call before, in memory that the frame has not written to.
static __always_inline u32 frame_of(struct work *w, u64 ip, u64 sp, u64 bp) {
  u64 top = 0, before = 0, first;
  u8 *code = w->code;
  bpf_probe_read_user(&top, 8, (void *)sp);
  if (bpf_probe_read_user(code, CODE_BYTES, (void *)ip)) bpf_probe_read_user(code, 8, (void *)ip);
  u64 move = equal(*(u32 *)code & 0xffffff, 0xe58948) | equal(*(u32 *)code & 0xffffff, 0xec8b48);
  if (top == bp && (bp > sp || move)) return FRAME_PUSHED;
  first = *(u64 *)code;
  first >>= 32 & equal((u32)first, ENDBR64);
  u64 ret = equal(first & 0xfe, 0xc2) | equal(first & 0xfffe, 0xc3f2);  // also with a prefix
  if (ret) return FRAME_NONE;
  bpf_probe_read_user(&before, 8, (void *)top - 8);
  if (!is_call(before)) return FRAME_WHOLE;
  u64 none = equal(first & 0xff, 0x55) | returns_soon(code) | frame_comes(code);  // 55: push rbp
  return none ? FRAME_NONE : FRAME_UNSURE;
}

// How a walk ends where rbp points to no frame. rbp = 0 means a start only to code that keeps frame pointers
// (where one was just followed), or where the stack is back at where the program began with it.
static __always_inline u32 without_frame(struct work *w, u64 sp, u64 bp, u64 walked) {
  u64 from_start = w->start_stack - sp;
  return bp || !(walked || from_start < 64) ? STACK_FP_END : w->bad ? STACK_FAULT : STACK_COMPLETE;
}

// From the innermost frame to its caller, where it has no rule. It is a step of its own: before, behind or in the loop
// of the others the verifier would go through those again and again.
static __always_inline u32 leave_leaf(struct work *w) {
  u64 sp = w->sp, bp = w->bp, ip = 0;
  u32 frame = frame_of(w, w->ip, sp, bp);
  w->unsure |= frame == FRAME_UNSURE;
  if (frame == FRAME_NONE) {
    w->bad |= bpf_probe_read_user(&ip, 8, (void *)sp);
    w->sp = sp + 8;
  } else {
    if (frame != FRAME_PUSHED) {
      if (bp < sp) return frame == FRAME_UNSURE ? STACK_FP_END : without_frame(w, sp, bp, 0);
      sp = bp;
    }
    w->bad |= bpf_probe_read_user(&w->bp, 8, (void *)sp);
    w->bad |= bpf_probe_read_user(&ip, 8, (void *)sp + 8);
    w->sp = sp + 16;
  }
  w->ip = ip;
  w->walked = 1;
  w->by_frame_pointer++;
  return ip ? STACK_CUT : w->bad ? STACK_FAULT : STACK_FP_END;
}

// Takes up to STEP_FRAMES more frames. STACK_CUT: not at the end yet.
static __always_inline u32 unwind_step(struct work *w) {
  if (w->at_leaf) {
    w->at_leaf = 0;
    w->status = leave_leaf(w);
    return w->status;
  }
  u64 ip = w->ip, sp = w->sp, bp = w->bp, exact = w->exact, hash = w->hash, bad = w->bad;
  u64 start = 0, size = 0, bias = 0;  // the mapping of the frame before: mostly the next one's too
  u32 i, status = STACK_CUT, fp = w->by_frame_pointer, walked = w->walked;
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
    u64 innermost = exact;  // or interrupted by a signal: all registers are known
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
        if (innermost) {
          w->at_leaf = 1;
          break;
        }
        if (bp < sp) {
          w->bad = bad;
          status = without_frame(w, sp, bp, walked);
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
  w->walked = walked;
  w->by_frame_pointer = fp;
  w->status = status;
  w->hash = hash;
  return status;
}
