/* `__enter__` and `__exit__` of a span are the span itself, which knows by the number of arguments what a
 * call means. A bound method would be made anew for each of them at each `with`: half of what it costs. */
#include "spans.h"

typedef struct {
    PyObject_HEAD
    PyObject *method; /* what the type itself has under this name */
} Bound;

static PyObject *bound_get(Bound *bound, PyObject *object, PyObject *type)
{
    if (!object || !Py_IS_TYPE(object, span_type))
        return Py_NewRef(bound->method);
    ((Span *)object)->bound = 1;
    return Py_NewRef(object);
}

static void bound_dealloc(Bound *bound)
{
    PyTypeObject *type = Py_TYPE((PyObject *)bound);
    Py_XDECREF(bound->method);
    PyObject_Free(bound);
    Py_DECREF(type);
}

static PyType_Slot slots[] = {
    {Py_tp_dealloc, bound_dealloc},
    {Py_tp_descr_get, bound_get},
    {0, NULL},
};
static PyType_Spec spec = {"tracing_stacks._spans.Bound", sizeof(Bound), 0,
                           Py_TPFLAGS_DEFAULT | Py_TPFLAGS_DISALLOW_INSTANTIATION, slots};

static int bind(PyTypeObject *bound_type, const char *name)
{
    Bound *bound = PyObject_New(Bound, bound_type);
    if (!bound)
        return -1;
    bound->method = PyObject_GetAttrString((PyObject *)span_type, name);
    int failed = !bound->method || PyObject_SetAttrString((PyObject *)span_type, name, (PyObject *)bound) < 0;
    Py_DECREF((PyObject *)bound);
    return failed ? -1 : 0;
}

int bound_init(void)
{
    if (Py_Version >= 0x030e0000)
        return 0; /* there `with` calls methods without binding them */
    PyTypeObject *bound_type = (PyTypeObject *)PyType_FromSpec(&spec);
    return bound_type && !bind(bound_type, "__enter__") && !bind(bound_type, "__exit__") ? 0 : -1;
}
