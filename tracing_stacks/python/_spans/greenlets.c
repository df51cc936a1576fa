/* Greenlets: each has a stack of its own, as a thread has. A tracer of the package greenlet is told of each
 * switch: what is open in the greenlet that is left is exited, what is open in the other is entered.
 *
 * The tracer is a thread's, and is set where a span is first entered on it. Most greenlets have nothing
 * open when they are left: these leave no trace, and share one stack. */
#include "spans.h"

/* What a greenlet left open; in its __dict__, so that it goes when the greenlet does. */
typedef struct {
    PyObject_HEAD
    Stack *ground, *top; /* NULL while the greenlet runs, and where nothing was open */
} Left;

PyObject *greenlets_settrace;
static _Thread_local int followed;
static PyTypeObject *left_type;
static PyObject *left_name, *dead_name, *parent_name;
static Py_ssize_t waiting; /* greenlets that left something open */

static void left_dealloc(Left *left)
{
    PyTypeObject *type = Py_TYPE((PyObject *)left);
    if (left->ground) {
        waiting--;
        stack_empty(left->ground);
        stack_unused(left->ground);
    }
    PyObject_Free(left);
    Py_DECREF(type);
}

static PyType_Slot slots[] = {{Py_tp_dealloc, left_dealloc}, {0, NULL}};
static PyType_Spec spec = {"tracing_stacks._spans.Left", sizeof(Left), 0,
                           Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION, slots};

int greenlets_init(void)
{
    left_type = (PyTypeObject *)PyType_FromSpec(&spec);
    left_name = PyUnicode_InternFromString("_tracing_stacks");
    dead_name = PyUnicode_InternFromString("dead");
    parent_name = PyUnicode_InternFromString("parent");
    return left_type && left_name && dead_name && parent_name ? 0 : -1;
}

/* Borrowed from the greenlet; NULL if there is none and none could be made. */
static Left *left_of(PyObject *greenlet, int make)
{
    PyObject *dict = PyObject_GenericGetDict(greenlet, NULL);
    PyObject *left = dict ? PyDict_GetItemWithError(dict, left_name) : NULL;
    if (left && !Py_IS_TYPE(left, left_type))
        left = NULL;
    if (dict && !left && make) {
        Left *made = PyObject_New(Left, left_type);
        if (made) {
            made->ground = made->top = NULL;
            if (!PyDict_SetItem(dict, left_name, (PyObject *)made))
                left = (PyObject *)made;
            Py_DECREF((PyObject *)made);
        }
    }
    Py_XDECREF(dict);
    PyErr_Clear();
    return (Left *)left;
}

static int is_dead(PyObject *greenlet)
{
    PyObject *dead = PyObject_GetAttr(greenlet, dead_name);
    int is = dead && PyObject_IsTrue(dead) > 0;
    Py_XDECREF(dead);
    PyErr_Clear();
    return is;
}

/* Whether a task's step calls a greenlet of its own, as SQLAlchemy does: that is a part of the step. */
static int is_called(const Stack *top, PyObject *origin, PyObject *target)
{
    while (top && top->of != A_COROUTINE)
        top = top->outside;
    if (!top)
        return 0;
    PyObject *parent = PyObject_GetAttr(target, parent_name);
    Py_XDECREF(parent);
    PyErr_Clear();
    return parent == origin;
}

/* Down to `until`, which stays. The stack that is asked for at exits would be the other greenlet's: it is
   not taken. What called a greenlet is forgotten, for it may be gone when that runs again. */
static void leave(Stack *stack, const Stack *until)
{
    while (stack != until) {
        Stack *outside = stack->outside;
        if (TRACING_STACKS_LISTENED(exit))
            for (uint32_t i = stack->len; i-- > 0;)
                span_rests(stack->spans[i]);
        stack->resting = 1;
        if (stack->of == A_GREENLET)
            stack->outside = NULL;
        stack = outside;
    }
}

static void come_back(Stack *stack, const Stack *until)
{
    if (stack == until)
        return;
    come_back(stack->outside, until);
    stack->resting = 0;
    if (TRACING_STACKS_LISTENED(enter))
        for (uint32_t i = 0; i < stack->len; i++)
            span_begins(stack->spans[i]);
}

static void switched(PyObject *origin, PyObject *target)
{
    if (origin == target)
        return;
    Stack *top = here(), *bottom = ground, *caller = NULL;
    int open = top != bottom || bottom->len || bottom->outside;
    Left *next = waiting ? left_of(target, 0) : NULL;
    if (next && !next->ground)
        next = NULL;
    if (!open && !next)
        return;

    int called = open && is_called(top, origin, target);
    if (called)
        caller = top;
    else if (next && bottom->outside == next->top)
        caller = next->top; /* back to it */
    if (!called)
        leave(top, caller);

    int stays = top != bottom || (bottom->len && !is_dead(origin));
    Left *left = stays ? left_of(origin, 1) : NULL;
    if (left) {
        left->ground = bottom;
        left->top = top;
        waiting++;
    }
    uint64_t parent_id = called ? current_id() : 0;
    if (next) {
        ground = next->ground;
        running = next->top;
        next->ground = next->top = NULL;
        waiting--;
    } else {
        ground = running = stack_new();
    }
    stack_is_of_thread();
    if (called) {
        ground->outside = caller;
        ground->parent_id = parent_id;
    }
    come_back(running, caller);
    if (!left) {
        stack_empty(bottom); /* of a greenlet that has ended */
        stack_unused(bottom);
    }
}

static void set_tracer(PyObject *before);

/* The tracer; it is bound to the one that was there before. */
static PyObject *trace(PyObject *before, PyObject *const *args, Py_ssize_t nargs)
{
    if (nargs == 2 && PyTuple_Check(args[1]) && PyTuple_Size(args[1]) == 2)
        switched(PyTuple_GetItem(args[1], 0), PyTuple_GetItem(args[1], 1));
    if (before != Py_None) {
        PyObject *result = PyObject_CallFunctionObjArgs(before, args[0], nargs == 2 ? args[1] : NULL, NULL);
        if (!result) { /* greenlet would remove the tracer: that one, not this */
            PyErr_WriteUnraisable(before);
            set_tracer(Py_None);
        }
        Py_XDECREF(result);
    }
    Py_RETURN_NONE;
}
static PyMethodDef method = {"trace", (PyCFunction)(void (*)(void))trace, METH_FASTCALL, NULL};

static void set_tracer(PyObject *before)
{
    PyObject *tracer = PyCFunction_NewEx(&method, before, NULL);
    PyObject *done = tracer ? PyObject_CallFunctionObjArgs(greenlets_settrace, tracer, NULL) : NULL;
    Py_XDECREF(tracer);
    Py_XDECREF(done);
    PyErr_Clear();
}

void greenlets_follow(void)
{
    if (followed)
        return;
    followed = 1;
    PyObject *before = PyObject_CallFunctionObjArgs(greenlets_settrace, Py_None, NULL);
    set_tracer(before ? before : Py_None);
    Py_XDECREF(before);
}

/* follow_greenlets(settrace): of the package greenlet */
PyObject *py_follow_greenlets(PyObject *module, PyObject *settrace)
{
    Py_XDECREF(greenlets_settrace);
    greenlets_settrace = Py_NewRef(settrace);
    Py_RETURN_NONE;
}
