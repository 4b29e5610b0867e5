/* errors.c - result codes as one Python exception, which the companions turn into the
 * field's own classes. */
#include "state.h"

#include <string.h>

static const char engine_error_doc[] =
    "What ended an operation of the engine.\n\n"
    "Attributes: code (str: 'timeout', 'eof', 'closed', 'connect', 'banner', 'kex',\n"
    "'hostkey', 'auth', 'channel', ...), stage (str), errno (int or None), detail (str:\n"
    "what was seen), methods (tuple of str: authentication methods that the server\n"
    "offers), output (bytes or None: output so far).";

static PyObject *code_name(enum vt_rc rc)
{
    char name[32] = {0};
    const char *full = vt_rc_name(rc);          /* "VT_TIMEOUT" */
    size_t n = strlen(full);
    for (size_t i = 3; i < n && i - 3 < sizeof name - 1; i++)
        name[i - 3] = (char)(full[i] | 0x20);
    return PyUnicode_FromString(name);
}

static PyObject *methods_tuple(const char *methods)
{
    PyObject *text = PyUnicode_DecodeUTF8(methods, (Py_ssize_t)strlen(methods), "replace");
    PyObject *list = text == NULL ? NULL : PyObject_CallMethod(text, "split", "s", ",");
    if (list != NULL && methods[0] == '\0' && PyList_SetSlice(list, 0, 1, NULL) < 0)
        Py_CLEAR(list);
    PyObject *tuple = list == NULL ? NULL : PyList_AsTuple(list);
    Py_XDECREF(text);
    Py_XDECREF(list);
    return tuple;
}

static int set_steal(PyObject *exc, const char *name, PyObject *value)
{
    int rc = value == NULL ? -1 : PyObject_SetAttrString(exc, name, value);
    Py_XDECREF(value);
    return rc;
}

void set_detail(PyObject *exc, const char *name, PyObject *value)
{
    if (set_steal(exc, name, value) < 0)
        PyErr_Clear();              /* the failure itself counts more */
}

static PyObject *left_names(const struct vt_left *left)
{
    Py_ssize_t n = left->count < VT_LEFT_NAMES ? (Py_ssize_t)left->count : VT_LEFT_NAMES;
    PyObject *names = PyList_New(n);
    for (Py_ssize_t i = 0; names != NULL && i < n; i++) {
        PyObject *name = PyBytes_FromString(left->names[i]);
        if (name == NULL) {
            Py_DECREF(names);
            return NULL;
        }
        PyList_SET_ITEM(names, i, name);
    }
    return names == NULL ? NULL : Py_BuildValue("(KN)", (unsigned long long)left->count, names);
}

void set_left(PyObject *exc, const struct vt_left *left)
{
    set_detail(exc, "left", left_names(left));
}

PyObject *raise_error(PyObject *exc)
{
    if (exc != NULL)
        PyErr_SetObject((PyObject *)Py_TYPE(exc), exc);
    Py_XDECREF(exc);
    return NULL;
}

static PyObject *describe(PyObject *exc, enum vt_rc rc, const struct vt_err *e, PyObject *words, PyObject *output)
{
    if (exc != NULL
        && set_steal(exc, "code", code_name(rc)) == 0
        && set_steal(exc, "stage", PyUnicode_FromString(vt_stage_name(e->stage))) == 0
        && set_steal(exc, "errno", e->sys ? PyLong_FromLong(e->sys) : Py_NewRef(Py_None)) == 0
        && set_steal(exc, "methods", methods_tuple(e->methods)) == 0
        && set_steal(exc, "said", PyUnicode_FromString(e->said)) == 0
        && PyObject_SetAttrString(exc, "detail", words) == 0
        && PyObject_SetAttrString(exc, "output", output == NULL ? Py_None : output) == 0)
        return exc;
    Py_XDECREF(exc);
    return NULL;
}

PyObject *engine_error(struct state *st, enum vt_rc rc, const struct vt_err *e, PyObject *output)
{
    static const struct vt_err nothing;
    if (rc == VT_NOMEM) {
        Py_XDECREF(output);
        return PyErr_NoMemory();
    }
    if (e == NULL)
        e = &nothing;
    const char *text = e->text[0] != '\0' ? e->text : vt_rc_text(rc);
    PyObject *words = PyUnicode_DecodeUTF8(text, (Py_ssize_t)strlen(text), "backslashreplace");
    PyObject *exc = words == NULL ? NULL : PyObject_CallFunctionObjArgs(st->engine_error, words, NULL);
    exc = describe(exc, rc, e, words, output);
    Py_XDECREF(words);
    Py_XDECREF(output);
    return exc;
}

int errors_setup(PyObject *module, struct state *st)
{
    st->engine_error = PyErr_NewExceptionWithDoc("virtvm._session.EngineError", engine_error_doc, NULL, NULL);
    return st->engine_error == NULL ? -1
         : PyModule_AddObjectRef(module, "EngineError", st->engine_error);
}
