/* Stacks of open spans: of the thread, or of the greenlet or task that it runs. */
#include "spans.h"
#include <pthread.h>
#include <stdlib.h>
#include <string.h>

_Thread_local Stack *running, *ground;
static pthread_key_t of_thread;
static Stack *unused; /* linked by `outside` */

/* A thread has ended. Spans that it left open point to its stack, which then stays: on the heap, for a
   thread's own memory would be gone while another thread may still exit them. */
static void thread_ended(void *ended)
{
    Stack *stack = ended;
    if (__atomic_load_n(&stack->len, __ATOMIC_ACQUIRE))
        return;
    if (stack->spans != stack->inlined)
        free(stack->spans);
    free(stack);
}

int stacks_init(void) { return pthread_key_create(&of_thread, thread_ended); }

Stack *stack_new(void)
{
    Stack *stack = unused;
    if (stack) {
        unused = stack->outside;
        stack->outside = NULL;
    } else if (!(stack = calloc(1, sizeof(*stack)))) {
        Py_FatalError("no memory for a thread's spans");
    }
    return stack;
}

/* Nothing is open in it, and no greenlet has it any more. */
void stack_unused(Stack *stack)
{
    stack->parent_id = stack->resting = 0;
    stack->outside = unused;
    unused = stack;
}

/* `ground` is what is to go when the thread ends. */
void stack_is_of_thread(void)
{
    if (pthread_setspecific(of_thread, ground))
        Py_FatalError("no memory for a thread's spans");
}

Stack *stack_of_thread(void)
{
    running = ground = stack_new();
    stack_is_of_thread();
    return running;
}

int stack_push(Stack *stack, Span *span)
{
    if (stack->len == stack->cap) {
        uint32_t cap = stack->cap ? stack->cap * 2 : sizeof(stack->inlined) / sizeof(*stack->inlined);
        Span **old = stack->spans == stack->inlined ? NULL : stack->spans;
        Span **spans = stack->cap ? realloc(old, cap * sizeof(*spans)) : stack->inlined;
        if (!spans)
            return PyErr_NoMemory(), -1;
        if (stack->spans == stack->inlined)
            memcpy(spans, stack->inlined, sizeof(stack->inlined));
        stack->spans = spans;
        stack->cap = cap;
    }
    stack->spans[stack->len++] = (Span *)Py_NewRef((PyObject *)span);
    span->in = stack;
    return 0;
}

/* Takes a span out of whichever stack it is open in. */
void stack_drop(Span *span)
{
    Stack *stack = span->in;
    uint32_t last = stack->len - 1, i = last;
    while (stack->spans[i] != span)
        i--;
    if (i < last)
        memmove(stack->spans + i, stack->spans + i + 1, (last - i) * sizeof(*stack->spans));
    span->in = NULL;
    /* the last access: the thread whose stack it is may be ending, without the GIL */
    __atomic_store_n(&stack->len, last, __ATOMIC_RELEASE);
    Py_DECREF((PyObject *)span);
}

void stack_empty(Stack *stack)
{
    while (stack->len)
        stack_drop(stack->spans[stack->len - 1]);
    if (stack->spans != stack->inlined)
        free(stack->spans);
    stack->spans = NULL;
    stack->cap = 0;
}
