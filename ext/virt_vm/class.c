/* class.c - classes as a class statement makes them, with methods in C.
 *
 * Made by calling `type`, they have no C struct: instances keep their state in
 * __dict__, mix with any other base, take a new __class__ and pickle.  The functions
 * are builtins bound to the module (that is how they reach its state), made into
 * methods by method.c.
 */
#include "state.h"

#define MODULE_NAME "virtvm.virt_vm"

int vm_add_method(struct state *st, PyObject *namespace, const char *class, PyMethodDef *def)
{
    PyObject *module_name = PyUnicode_FromString(MODULE_NAME);
    PyObject *function = module_name ? PyCFunction_NewEx(def, st->module, module_name) : NULL;
    PyObject *method = function ? vm_method_new(st->method_type, function, class, def->ml_name)
                                : NULL;
    int rc = method ? PyDict_SetItemString(namespace, def->ml_name, method) : -1;
    Py_XDECREF(method);
    Py_XDECREF(function);
    Py_XDECREF(module_name);
    return rc;
}

int vm_add_methods(struct state *st, PyObject *namespace, const char *class, PyMethodDef *defs)
{
    for (PyMethodDef *def = defs; def->ml_name != NULL; def++)
        if (vm_add_method(st, namespace, class, def) < 0)
            return -1;
    return 0;
}

static int set_text(PyObject *namespace, const char *key, PyObject *text)
{
    int rc = text ? PyDict_SetItemString(namespace, key, text) : -1;
    Py_XDECREF(text);
    return rc;
}

/* The docstring that `type` copies into the class is where __text_signature__ is
 * read from; it is what inspect.signature(class) falls back to when __init__ is not
 * a Python function (before 3.13). */
static PyObject *doc_with_signature(const char *name, const char *params, const char *doc)
{
    if (params == NULL)
        return PyUnicode_FromString(doc);
    return PyUnicode_FromFormat("%s(%s)\n--\n\n%s", name, params, doc);
}

/* What people read has no signature line; the copy inside the class stays. */
static int set_doc(PyObject *class, const char *doc)
{
    PyObject *text = PyUnicode_FromString(doc);
    int rc = text ? PyObject_SetAttrString(class, "__doc__", text) : -1;
    Py_XDECREF(text);
    return rc;
}

PyObject *vm_make_class(const char *name, PyObject *base, PyObject *namespace,
                        const char *params, const char *doc)
{
    if (set_text(namespace, "__module__", PyUnicode_FromString(MODULE_NAME)) < 0
        || set_text(namespace, "__doc__", doc_with_signature(name, params, doc)) < 0)
        return NULL;
    PyObject *class = PyObject_CallFunction((PyObject *)&PyType_Type, "s(O)O", name, base,
                                            namespace);
    if (class != NULL && set_doc(class, doc) < 0)
        Py_CLEAR(class);
    return class;
}
