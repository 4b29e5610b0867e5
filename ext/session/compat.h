/* compat.h - what older versions of CPython lack. */
#ifndef VT_SESSION_COMPAT_H
#define VT_SESSION_COMPAT_H

#include <Python.h>

#if PY_VERSION_HEX < 0x030A0000
static inline PyObject *Py_NewRef(PyObject *o)
{
    Py_INCREF(o);
    return o;
}

static inline int PyModule_AddObjectRef(PyObject *module, const char *name, PyObject *value)
{
    Py_INCREF(value);
    if (PyModule_AddObject(module, name, value) == 0)
        return 0;
    Py_DECREF(value);
    return -1;
}
#endif

#endif
