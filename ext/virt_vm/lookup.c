/* lookup.c - names of the module's namespace, params, and calls to what is found. */
#include "state.h"

#include <stdarg.h>

#define MAX_ARGUMENTS 8

PyObject *vm_global(struct state *st, PyObject *name)
{
    PyObject *found = PyDict_GetItemWithError(PyModule_GetDict(st->module), name);
    if (found == NULL && !PyErr_Occurred())
        PyErr_Format(PyExc_NameError, "name '%U' is not defined", name);
    Py_XINCREF(found);
    return found;
}

PyObject *vm_global_attr(struct state *st, PyObject *of, PyObject *name)
{
    PyObject *owner = vm_global(st, of);
    if (owner == NULL)
        return NULL;
    PyObject *found = PyObject_GetAttr(owner, name);
    Py_DECREF(owner);
    return found;
}

PyObject *vm_attr(PyObject *object, const char *name)
{
    PyObject *interned = PyUnicode_InternFromString(name);
    if (interned == NULL)
        return NULL;
    PyObject *found = PyObject_GetAttr(object, interned);
    Py_DECREF(interned);
    return found;
}

PyObject *vm_invoke(struct state *st, PyObject *of, PyObject *name, ...)
{
    PyObject *stack[1 + MAX_ARGUMENTS];
    if ((stack[0] = vm_global(st, of)) == NULL)
        return NULL;
    size_t n = 1;
    va_list arguments;
    va_start(arguments, name);
    while (n < 1 + MAX_ARGUMENTS && (stack[n] = va_arg(arguments, PyObject *)) != NULL)
        n++;
    va_end(arguments);
    PyObject *result = PyObject_VectorcallMethod(name, stack, n, NULL);
    Py_DECREF(stack[0]);
    return result;
}

int vm_discard(PyObject *result)
{
    if (result == NULL)
        return -1;
    Py_DECREF(result);
    return 0;
}

int vm_log(struct state *st, PyObject *level, const char *text, PyObject *a, PyObject *b)
{
    PyObject *message = PyUnicode_FromString(text);
    if (message == NULL)
        return -1;
    int rc = vm_discard(vm_invoke(st, st->n.logging, level, message, a, b, NULL));
    Py_DECREF(message);
    return rc;
}

PyObject *vm_raise(PyObject *class, PyObject *argument)
{
    PyObject *exc = PyObject_CallFunctionObjArgs(class, argument, NULL);
    if (exc == NULL)
        return NULL;
    if (PyExceptionInstance_Check(exc))
        PyErr_SetObject((PyObject *)Py_TYPE(exc), exc);
    else
        PyErr_SetString(PyExc_TypeError, "exceptions must derive from BaseException");
    Py_DECREF(exc);
    return NULL;
}

PyObject *vm_raise_named(struct state *st, PyObject *name, PyObject *argument)
{
    PyObject *class = vm_global(st, name);
    if (class == NULL)
        return NULL;
    vm_raise(class, argument);
    Py_DECREF(class);
    return NULL;
}

PyObject *vm_param(PyObject *params, const char *key, const char *fallback)
{
    PyObject *get = vm_attr(params, "get");
    if (get == NULL)
        return NULL;
    PyObject *value = fallback ? PyObject_CallFunction(get, "ss", key, fallback)
                               : PyObject_CallFunction(get, "s", key);
    Py_DECREF(get);
    return value;
}

PyObject *vm_param_or_none(PyObject *params, const char *key)
{
    PyObject *get = vm_attr(params, "get");
    if (get == NULL)
        return NULL;
    PyObject *value = PyObject_CallFunction(get, "sO", key, Py_None);
    Py_DECREF(get);
    return value;
}

PyObject *vm_self_param(struct state *st, PyObject *self, const char *key, const char *fallback)
{
    PyObject *params = PyObject_GetAttr(self, st->n.params);
    if (params == NULL)
        return NULL;
    PyObject *value = vm_param(params, key, fallback);
    Py_DECREF(params);
    return value;
}

PyObject *vm_format_attr(PyObject *self, PyObject *attribute, const char *format)
{
    PyObject *value = PyObject_GetAttr(self, attribute);
    if (value == NULL)
        return NULL;
    PyObject *text = PyUnicode_FromFormat(format, value);
    Py_DECREF(value);
    return text;
}

int vm_equals(PyObject *value, PyObject *other)
{
    return PyObject_RichCompareBool(value, other, Py_EQ);
}

int vm_equals_text(PyObject *value, const char *text)
{
    PyObject *other = PyUnicode_FromString(text);
    if (other == NULL)
        return -1;
    int equal = vm_equals(value, other);
    Py_DECREF(other);
    return equal;
}

int vm_contains(PyObject *container, const char *text)
{
    PyObject *item = PyUnicode_FromString(text);
    if (item == NULL)
        return -1;
    int found = PySequence_Contains(container, item);
    Py_DECREF(item);
    return found;
}
