// What the programs of the corpus share. Each takes its own stack at points of its choice, then makes
// a system call that the recorder sees from the same place: a write of FIRST_POINT + n bytes.
//
// A program is called `NAME FILE`. FILE gets its mappings, then a line `point PID N ADDRESS...` each,
// leaf first; the leaf is mark() itself.
#pragma once

enum { FIRST_POINT = 7000000 };

#ifdef __cplusplus
extern "C" {
#endif
void corpus_begin(int argc, char **argv);
void corpus_end(void);  // as the last act: writes FILE
void mark(void);
// Where unwinding by tables ends too soon, what follows: mark() puts it behind what it finds.
extern void *corpus_more[64];
extern unsigned long corpus_more_count;
// A point without mark(): its number, the frames above the caller, and what the program knows of it.
unsigned long corpus_number(void);
unsigned long corpus_callers(void *to[64]);
void corpus_point(unsigned long number, void **own, unsigned long count);
extern unsigned long shadow_depth;  // to be put back after a longjmp
void opaque(void *value);  // the compiler knows nothing of it
#ifdef __cplusplus
}
#endif

#define APART __attribute__((noinline, noclone))
// After a call that must not become a jump.
#define STAY asm volatile("" ::: "memory")
