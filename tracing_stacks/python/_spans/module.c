/* tracing_stacks._spans: spans as USDT probes, a test of two bytes each while nobody listens. */
#include "spans.h"

static PyObject *py_current(PyObject *module, PyObject *ignored) { return PyLong_FromUnsignedLongLong(current_id()); }

static PyObject *py_in_steps(PyObject *module, PyObject *ignored)
{
    return PyBool_FromLong(running != ground); /* a task, or what else has steps, runs on this thread */
}

static PyObject *py_semaphores(PyObject *module, PyObject *ignored)
{
    return Py_BuildValue("(HHHHH)", tracing_stacks_enter_semaphore, tracing_stacks_exit_semaphore,
                         tracing_stacks_exit_stack_semaphore, tracing_stacks_close_semaphore,
                         tracing_stacks_awaits_semaphore);
}

static PyObject *py_listening(PyObject *module, PyObject *ignored)
{
    return PyBool_FromLong(TRACING_STACKS_LISTENED(enter));
}

static PyObject *py_forked(PyObject *module, PyObject *ignored)
{
    process++;
    Py_RETURN_NONE;
}

static PyMethodDef methods[] = {
    {"span", (PyCFunction)(void (*)(void))py_span, METH_FASTCALL | METH_KEYWORDS, NULL},
    {"foreign", (PyCFunction)(void (*)(void))py_foreign, METH_FASTCALL, NULL},
    {"steps", (PyCFunction)(void (*)(void))py_steps, METH_FASTCALL, NULL},
    {"in_steps", py_in_steps, METH_NOARGS, NULL},
    {"current", py_current, METH_NOARGS, NULL},
    {"listening", py_listening, METH_NOARGS, NULL},
    {"follow_greenlets", py_follow_greenlets, METH_O, NULL},
    {"semaphores", py_semaphores, METH_NOARGS, NULL},
    {"forked", py_forked, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};
static struct PyModuleDef definition = {
    PyModuleDef_HEAD_INIT, "_spans", NULL, -1, methods, NULL, NULL, NULL, NULL,
};

PyMODINIT_FUNC PyInit__spans(void)
{
    span_type = (PyTypeObject *)PyType_FromSpec(&span_spec);
    steps_type = (PyTypeObject *)PyType_FromSpec(&steps_spec);
    if (!span_type || !steps_type || span_init() < 0 || bound_init() < 0 || awaits_init() < 0 ||
        greenlets_init() < 0)
        return NULL;
    if (stacks_init())
        return PyErr_SetString(PyExc_ImportError, "no key for a thread's spans is left"), NULL;
    PyObject *module = PyModule_Create(&definition);
    if (module && PyModule_AddObjectRef(module, "Span", (PyObject *)span_type) < 0)
        Py_CLEAR(module);
    return module;
}
