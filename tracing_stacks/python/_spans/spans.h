/* What the parts of the extension share. CPython's stable ABI of 3.11, under the GIL.
 *
 * A thread has a stack of open spans, and so has each task, each decorated generator and each greenlet.
 * While one of these runs, its stack is the thread's: what is open in it is entered when its step begins
 * and exited when the step ends. */
#pragma once
#define PY_SSIZE_T_CLEAN
#define Py_LIMITED_API 0x030b0000
#include <Python.h>

#define TRACING_STACKS_PROBES_ONLY
#include "tracing_stacks.h"

typedef struct Stack Stack;

typedef struct Span Span;
struct Span {
    PyObject_HEAD
    PyObject *(*called)(Span *span, PyObject *const *args, size_t nargs, PyObject *kwnames);
    uint64_t span_id, parent_id, id, amount;
    PyObject *name;
    Stack *in;        /* the stack it is open in, or NULL */
    uint32_t process; /* which entered it last: counted by forks */
    uint8_t exit_stack;
    uint8_t foreign; /* another tracer gave the ids, and says when it ends */
    uint8_t entered; /* at least once */
    uint8_t closed;
    uint8_t bound; /* __enter__ or __exit__ has been looked up: see bound.c */
};

enum { A_GREENLET, A_GENERATOR, A_COROUTINE };

struct Stack {
    uint64_t parent_id; /* the span that was innermost where this stack began */
    Stack *outside;     /* while it runs: the one that its step, or its greenlet, was called in, or NULL */
    uint32_t len, cap;
    uint8_t of;      /* a greenlet, as also a thread without any is one, or what has steps */
    uint8_t resting; /* between two steps: what is open in it has been exited */
    Span **spans;
    Span *inlined[4];
};

typedef struct {
    PyObject_HEAD
    PyObject *inner; /* a coroutine, a generator, or what else has steps */
    PyObject *weakrefs;
    uint8_t stepped, stepping;
    Stack stack;
} Steps;

extern PyTypeObject *span_type, *steps_type;
extern PyType_Spec span_spec, steps_spec;
/* How many forks lie between this process and the one that imported the extension. */
extern uint32_t process;

/* stack.c */
extern _Thread_local Stack *running, *ground; /* the innermost one, and its greenlet's own */
int stacks_init(void);
Stack *stack_of_thread(void);
Stack *stack_new(void);
void stack_unused(Stack *stack);
void stack_is_of_thread(void);
int stack_push(Stack *stack, Span *span);
void stack_drop(Span *span);
void stack_empty(Stack *stack);

static inline Stack *here(void) { return running ? running : stack_of_thread(); }

static inline uint64_t current_id(void)
{
    Stack *stack = here();
    return stack->len ? stack->spans[stack->len - 1]->span_id : stack->parent_id;
}

/* bound.c */
int bound_init(void);

/* span.c */
int span_init(void);
Span *span_new(PyObject *name, uint64_t id, uint64_t amount, int exit_stack);
void span_tell_enter(Span *span);
PyObject *py_span(PyObject *module, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames);
PyObject *py_foreign(PyObject *module, PyObject *const *args, Py_ssize_t nargs);

/* The probes of a span that begins or ceases to be what this thread does. */
static inline void span_begins(Span *span)
{
    if (TRACING_STACKS_LISTENED(enter))
        span_tell_enter(span);
    span->entered = 1;
    span->process = process;
}

static inline void span_ceases(const Span *span)
{
    if (span->process != process)
        return; /* a fork's parent entered it: the kernel knows nothing of it here */
    if (span->exit_stack) {
        if (TRACING_STACKS_LISTENED(exit_stack))
            tracing_stacks_fire_exit_stack(span->span_id);
    } else if (TRACING_STACKS_LISTENED(exit)) {
        tracing_stacks_fire_exit(span->span_id);
    }
}

/* The probe of a span that ceases for the while that another greenlet runs. */
static inline void span_rests(const Span *span)
{
    if (span->process == process)
        tracing_stacks_fire_exit(span->span_id);
}

/* greenlets.c */
extern PyObject *greenlets_settrace; /* NULL where greenlets are not followed */
int greenlets_init(void);
void greenlets_follow(void);
PyObject *py_follow_greenlets(PyObject *module, PyObject *settrace);

/* Before spans are entered, and before here(): following may switch. */
static inline void follow_greenlets(void)
{
    if (greenlets_settrace)
        greenlets_follow();
}

/* steps.c */
PyObject *py_steps(PyObject *module, PyObject *const *args, Py_ssize_t nargs);

/* awaits.c */
int awaits_init(void);
int awaits_is_coroutine(PyObject *object);
void awaits_tell(PyObject *coroutine, uint64_t span_id);
