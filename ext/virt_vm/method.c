/* method.c - the type of the classes' methods: a C function that binds as a Python function does.
 *
 * Read through an instance it is a bound method; read through its class it is itself, and so
 * may be put back into a class, saved or wrapped, and still binds.  CPython's own types can't
 * do that for a function which gets its module: a method descriptor belongs to one C type, an
 * instancemethod is unbound when it is read through the class.
 */
#include "state.h"

#include <string.h>
#include <structmember.h>

struct method {
    PyObject_HEAD
    PyObject *function;         /* a builtin function bound to the module */
    PyCFunctionWithKeywords direct;     /* its C function, if it takes a tuple and a dict */
    PyObject *name, *qualname, *doc, *signature, *annotations;
    PyObject *dict, *weakrefs;
    vectorcallfunc vectorcall;
};

static PyObject *pack(PyObject *const *args, Py_ssize_t n)
{
    PyObject *tuple = PyTuple_New(n);
    for (Py_ssize_t i = 0; tuple != NULL && i < n; i++)
        PyTuple_SET_ITEM(tuple, i, Py_NewRef(args[i]));
    return tuple;
}

/* Most calls name no keywords: they reach the C function without another hop. */
static PyObject *method_call(PyObject *self, PyObject *const *args, size_t nargsf,
                             PyObject *keywords)
{
    struct method *m = (struct method *)self;
    if (m->direct == NULL || keywords != NULL)
        return PyObject_Vectorcall(m->function, args, nargsf, keywords);
    PyObject *tuple = pack(args, PyVectorcall_NARGS(nargsf));
    if (tuple == NULL || Py_EnterRecursiveCall(" while calling a method of virtvm.virt_vm")) {
        Py_XDECREF(tuple);
        return NULL;
    }
    PyObject *result = m->direct(PyCFunction_GET_SELF(m->function), tuple, NULL);
    Py_LeaveRecursiveCall();
    Py_DECREF(tuple);
    return result;
}

static PyObject *method_bind(PyObject *self, PyObject *instance, PyObject *class)
{
    (void)class;
    return instance == NULL || instance == Py_None ? Py_NewRef(self)
                                                   : PyMethod_New(self, instance);
}

static PyObject *method_repr(PyObject *self)
{
    return PyUnicode_FromFormat("<method %S of virtvm.virt_vm>", ((struct method *)self)->qualname);
}

/* Pickled and copied by name, as functions are. */
static PyObject *method_reduce(PyObject *self, PyObject *none)
{
    (void)none;
    return Py_NewRef(((struct method *)self)->qualname);
}

static int method_traverse(PyObject *self, visitproc visit, void *arg)
{
    struct method *m = (struct method *)self;
    Py_VISIT(Py_TYPE(self));
    Py_VISIT(m->function);
    Py_VISIT(m->name);
    Py_VISIT(m->qualname);
    Py_VISIT(m->doc);
    Py_VISIT(m->signature);
    Py_VISIT(m->annotations);
    Py_VISIT(m->dict);
    return 0;
}

/* The function stays until the end: the method may still be called while a cycle is taken
 * apart, and the cycles that lead through it are broken in the module or the class. */
static int method_clear(PyObject *self)
{
    struct method *m = (struct method *)self;
    Py_CLEAR(m->annotations);
    Py_CLEAR(m->dict);
    return 0;
}

static void method_dealloc(PyObject *self)
{
    struct method *m = (struct method *)self;
    PyTypeObject *type = Py_TYPE(self);
    PyObject_GC_UnTrack(self);
    if (m->weakrefs != NULL)
        PyObject_ClearWeakRefs(self);
    (void)method_clear(self);
    Py_CLEAR(m->function);
    Py_CLEAR(m->name);
    Py_CLEAR(m->qualname);
    Py_CLEAR(m->doc);
    Py_CLEAR(m->signature);
    PyObject_GC_Del(self);
    Py_DECREF(type);
}

/* A name must be text: pickle, repr and functools.wraps take it for that. */
static int set_text(PyObject **field, PyObject *value, const char *name)
{
    if (value == NULL || !PyUnicode_Check(value)) {
        PyErr_Format(PyExc_TypeError, "%s must be set to a string object", name);
        return -1;
    }
    PyObject *old = *field;
    *field = Py_NewRef(value);
    Py_DECREF(old);
    return 0;
}

static PyObject *get_name(PyObject *self, void *none)
{
    (void)none;
    return Py_NewRef(((struct method *)self)->name);
}

static int set_name(PyObject *self, PyObject *value, void *none)
{
    (void)none;
    return set_text(&((struct method *)self)->name, value, "__name__");
}

static PyObject *get_qualname(PyObject *self, void *none)
{
    (void)none;
    return Py_NewRef(((struct method *)self)->qualname);
}

