/* The type of a span: a context manager, and a decorator (which is written in Python). */
#include "spans.h"
#include <stddef.h>
#include <string.h>
#include <structmember.h>

PyTypeObject *span_type;
uint32_t process;
/* Apart from what Rust's tracing and the header hand out, so that all can live in one process. */
static uint64_t next_id = UINT64_C(1) << 48;

/* Memory of spans that are no more, for the next ones: most live shortly. */
static Span *unused[32];
static unsigned unused_count;

static PyObject *called(Span *span, PyObject *const *args, size_t nargs, PyObject *kwnames);

Span *span_new(PyObject *name, uint64_t id, uint64_t amount, int exit_stack)
{
    Span *span = unused_count ? unused[--unused_count] : PyObject_Malloc(sizeof(Span));
    if (!span)
        return (Span *)PyErr_NoMemory();
    PyObject_Init((PyObject *)span, span_type);
    span->called = called;
    span->span_id = next_id++;
    span->parent_id = current_id();
    span->id = id;
    span->amount = amount;
    span->name = Py_NewRef(name);
    span->in = NULL;
    span->process = process;
    span->exit_stack = exit_stack;
    span->foreign = span->entered = span->closed = span->bound = 0;
    return span;
}

/* The name in UTF-8, which lives as long as the span; characters that UTF-8 has not are '?'. */
static const char *utf8(Span *span, Py_ssize_t *length)
{
    const char *text = PyUnicode_AsUTF8AndSize(span->name, length);
    if (!text) {
        PyErr_Clear();
        PyObject *bytes = PyUnicode_AsEncodedString(span->name, "utf-8", "replace");
        PyObject *name = bytes ? PyUnicode_FromEncodedObject(bytes, "utf-8", "replace") : NULL;
        Py_XDECREF(bytes);
        if (name) {
            Py_DECREF(span->name);
            span->name = name;
            text = PyUnicode_AsUTF8AndSize(name, length);
        }
    }
    if (!text) {
        PyErr_Clear();
        text = "";
        *length = 0;
    }
    return text;
}

void span_tell_enter(Span *span)
{
    Py_ssize_t length;
    const char *name = utf8(span, &length);
    char padded[16] = {0};
    if (length < (Py_ssize_t)sizeof(padded))
        name = memcpy(padded, name, length);
    __asm__ volatile("" ::"r"(name) : "memory"); /* the probe's reader needs the copy */
    tracing_stacks_fire_enter(span->span_id, span->parent_id, span->id, span->amount, name,
                              (length & 0xffffffff) | (span->entered ? TRACING_STACKS_ENTERED : 0));
}

static const char *const keywords[] = {"name", "id", "amount", "exit_stack"};
enum { KEYWORDS = sizeof(keywords) / sizeof(*keywords) };
static PyObject *interned[KEYWORDS];

int span_init(void)
{
    for (int i = 0; i < KEYWORDS; i++)
        if (!(interned[i] = PyUnicode_InternFromString(keywords[i])))
            return -1;
    return 0;
}

/* Which keyword it is, or KEYWORDS; calls have interned names, which are found by their address. */
static int keyword_of(PyObject *key)
{
    int i = 0;
    while (i < KEYWORDS && key != interned[i])
        i++;
    if (i == KEYWORDS)
        for (i = 0; i < KEYWORDS && PyUnicode_CompareWithASCIIString(key, keywords[i]); i++)
            ;
    return i;
}

static int is_text(PyObject *object) { return PyUnicode_CheckExact(object) || PyUnicode_Check(object); }

