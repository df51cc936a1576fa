/* A coroutine or generator whose open spans are entered at each of its steps, and exited after it. */
#include "spans.h"
#include <stddef.h>
#include <string.h>
#include <structmember.h>

PyTypeObject *steps_type;

static void begin(Steps *steps)
{
    follow_greenlets();
    steps->stepping = 1;
    steps->stack.outside = here();
    steps->stack.resting = 0;
    running = &steps->stack;
    if (TRACING_STACKS_LISTENED(enter) || !steps->stepped)
        for (uint32_t i = 0; i < steps->stack.len; i++)
            span_begins(steps->stack.spans[i]);
    steps->stepped = 1;
}

static void end(Steps *steps, int suspended)
{
    Stack *stack = &steps->stack;
    if (TRACING_STACKS_LISTENED(awaits) && suspended && stack->of == A_COROUTINE && stack->len)
        awaits_tell(steps->inner, stack->spans[stack->len - 1]->span_id);
    if (TRACING_STACKS_LISTENED(exit) || TRACING_STACKS_LISTENED(exit_stack))
        for (uint32_t i = stack->len; i-- > 0;)
            span_ceases(stack->spans[i]);
    stack->resting = 1;
    steps->stepping = 0;
    /* another one runs where greenlets are not followed: then nothing is known of what is outside */
    running = running == stack ? stack->outside : ground;
    if (!suspended)
        stack_empty(stack); /* a span of its own, or what it never left */
}

static PySendResult steps_am_send(Steps *steps, PyObject *value, PyObject **result)
{
    if (steps->stepping)
        return PyIter_Send(steps->inner, value, result); /* it refuses */
    begin(steps);
    PySendResult sent = PyIter_Send(steps->inner, value, result);
    end(steps, sent == PYGEN_NEXT);
    return sent;
}

static PyObject *steps_send(Steps *steps, PyObject *value)
{
    PyObject *result = NULL;
    if (steps_am_send(steps, value, &result) == PYGEN_RETURN) {
        PyObject *stop = PyObject_CallFunctionObjArgs(PyExc_StopIteration, result, NULL);
        if (stop)
            PyErr_SetObject(PyExc_StopIteration, stop);
        Py_XDECREF(stop);
        Py_CLEAR(result);
    }
    return result;
}

static PyObject *steps_next(Steps *steps) { return steps_send(steps, Py_None); }

static PyObject *in_a_step(Steps *steps, const char *name, PyObject *args, int suspends)
{
    PyObject *method = PyObject_GetAttrString(steps->inner, name);
    if (!method)
        return NULL;
    int refuses = steps->stepping;
    if (!refuses)
        begin(steps);
    PyObject *result = PyObject_CallObject(method, args);
    if (!refuses)
        end(steps, suspends && result);
    Py_DECREF(method);
    return result;
}
static PyObject *steps_throw(Steps *steps, PyObject *args) { return in_a_step(steps, "throw", args, 1); }
static PyObject *steps_close(Steps *steps, PyObject *ignored) { return in_a_step(steps, "close", NULL, 0); }

static PyObject *steps_self(PyObject *steps) { return Py_NewRef(steps); }

/* What it has not itself it has from the inner one: cr_frame, cr_await, __qualname__ and so on, so that
   asyncio's and inspect's views of a task stay as they were. */
static PyObject *steps_getattro(Steps *steps, PyObject *name)
{
    PyObject *value = PyObject_GenericGetAttr((PyObject *)steps, name);
    if (value || !PyErr_ExceptionMatches(PyExc_AttributeError))
        return value;
    PyErr_Clear();
    return PyObject_GetAttr(steps->inner, name);
}

static int steps_traverse(Steps *steps, visitproc visit, void *arg)
{
    Py_VISIT(Py_TYPE((PyObject *)steps));
    Py_VISIT(steps->inner);
    return 0;
}

static int steps_clear(Steps *steps)
{
    PyObject *inner = steps->inner;
    steps->inner = Py_NewRef(Py_None); /* whoever still has it may still call it */
    Py_DECREF(inner);
    return 0;
}

static void steps_dealloc(Steps *steps)
{
    PyTypeObject *type = Py_TYPE((PyObject *)steps);
    PyObject_GC_UnTrack(steps);
    if (steps->weakrefs)
        PyObject_ClearWeakRefs((PyObject *)steps);
    stack_empty(&steps->stack);
    Py_XDECREF(steps->inner);
    PyObject_GC_Del(steps);
    Py_DECREF(type);
}

/* steps(inner, span=None): with a span of its own, if it is given one, or the name of one */
PyObject *py_steps(PyObject *module, PyObject *const *args, Py_ssize_t nargs)
{
    if (nargs < 1 || nargs > 2)
        return PyErr_SetString(PyExc_TypeError, "steps(inner, span=None)"), NULL;
    Steps *steps = PyObject_GC_New(Steps, steps_type);
    if (!steps)
        return NULL;
    memset(&steps->stack, 0, sizeof(steps->stack));
    steps->stack.parent_id = current_id();
    steps->stack.resting = 1;
    steps->weakrefs = NULL;
    steps->stepped = steps->stepping = 0;
    steps->stack.of = awaits_is_coroutine(args[0]) ? A_COROUTINE : A_GENERATOR;
    steps->inner = Py_NewRef(args[0]);
    PyObject_GC_Track(steps);
    if (nargs == 2 && args[1] != Py_None) {
        Span *span = Py_IS_TYPE(args[1], span_type) ? (Span *)Py_NewRef(args[1]) : span_new(args[1], 0, 0, 0);
        if (!span || stack_push(&steps->stack, span) < 0)
            Py_CLEAR(steps);
        Py_XDECREF((PyObject *)span);
    }
    return (PyObject *)steps;
}

static PyMethodDef methods[] = {
    {"send", (PyCFunction)steps_send, METH_O, NULL},
    {"throw", (PyCFunction)steps_throw, METH_VARARGS, NULL},
    {"close", (PyCFunction)steps_close, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};
static PyMemberDef members[] = {
    {"__weaklistoffset__", T_PYSSIZET, offsetof(Steps, weakrefs), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};
static PyType_Slot slots[] = {
    {Py_tp_dealloc, steps_dealloc}, {Py_tp_methods, methods},         {Py_tp_members, members},
    {Py_am_send, steps_am_send},    {Py_am_await, steps_self},        {Py_tp_iter, steps_self},
    {Py_tp_iternext, steps_next},   {Py_tp_getattro, steps_getattro}, {Py_tp_traverse, steps_traverse},
    {Py_tp_clear, steps_clear},     {0, NULL},
};
PyType_Spec steps_spec = {"tracing_stacks._spans.Steps", sizeof(Steps), 0,
                          Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_DISALLOW_INSTANTIATION, slots};
