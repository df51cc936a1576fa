/* Where a coroutine is suspended: each await from it inwards, as text for the probe `awaits`. */
#include "spans.h"
#include <stdio.h>
#include <string.h>

enum { LONGEST = 2048, DEEPEST = 64 };

static const char *const kinds[] = {"CoroutineType", "GeneratorType", "AsyncGeneratorType"};
static const char *const frames[] = {"cr_frame", "gi_frame", "ag_frame"};
static const char *const nexts[] = {"cr_await", "gi_yieldfrom", "ag_await"};
enum { KINDS = 3, COROUTINE = 0, ASYNC_GENERATOR = 2 };

static PyTypeObject *types[KINDS], *frame_type;
static PyObject *frame_names[KINDS], *next_names[KINDS], *qualname_name, *filename_name, *get_referents;

int awaits_init(void)
{
    PyObject *module = PyImport_ImportModule("types"), *gc = PyImport_ImportModule("gc");
    if (!module || !gc)
        return -1;
    for (int kind = 0; kind < KINDS; kind++) {
        types[kind] = (PyTypeObject *)PyObject_GetAttrString(module, kinds[kind]);
        frame_names[kind] = PyUnicode_InternFromString(frames[kind]);
        next_names[kind] = PyUnicode_InternFromString(nexts[kind]);
        if (!types[kind] || !frame_names[kind] || !next_names[kind])
            return -1;
    }
    frame_type = (PyTypeObject *)PyObject_GetAttrString(module, "FrameType");
    qualname_name = PyUnicode_InternFromString("co_qualname");
    filename_name = PyUnicode_InternFromString("co_filename");
    get_referents = PyObject_GetAttrString(gc, "get_referents");
    Py_DECREF(module);
    Py_DECREF(gc);
    return frame_type && qualname_name && filename_name && get_referents ? 0 : -1;
}

int awaits_is_coroutine(PyObject *object) { return Py_IS_TYPE(object, types[COROUTINE]); }

static int kind_of(PyObject *object)
{
    int kind = 0;
    while (kind < KINDS && !Py_IS_TYPE(object, types[kind]))
        kind++;
    return kind;
}

/* What an object without a frame of its own stands for: the generator behind `async for`, which no
   attribute leads to, or the coroutine behind its __await__(). Null for a future. */
static PyObject *behind(PyObject *object)
{
    PyObject *name = PyType_GetName(Py_TYPE(object)), *found = NULL;
    if (name && (!PyUnicode_CompareWithASCIIString(name, "async_generator_asend") ||
                 !PyUnicode_CompareWithASCIIString(name, "async_generator_athrow") ||
                 !PyUnicode_CompareWithASCIIString(name, "anext_awaitable") ||
                 !PyUnicode_CompareWithASCIIString(name, "coroutine_wrapper"))) {
        PyObject *all = PyObject_CallFunctionObjArgs(get_referents, object, NULL);
        for (Py_ssize_t i = 0; all && !found && i < PyList_Size(all); i++) {
            PyObject *one = PyList_GetItem(all, i);
            if (kind_of(one) < KINDS)
                found = Py_NewRef(one);
        }
        Py_XDECREF(all);
    }
    Py_XDECREF(name);
    return found;
}

static PyObject *inwards(PyObject *object, int kind)
{
    if (Py_IS_TYPE(object, steps_type))
        return Py_NewRef(((Steps *)object)->inner);
    if (kind == KINDS)
        return behind(object);
    return PyObject_GetAttr(object, next_names[kind]);
}

/* One text of a code object, without what separates fields and lines. Returns what it could write. */
static size_t put(char *at, size_t room, PyObject *code, PyObject *attribute)
{
    PyObject *text = PyObject_GetAttr(code, attribute);
    Py_ssize_t length = 0;
    const char *utf8 = text ? PyUnicode_AsUTF8AndSize(text, &length) : NULL;
    if (!utf8) {
        PyErr_Clear(); /* a file's name need not be UTF-8 */
        utf8 = "?";
        length = 1;
    }
    size_t n = (size_t)length < room ? (size_t)length : room;
    for (size_t i = 0; i < n; i++)
        at[i] = (unsigned char)utf8[i] < ' ' || utf8[i] == 0x7f ? ' ' : utf8[i];
    Py_XDECREF(text);
    return n;
}

void awaits_tell(PyObject *coroutine, uint64_t span_id)
{
    struct {
        PyObject *code;
        int line;
    } levels[DEEPEST] = {{0}};
    unsigned count = 0;
    PyObject *at = Py_NewRef(coroutine);
    while (at && at != Py_None) {
        int kind = kind_of(at);
        PyObject *frame = kind < KINDS ? PyObject_GetAttr(at, frame_names[kind]) : NULL;
        if (frame && Py_IS_TYPE(frame, frame_type)) {
            unsigned slot = count++ % DEEPEST; /* of a longer chain the innermost ones stay */
            Py_XDECREF(levels[slot].code);
            levels[slot].code = (PyObject *)PyFrame_GetCode((PyFrameObject *)frame);
            levels[slot].line = PyFrame_GetLineNumber((PyFrameObject *)frame);
        }
        Py_XDECREF(frame);
        PyObject *next = inwards(at, kind);
        Py_DECREF(at);
        at = next;
    }
    Py_XDECREF(at);
    PyErr_Clear();

    char text[LONGEST + 1];
    size_t length = 0, kept = count < DEEPEST ? count : DEEPEST, told = 0;
    for (size_t i = 0; i < kept; i++) {
        PyObject *code = levels[(count - 1 - i) % DEEPEST].code;
        size_t n = length;
        n += put(text + n, LONGEST - n, code, qualname_name);
        if (n < LONGEST)
            text[n++] = '\t';
        n += put(text + n, LONGEST - n, code, filename_name);
        int more = snprintf(text + n, LONGEST + 1 - n, "\t%d\n", levels[(count - 1 - i) % DEEPEST].line);
        if (more < 0 || n + more > LONGEST)
            break;
        length = n + more;
        told++;
    }
    for (size_t i = 0; i < kept; i++)
        Py_DECREF(levels[i].code);
    if (length && told < count)
        length--; /* a chain that is cut has no end of its last line */
    text[length] = 0;
    if (length)
        tracing_stacks_fire_awaits(span_id, text, length);
}
