/* finalized.c - the base of objects that let go of something when they go themselves.
 *
 * A signal handler may run in what an object does then, and raise.  Of a __del__ CPython prints
 * such an exception and drops it.  Here the main thread raises it as soon as it is out of there.
 */
#include "state.h"

#include <sys/syscall.h>
#include <unistd.h>

#define STRIKES_MAX 8           /* handlers that strike while one exception is looked at */

/* How many finalizers a thread is in, and what is to be raised behind the outermost (list).  No module's state:
 * a pending call has no argument left for a module, and pending calls run in the main thread of the main
 * interpreter alone, so that no other one ever has a list. */
static _Thread_local int depth;
static _Thread_local PyObject *kept;

/* A Py_AddPendingCall function; the exception is its own.  It cuts no other finalizer short. */
static int raise_later(void *exc)
{
    if (depth > 0) {
        if (kept == NULL)
            kept = PyList_New(0);
        if (kept != NULL && PyList_Append(kept, exc) == 0) {
            Py_DECREF(exc);
            return 0;
        }
        PyErr_Clear();
    }
    PyErr_SetRaisedException(exc);
    return -1;
}

/* Handlers run in the main thread of the main interpreter alone, and so do pending calls. */
static bool has_handlers(void)
{
    return syscall(SYS_gettid) == getpid() && PyInterpreterState_Get() == PyInterpreterState_Main()
        && !Py_IsFinalizing();
}

/* Whether a signal handler raised it; -1: another one did meanwhile, and its exception is set. */
static int is_handlers(PyObject *exc)
{
    if (PyErr_GivenExceptionMatches(exc, PyExc_KeyboardInterrupt))
        return 1;
    PyObject *signals = PyImport_ImportModule("virtvm.signals");
    PyObject *res = signals == NULL ? NULL : PyObject_CallMethod(signals, "is_handlers", "O", exc);
    int is = res == NULL ? -1 : PyObject_IsTrue(res);
    Py_XDECREF(res);
    Py_XDECREF(signals);
    return is;
}

/* Of what came instead of the look: whether it was a handler's, and is to be raised.  Else it is printed:
 * no room for another call, no memory. */
static bool put_off_other(void)
{
    PyObject *other = PyErr_GetRaisedException();
    int is = is_handlers(other);
    if (is < 0)
        PyErr_Clear();
    if (is > 0 && Py_AddPendingCall(raise_later, other) == 0)
        return true;
    PyErr_SetRaisedException(other);
    PyErr_WriteUnraisable(NULL);
    return false;
}

/* Of the exception that is set; -1: it is set yet, and nobody can be told of it. */
static int put_off(void)
{
    PyObject *raised = PyErr_GetRaisedException();
    int is = is_handlers(raised);
    for (int i = 0; is < 0 && put_off_other() && i < STRIKES_MAX; i++)
        is = is_handlers(raised);
    PyErr_Clear();
    if (is > 0 && Py_AddPendingCall(raise_later, raised) == 0)
        return 0;
    PyErr_SetRaisedException(raised);
    return -1;
}

static void raise_kept(void)
{
    PyObject *list = kept;
    kept = NULL;
    for (Py_ssize_t i = 0; list != NULL && i < PyList_GET_SIZE(list); i++) {
        PyObject *exc = Py_NewRef(PyList_GET_ITEM(list, i));
        if (Py_AddPendingCall(raise_later, exc) < 0) {
            PyErr_SetRaisedException(exc);
            PyErr_WriteUnraisable(NULL);
        }
    }
    Py_XDECREF(list);
}

static void finalize(PyObject *self)
{
    PyObject *before = PyErr_GetRaisedException();
    depth++;
    PyObject *res = PyObject_CallMethod(self, "__del__", NULL);
    if (res == NULL && (!has_handlers() || put_off() < 0))
        PyErr_WriteUnraisable(self);
    Py_XDECREF(res);
    if (--depth == 0)
        raise_kept();
    if (before != NULL)
        PyErr_SetRaisedException(before);
}

static PyObject *finalized_del(PyObject *self, PyObject *unused)
{
    (void)unused;
    return PyObject_CallMethod(self, "_finalize", NULL);
}

static PyObject *finalized_finalize(PyObject *self, PyObject *unused)
{
    (void)self;
    (void)unused;
    Py_RETURN_NONE;
}

/* A class that has a __del__, or inherits one that is no slot's, gets a tp_finalize of CPython's.
 * Other bases of it, behind this one, are told of it as ever. */
static PyObject *init_subclass(PyObject *cls, PyTypeObject *here, PyObject *const *args, Py_ssize_t n, PyObject *names)
{
    ((PyTypeObject *)cls)->tp_finalize = finalize;
    PyObject *next = PyObject_CallFunctionObjArgs((PyObject *)&PySuper_Type, here, cls, NULL);
    PyObject *base = next == NULL ? NULL : PyObject_GetAttrString(next, "__init_subclass__");
    PyObject *res = base == NULL ? NULL : PyObject_Vectorcall(base, args, (size_t)n, names);
    Py_XDECREF(base);
    Py_XDECREF(next);
    return res;
}

static PyMethodDef methods[] = {
    {"__del__", finalized_del, METH_NOARGS | METH_COEXIST, "__del__($self, /)\n--\n\nCalls _finalize()."},
    {"_finalize", finalized_finalize, METH_NOARGS, "_finalize($self, /)\n--\n\nLets go of what the object has."},
    {"__init_subclass__", (PyCFunction)(void (*)(void))init_subclass,
     METH_CLASS | METH_METHOD | METH_FASTCALL | METH_KEYWORDS, NULL},
    {NULL, NULL, 0, NULL},
};

static const char finalized_doc[] =
    "Base of classes whose objects have something to let go of: _finalize() is called once.\n\n"
    "What a signal handler raises meanwhile is raised right after it.";

static PyType_Slot slots[] = {
    {Py_tp_doc, (void *)finalized_doc},
    {Py_tp_methods, methods},
    {Py_tp_finalize, finalize},
    {0, NULL},
};

/* No field of its own, so that it goes with any other base. */
static PyType_Spec spec = {
    .name = "virtvm._session.Finalized",
    .basicsize = sizeof(PyObject),
    .flags = Py_TPFLAGS_DEFAULT | Py_TPFLAGS_BASETYPE,
    .slots = slots,
};

int finalized_setup(PyObject *module)
{
    PyObject *type = PyType_FromModuleAndSpec(module, &spec, NULL);
    int rc = type == NULL ? -1 : PyModule_AddObjectRef(module, "Finalized", type);
    Py_XDECREF(type);
    return rc;
}