static int set_qualname(PyObject *self, PyObject *value, void *none)
{
    (void)none;
    return set_text(&((struct method *)self)->qualname, value, "__qualname__");
}

static PyGetSetDef attributes[] = {
    {"__name__", get_name, set_name, NULL, NULL},
    {"__qualname__", get_qualname, set_qualname, NULL, NULL},
    {"__dict__", PyObject_GenericGetDict, PyObject_GenericSetDict, NULL, NULL},
    {NULL, NULL, NULL, NULL, NULL},
};

/* __module__ is the type's, which is the same, unless one is set. */
static PyMemberDef members[] = {
    {"__doc__", T_OBJECT, offsetof(struct method, doc), 0, NULL},
    {"__text_signature__", T_OBJECT, offsetof(struct method, signature), READONLY, NULL},
    {"__annotations__", T_OBJECT, offsetof(struct method, annotations), 0, NULL},
    {"__dictoffset__", T_PYSSIZET, offsetof(struct method, dict), READONLY, NULL},
    {"__weaklistoffset__", T_PYSSIZET, offsetof(struct method, weakrefs), READONLY, NULL},
    {"__vectorcalloffset__", T_PYSSIZET, offsetof(struct method, vectorcall), READONLY, NULL},
    {NULL, 0, 0, 0, NULL},
};

static PyMethodDef methods[] = {
    {"__reduce__", method_reduce, METH_NOARGS, NULL},
    {NULL, NULL, 0, NULL},
};

static PyType_Slot slots[] = {
    {Py_tp_call, PyVectorcall_Call},
    {Py_tp_descr_get, method_bind},
    {Py_tp_repr, method_repr},
    {Py_tp_traverse, method_traverse},
    {Py_tp_clear, method_clear},
    {Py_tp_dealloc, method_dealloc},
    {Py_tp_getset, attributes},
    {Py_tp_members, members},
    {Py_tp_methods, methods},
    {0, NULL},
};

#ifndef Py_TPFLAGS_DISALLOW_INSTANTIATION       /* before 3.10 */
#define Py_TPFLAGS_DISALLOW_INSTANTIATION 0
#endif

/* METHOD_DESCRIPTOR: a call on an instance makes no bound method first. */
static PyType_Spec spec = {
    .name = "virtvm.virt_vm.method",
    .basicsize = sizeof(struct method),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_HAVE_GC | Py_TPFLAGS_HAVE_VECTORCALL
             | Py_TPFLAGS_METHOD_DESCRIPTOR | Py_TPFLAGS_DISALLOW_INSTANTIATION,
    .slots = slots,
};

PyObject *vm_method_type(void)
{
    PyObject *type = PyType_FromSpec(&spec);
    if (type != NULL)
        ((PyTypeObject *)type)->tp_new = NULL;      /* before 3.10 it inherits object's */
    else if (!PyErr_Occurred())                     /* 3.11 says nothing of a lack of memory */
        PyErr_NoMemory();
    return type;
}

/* The signature as a Python function has it: the builtin's names the module first. */
static PyObject *own_signature(PyObject *function)
{
    static const char module[] = "($module, ";
    PyObject *text = vm_attr(function, "__text_signature__");
    const char *utf8 = text != NULL && text != Py_None ? PyUnicode_AsUTF8(text) : NULL;
    PyObject *own = NULL;
    if (utf8 != NULL && strncmp(utf8, module, sizeof module - 1) == 0)
        own = PyUnicode_FromFormat("(%s", utf8 + sizeof module - 1);
    else if (text == Py_None || utf8 != NULL)
        own = Py_NewRef(text);
    Py_XDECREF(text);
    return own;
}

static PyCFunctionWithKeywords direct_function(PyObject *function)
{
    if (PyCFunction_GET_FLAGS(function) != (METH_VARARGS | METH_KEYWORDS))
        return NULL;
    return (PyCFunctionWithKeywords)(void (*)(void))PyCFunction_GET_FUNCTION(function);
}

PyObject *vm_method_new(PyObject *type, PyObject *function, const char *class, const char *name)
{
    struct method *m = PyObject_GC_New(struct method, (PyTypeObject *)type);
    if (m == NULL)
        return NULL;
    m->dict = m->weakrefs = NULL;
    m->vectorcall = method_call;
    m->function = Py_NewRef(function);
    m->direct = direct_function(function);
    m->name = PyUnicode_InternFromString(name);
    m->qualname = PyUnicode_FromFormat("%s.%s", class, name);
    m->doc = vm_attr(function, "__doc__");
    m->signature = own_signature(function);
    m->annotations = PyDict_New();
    PyObject_GC_Track(m);
    if (m->name == NULL || m->qualname == NULL || m->doc == NULL || m->signature == NULL
        || m->annotations == NULL)
        Py_CLEAR(m);
    return (PyObject *)m;
}
