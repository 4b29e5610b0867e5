/* text.c - text as a terminal shows it, for Python. */
#include "state.h"

#include "console/text.h"
#include "console/utf8.h"

static const char shown_doc[] =
    "shown($module, line, /)\n--\n\n"
    "A line (bytes, without its newline) as a terminal shows it (bytes): escape sequences and what stands\n"
    "at the right edge are left out, the cursor's movements obeyed.  Of more than 8,192 bytes, the end.";

static PyObject *shown(PyObject *module, PyObject *line)
{
    (void)module;
    if (!PyBytes_Check(line))
        return PyErr_Format(PyExc_TypeError, "bytes are needed, not %s", Py_TYPE(line)->tp_name);
    Py_ssize_t n = PyBytes_GET_SIZE(line);
    PyObject *out = PyBytes_FromStringAndSize(NULL, n);
    if (out == NULL || n == 0)
        return out;
    size_t len = vt_shown(PyBytes_AS_STRING(line), (size_t)n, PyBytes_AS_STRING(out));
    return _PyBytes_Resize(&out, (Py_ssize_t)len) < 0 ? NULL : out;
}

static const char escaped_doc[] =
    "escaped($module, data, limit=None, /)\n--\n\n"
    "UTF-8 (bytes): data with \\xNN for each byte that is of no character; data itself if there is none.\n"
    "None if it would be longer than limit bytes.";

static PyObject *escaped(PyObject *module, PyObject *args)
{
    PyObject *data, *limit = Py_None, *out;
    (void)module;
    if (!PyArg_ParseTuple(args, "O!|O:escaped", &PyBytes_Type, &data, &limit))
        return NULL;
    size_t most = limit == Py_None ? PY_SSIZE_T_MAX : PyLong_AsSize_t(limit);
    if (most == (size_t)-1 && PyErr_Occurred())
        return NULL;
    const char *text = PyBytes_AS_STRING(data);
    size_t n = (size_t)PyBytes_GET_SIZE(data), size;
    Py_BEGIN_ALLOW_THREADS
    size = vt_escaped_size(text, n);
    Py_END_ALLOW_THREADS
    if (size > most)
        Py_RETURN_NONE;
    if (size == n) {
        Py_INCREF(data);
        return data;
    }
    out = PyBytes_FromStringAndSize(NULL, (Py_ssize_t)size);
    if (out == NULL)
        return NULL;
    char *to = PyBytes_AS_STRING(out);
    Py_BEGIN_ALLOW_THREADS
    vt_escape(text, n, to);
    Py_END_ALLOW_THREADS
    return out;
}

PyMethodDef text_methods[] = {
    {"escaped", escaped, METH_VARARGS, escaped_doc},
    {"shown", shown, METH_O, shown_doc},
    {NULL, NULL, 0, NULL},
};