/* span(name, id=0, amount=0, exit_stack=False) */
PyObject *py_span(PyObject *module, PyObject *const *args, Py_ssize_t nargs, PyObject *kwnames)
{
    PyObject *given[KEYWORDS] = {0};
    if (nargs > KEYWORDS)
        return PyErr_SetString(PyExc_TypeError, "span() takes at most 4 arguments"), NULL;
    for (Py_ssize_t i = 0; i < nargs; i++)
        given[i] = args[i];
    Py_ssize_t nkw = kwnames ? PyTuple_Size(kwnames) : 0;
    for (Py_ssize_t k = 0; k < nkw; k++) {
        PyObject *key = PyTuple_GetItem(kwnames, k);
        int i = keyword_of(key);
        if (i == KEYWORDS || given[i])
            return PyErr_Format(PyExc_TypeError, "span() got an unexpected argument %R", key);
        given[i] = args[nargs + k];
    }
    if (!given[0] || !is_text(given[0]))
        return PyErr_SetString(PyExc_TypeError, "span() needs a name, which is a string"), NULL;
    uint64_t id = given[1] ? PyLong_AsUnsignedLongLongMask(given[1]) : 0;
    uint64_t amount = given[2] ? PyLong_AsUnsignedLongLongMask(given[2]) : 0;
    int exit_stack = given[3] ? PyObject_IsTrue(given[3]) : 0;
    if ((given[1] || given[2] || given[3]) && PyErr_Occurred())
        return NULL;
    return (PyObject *)span_new(given[0], id, amount, exit_stack);
}

/* foreign(name, id, span_id, parent_id): a span of another tracer, which calls close() */
PyObject *py_foreign(PyObject *module, PyObject *const *args, Py_ssize_t nargs)
{
    if (nargs != 4 || !PyUnicode_Check(args[0]))
        return PyErr_SetString(PyExc_TypeError, "foreign(name, id, span_id, parent_id)"), NULL;
    uint64_t id = PyLong_AsUnsignedLongLongMask(args[1]);
    uint64_t span_id = PyLong_AsUnsignedLongLongMask(args[2]);
    uint64_t parent_id = PyLong_AsUnsignedLongLongMask(args[3]);
    Span *span = PyErr_Occurred() ? NULL : span_new(args[0], id, 0, 0);
    if (span) {
        span->span_id = span_id;
        span->parent_id = parent_id;
        span->foreign = 1;
    }
    return (PyObject *)span;
}

static PyObject *span_enter(Span *span, PyObject *ignored)
{
    if (span->in)
        return PyErr_SetString(PyExc_RuntimeError, "this span is already entered"), NULL;
    follow_greenlets();
    if (span->closed && !span->foreign) { /* used again: another span of the same name */
        span->span_id = next_id++;
        span->parent_id = current_id();
        span->entered = span->closed = 0;
    }
    if (stack_push(here(), span) < 0)
        return NULL;
    span_begins(span);
    return Py_NewRef((PyObject *)span);
}

static PyObject *span_exit(Span *span, PyObject *ignored)
{
    if (span->in) {
        if (!span->in->resting)
            span_ceases(span);
        stack_drop(span);
    }
    Py_RETURN_NONE;
}

static void close_it(Span *span)
{
    if (span->entered && !span->closed && span->process == process && TRACING_STACKS_LISTENED(close))
        tracing_stacks_fire_close(span->span_id);
    span->closed = 1;
}

static PyObject *span_close(Span *span, PyObject *ignored)
{
    Py_DECREF(span_exit(span, NULL));
    close_it(span);
    Py_RETURN_NONE;
}

static PyObject *span_leave(Span *span, PyObject *const *args, Py_ssize_t nargs) { return span_close(span, NULL); }

static PyObject *span_another(Span *span, PyObject *ignored)
{
    return (PyObject *)span_new(span->name, span->id, span->amount, span->exit_stack);
}

/* What is called is `__enter__` or `__exit__`, which are the span itself, or the decorator. */
static PyObject *called(Span *span, PyObject *const *args, size_t nargs, PyObject *kwnames)
{
    nargs = nargs << 1 >> 1; /* the highest bit is a flag */
    if (!kwnames && span->bound && nargs == 0)
        return span_enter(span, NULL);
    if (!kwnames && span->bound && nargs == 3)
        return span_close(span, NULL);
    if (kwnames || nargs != 1 || !PyCallable_Check(args[0]))
        return PyErr_SetString(PyExc_TypeError, "a span decorates a function: @span(\"name\")"), NULL;
    PyObject *module = PyImport_ImportModule("tracing_stacks._decorate");
    PyObject *decorated = module ? PyObject_CallMethod(module, "decorated", "OO", span, args[0]) : NULL;
    Py_XDECREF(module);
    return decorated;
}

