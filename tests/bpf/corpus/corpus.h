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
extern unsigned long shadow_depth;  // to be put back after a longjmp
void opaque(void *value);  // the compiler knows nothing of it
#ifdef __cplusplus
}
#endif

#define APART __attribute__((noinline, noclone))
// After a call that must not become a jump.
#define STAY asm volatile("" ::: "memory")
