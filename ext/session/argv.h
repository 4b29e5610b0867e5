/* argv.h - Python's bytes as C strings. */
#ifndef VT_SESSION_ARGV_H
#define VT_SESSION_ARGV_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

/* The items of a list or tuple of bytes, borrowed, and a NULL; free with PyMem_Free.  NULL: an
 * exception is set: TypeError, or ValueError for a NUL in an item. */
const char **argv_of(PyObject *fast);

#endif