/* The same for who calls with a tuple. */
static PyObject *span_call(PyObject *span, PyObject *args, PyObject *kwargs)
{
    PyObject *given[3] = {0};
    Py_ssize_t nargs = PyTuple_Size(args);
    for (Py_ssize_t i = 0; i < nargs && i < 3; i++)
        given[i] = PyTuple_GetItem(args, i);
    return called((Span *)span, given, nargs, kwargs && PyDict_Size(kwargs) ? kwargs : NULL);
}

static PyObject *span_repr(Span *span)
{
    const char *state = span->in ? ", entered" : span->closed ? ", closed" : "";
    return PyUnicode_FromFormat("<span %R %llu%s>", span->name, (unsigned long long)span->span_id, state);
}

static void span_dealloc(Span *span)
{
    PyTypeObject *type = Py_TYPE((PyObject *)span);
    if (!span->foreign)
        close_it(span);
    Py_DECREF(span->name);
    if (unused_count < sizeof(unused) / sizeof(*unused))
        unused[unused_count++] = span;
    else
        PyObject_Free(span);
    Py_DECREF(type);
}

#define NUMBER(member) \
    static PyObject *get_##member(Span *span, void *ignored) { return PyLong_FromUnsignedLongLong(span->member); }
NUMBER(span_id)
NUMBER(parent_id)
NUMBER(id)
NUMBER(amount)
static PyObject *get_name(Span *span, void *ignored) { return Py_NewRef(span->name); }
static PyObject *get_entered(Span *span, void *ignored) { return PyBool_FromLong(span->in != NULL); }
static PyObject *get_closed(Span *span, void *ignored) { return PyBool_FromLong(span->closed); }

static PyMethodDef methods[] = {
    {"__enter__", (PyCFunction)span_enter, METH_NOARGS, NULL},
    {"__exit__", (PyCFunction)(void (*)(void))span_leave, METH_FASTCALL, NULL},
    {"enter", (PyCFunction)span_enter, METH_NOARGS, "What this task or thread does from now on is done in the span."},
    {"exit", (PyCFunction)span_exit, METH_NOARGS, "The end of what enter() began; a span may be entered again."},
    {"close", (PyCFunction)span_close, METH_NOARGS, "The span is over."},
    {"another", (PyCFunction)span_another, METH_NOARGS, "A new span of the same name, id and amount."},
    {NULL, NULL, 0, NULL},
};
static PyGetSetDef getset[] = {
    {"span_id", (getter)get_span_id, NULL, NULL, NULL},
    {"parent_id", (getter)get_parent_id, NULL, NULL, NULL},
    {"id", (getter)get_id, NULL, NULL, NULL},
    {"amount", (getter)get_amount, NULL, NULL, NULL},
    {"name", (getter)get_name, NULL, NULL, NULL},
    {"entered", (getter)get_entered, NULL, "whether it is open in a task or thread", NULL},
    {"closed", (getter)get_closed, NULL, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};
static PyMemberDef members[] = {
    {"__vectorcalloffset__", T_PYSSIZET, offsetof(Span, called), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};
static PyType_Slot slots[] = {
    {Py_tp_dealloc, span_dealloc}, {Py_tp_methods, methods}, {Py_tp_getset, getset}, {Py_tp_members, members},
    {Py_tp_call, span_call},       {Py_tp_repr, span_repr},  {0, NULL},
};
#ifndef Py_TPFLAGS_HAVE_VECTORCALL /* the stable ABI has had it since 3.12, CPython since 3.9 */
#define Py_TPFLAGS_HAVE_VECTORCALL (1UL << 11)
#endif
PyType_Spec span_spec = {
    "tracing_stacks._spans.Span", sizeof(Span), 0,
    Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION | Py_TPFLAGS_HAVE_VECTORCALL, slots};
