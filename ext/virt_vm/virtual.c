/* virtual.c - the methods that a hypervisor's class must bring: they check their
 * arguments and raise NotImplementedError. */
#include "state.h"

#define MAX_PARAMS 10

/* Always NULL. */
static PyObject *not_implemented(PyObject *self, const char *method)
{
    PyObject *name = vm_attr((PyObject *)Py_TYPE(self), "__name__");
    if (name != NULL)
        PyErr_Format(PyExc_NotImplementedError, "%S.%s is not implemented", name, method);
    Py_XDECREF(name);
    return NULL;
}

/* A function for each row. */
#define X(name, params, format, keywords, doc) \
    static PyObject *virtual_##name(PyObject *module, PyObject *args, PyObject *kwargs) \
    { \
        PyObject *value[MAX_PARAMS];    /* those beyond the format are not touched */ \
        (void)module; \
        if (!PyArg_ParseTupleAndKeywords(args, kwargs, format ":" #name, keywords, &value[0], \
                                         &value[1], &value[2], &value[3], &value[4], \
                                         &value[5], &value[6], &value[7], &value[8], \
                                         &value[9])) \
            return NULL; \
        return not_implemented(value[0], #name); \
    }
#include "virtuals.def"
#undef X

/* clone(self, name, **params): every keyword is welcome, so a parser's format has no
 * word for it. */
static PyObject *virtual_clone(PyObject *module, PyObject *args, PyObject *kwargs)
{
    (void)module;
    Py_ssize_t given = PyTuple_GET_SIZE(args);
    int has_name = kwargs != NULL && PyDict_GetItemString(kwargs, "name") != NULL;
    if (given < 1 || given > 2)
        return PyErr_Format(PyExc_TypeError, "clone() takes 2 positional arguments (%zd given)",
                            given);
    if (given + has_name != 2)
        return PyErr_Format(PyExc_TypeError, has_name
                            ? "clone() got multiple values for argument 'name'"
                            : "clone() missing required argument 'name' (pos 2)");
    return not_implemented(PyTuple_GET_ITEM(args, 0), "clone");
}

PyDoc_STRVAR(clone_doc,
"clone($module, self, name, **params)\n--\n\n"
"Return another VM object like this one.\n\n"
"name: name of the new VM (str); params: those that differ from this VM's.");

PyMethodDef vm_virtual_methods[] = {
#define X(name, params, format, keywords, doc) \
    {#name, WITH_KEYWORDS(virtual_##name), #name "($module, self" params ")\n--\n\n" doc},
#include "virtuals.def"
#undef X
    {"clone", WITH_KEYWORDS(virtual_clone), clone_doc},
    {NULL, NULL, 0, NULL},
};
