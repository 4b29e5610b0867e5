/* crash.c - the type CrashScan: finds reports of kernel crashes in a log that comes in pieces. */
#include "state.h"

#include "console/oops.h"

struct scan {
    PyObject_HEAD
    struct vt_oops oops;
};

static PyObject *scan_new(PyTypeObject *type, PyObject *args, PyObject *keywords)
{
    static char *names[] = {NULL};
    if (!PyArg_ParseTupleAndKeywords(args, keywords, ":CrashScan", names))
        return NULL;
    return type->tp_alloc(type, 0);     /* zeroed: ready to use */
}

static void scan_dealloc(PyObject *self)
{
    PyTypeObject *type = Py_TYPE(self);
    type->tp_free(self);
    Py_DECREF(type);
}

static const char feed_doc[] =
    "feed($self, data, /)\n--\n\n"
    "The next bytes of the log (bytes).";

static PyObject *scan_feed(PyObject *self, PyObject *data)
{
    if (!PyBytes_Check(data))
        return PyErr_Format(PyExc_TypeError, "bytes are needed, not %s", Py_TYPE(data)->tp_name);
    vt_oops_feed(&((struct scan *)self)->oops, PyBytes_AS_STRING(data), (size_t)PyBytes_GET_SIZE(data));
    Py_RETURN_NONE;
}

static const char reports_doc[] =
    "reports($self, /)\n--\n\n"
    "The reports so far: a list of (begin, end), offsets in the log.  The first 16 are kept.";

static PyObject *scan_reports(PyObject *self, PyObject *unused)
{
    (void)unused;
    struct vt_oops_report found[VT_OOPS_REPORTS];
    int count = vt_oops_found(&((struct scan *)self)->oops, found);
    PyObject *list = PyList_New(count);
    for (int i = 0; list != NULL && i < count; i++) {
        PyObject *pair = Py_BuildValue("KK", (unsigned long long)found[i].begin,
                                       (unsigned long long)found[i].end);
        if (pair == NULL)
            Py_CLEAR(list);
        else
            PyList_SET_ITEM(list, i, pair);
    }
    return list;
}

static PyObject *scan_offset(PyObject *self, void *unused)
{
    (void)unused;
    return PyLong_FromUnsignedLongLong(((struct scan *)self)->oops.offset);
}

static PyMethodDef methods[] = {
    {"feed", scan_feed, METH_O, feed_doc},
    {"reports", scan_reports, METH_NOARGS, reports_doc},
    {NULL, NULL, 0, NULL},
};

static PyGetSetDef attributes[] = {
    {"offset", scan_offset, NULL, "Bytes that were fed (int).", NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

static const char type_doc[] =
    "CrashScan()\n--\n\n"
    "Finds what a kernel prints when it crashes or hangs, in a console log that comes in pieces.";

static PyType_Slot slots[] = {
    {Py_tp_new, scan_new},
    {Py_tp_dealloc, scan_dealloc},
    {Py_tp_methods, methods},
    {Py_tp_getset, attributes},
    {Py_tp_doc, (void *)type_doc},
    {0, NULL},
};

static PyType_Spec spec = {
    .name = "virtvm._session.CrashScan",
    .basicsize = sizeof(struct scan),
    .flags = Py_TPFLAGS_DEFAULT,
    .slots = slots,
};

int crash_setup(PyObject *module)
{
    PyObject *type = PyType_FromModuleAndSpec(module, &spec, NULL);
    int rc = type ? PyModule_AddType(module, (PyTypeObject *)type) : -1;
    Py_XDECREF(type);
    return rc;
}
