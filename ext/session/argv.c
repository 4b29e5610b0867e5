/* argv.c - Python's bytes as C strings. */
#include "argv.h"

const char **argv_of(PyObject *fast)
{
    Py_ssize_t n = PySequence_Fast_GET_SIZE(fast);
    const char **list = PyMem_Calloc((size_t)n + 1, sizeof *list);
    if (list == NULL)
        PyErr_NoMemory();
    for (Py_ssize_t i = 0; list != NULL && i < n; i++) {
        char *text;
        if (PyBytes_AsStringAndSize(PySequence_Fast_GET_ITEM(fast, i), &text, NULL) < 0) {
            PyMem_Free(list);
            return NULL;
        }
        list[i] = text;
    }
    return list;
}
