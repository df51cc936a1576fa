// crate_layout [N] --truth FILE: probes as the Rust crate and sys/sdt.h lay them out.
//
// No semaphore, five arguments, no name's length, and the arguments wherever the compiler had them:
// each of the sites below leaves them elsewhere. exit_stack comes instead of exit. The truth is that
// of spans.h; "sites" is the number of places where enter is.
#include "noted.h"

// A note without a semaphore, at a nop in the middle of other code.
#define PROBE(name, arguments, ...)                                                            \
  __asm__ volatile("990: nop\n"                                                                \
                   ".pushsection .note.stapsdt,\"?\",\"note\"\n"                               \
                   ".balign 4\n"                                                               \
                   ".4byte 992f-991f, 994f-993f, 3\n"                                          \
                   "991: .asciz \"stapsdt\"\n"                                                 \
                   "992: .balign 4\n"                                                          \
                   "993: .8byte 990b\n"                                                        \
                   ".8byte _.stapsdt.base\n"                                                   \
                   ".8byte 0\n"                                                                \
                   ".asciz \"stacks_tracing\"\n"                                               \
                   ".asciz \"" #name "\"\n"                                                    \
                   ".asciz \"" arguments "\"\n"                                                \
                   "994: .balign 4\n"                                                          \
                   ".popsection\n" ::__VA_ARGS__)

__asm__(".pushsection .stapsdt.base,\"aG\",\"progbits\",.stapsdt.base,comdat\n"
        ".weak _.stapsdt.base\n.hidden _.stapsdt.base\n"
        "_.stapsdt.base: .space 1\n.size _.stapsdt.base, 1\n.popsection\n");

#define IN_ANY_REGISTER "r"
#define IN_MEMORY "m"
#define CONSTANT "n"

enum { SITES = 6, CONSTANT_ID = 7, CONSTANT_AMOUNT = 123456 };

static void __attribute__((noinline)) enter(int site, const struct noted *n) {
  u64 span_id = n->span_id, parent_id = n->parent_id, id = n->id, amount = n->amount;
  const char *name = n->name;
  switch (site) {
  case 0: // as the crate does it: signed words in registers of the compiler's choice
    PROBE(enter, "-8@%0 -8@%1 -8@%2 -8@%3 -8@%4", IN_ANY_REGISTER(span_id), IN_ANY_REGISTER(parent_id),
          IN_ANY_REGISTER(id), IN_ANY_REGISTER(amount), IN_ANY_REGISTER(name));
    break;
  case 1: { // on the stack
    volatile u64 memory[4] = {span_id, parent_id, id, amount};
    const char *volatile pointer = name;
    PROBE(enter, "8@%0 8@%1 8@%2 8@%3 8@%4", IN_MEMORY(memory[0]), IN_MEMORY(memory[1]), IN_MEMORY(memory[2]),
          IN_MEMORY(memory[3]), IN_MEMORY(pointer));
    break;
  }
  case 2: // constants between registers
    PROBE(enter, "8@%0 8@%1 -4@%2 8@%3 8@%4", IN_ANY_REGISTER(span_id), IN_ANY_REGISTER(parent_id),
          CONSTANT(CONSTANT_ID), CONSTANT(CONSTANT_AMOUNT), IN_ANY_REGISTER(name));
    break;
#ifdef __x86_64__
  case 3: // parts of registers
    PROBE(enter, "8@%0 8@%1 1@%b2 -4@%k3 8@%4", "a"(span_id), "b"(parent_id), "c"(id), "d"(amount), "S"(name));
    break;
  case 4: { // the registers that a call would not use
    register u64 in_r15 __asm__("r15") = span_id, in_r14 __asm__("r14") = parent_id;
    register u64 in_r12 __asm__("r12") = id, in_r11 __asm__("r11") = amount;
    register const char *in_r10 __asm__("r10") = name;
    PROBE(enter, "8@%0 8@%1 2@%w2 4@%k3 8@%4", IN_ANY_REGISTER(in_r15), IN_ANY_REGISTER(in_r14),
          IN_ANY_REGISTER(in_r12), IN_ANY_REGISTER(in_r11), IN_ANY_REGISTER(in_r10));
    break;
  }
  case 5: { // through a pointer, at a distance either way
    struct {
      u64 far_below[32], span_id, parent_id, id, amount;
      const char *name;
    } record = {.span_id = span_id, .parent_id = parent_id, .id = id, .amount = amount, .name = name};
    __asm__ volatile("" ::"r"(&record) : "memory");
    PROBE(enter, "8@256(%0) 8@-8(%1) 8@(%1) 8@280(%0) 8@288(%0)", IN_ANY_REGISTER(&record),
          IN_ANY_REGISTER(&record.id));
    break;
  }
#endif
  }
}
static void begin_at(int site, struct noted *n) {
  note_enter(n);
  enter(site, n);
}
static void end_at(struct noted *n, int with_stack) {
  if (with_stack) PROBE(exit_stack, "-8@%0", IN_ANY_REGISTER(n->span_id));
  else PROBE(exit, "-8@%0", IN_ANY_REGISTER(n->span_id));
  note_exit(n);
}
static void close_at(struct noted *n) {
  PROBE(close, "-8@%0", IN_ANY_REGISTER(n->span_id));
  note_close(n);
}

int main(int argc, char **argv) {
  // padded, for readers of five arguments take 16 bytes
  static char names[SITES][32] = {"registers", "memory of a stack", "constants",
                                  "parts of registers", "uncommon registers", "through a pointer"};
  static char outer_name[32] = "outer";
  argc = truth_begin(argc, argv);
  null_fd = open("/dev/null", O_WRONLY | O_CLOEXEC);
  int rounds = argc > 1 ? atoi(argv[1]) : 2;
  tell_begin("spans", '[');
  for (int round = 0; round < rounds; round++) {
    // small numbers, as Rust's registry gives, and those of inner spans used again
    struct noted outer = {.span_id = 1000 + round, .id = round, .amount = 5, .name = outer_name,
                          .name_length = strlen(outer_name), .tgid = getpid()};
    begin_at(0, &outer);
    for (int site = 0; site < SITES; site++) {
      struct noted n = {.span_id = 1 + site, .parent_id = outer.span_id, .id = 100 + site, .amount = 0x12345,
                        .name = names[site], .name_length = strlen(names[site]), .tgid = getpid()};
      if (site == 2) n.id = CONSTANT_ID, n.amount = CONSTANT_AMOUNT;
      for (int again = 0; again < 3; again++) {
        begin_at(site, &n);
        noted_write(&n, 10 * site + again + 1);
        end_at(&n, site % 2);
      }
      close_at(&n);
      tell_span(&n);
    }
    end_at(&outer, 0);
    close_at(&outer);
    tell_span(&outer);
  }
  tell_end(']');
  tell_number("sites", SITES);
  truth_end();
}
