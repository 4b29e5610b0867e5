/* drain.c - the drainer's thread: a daemon thread of Python's, started with the first
 * session, stopped at exit. */
#include "state.h"

#include <signal.h>
#include <unistd.h>

struct drain {
    struct pywait wait;
    PyObject *held;                 /* the session whose news are to be told */
};

static void drained(void *ctx, struct vt_session *s)
{
    struct drain *d = ctx;
    pywait_acquire(&d->wait);
    d->held = session_object(s);
    pywait_release(&d->wait);
}

/* The news are told, and the reference is dropped, once the drainer has left the session:
 * either may have Python close it, by a callback or by collecting garbage, and closing
 * waits until nobody is inside. */
static void left(void *ctx)
{
    struct drain *d = ctx;
    if (d->held == NULL)
        return;
    pywait_acquire(&d->wait);
    session_tell_news(d->held);
    Py_CLEAR(d->held);
    pywait_release(&d->wait);
}

/* The thread's body.  Signals are blocked in it, so that Ctrl-C reaches the waiter. */
static PyObject *drain_loop(PyObject *module, PyObject *unused)
{
    struct state *st = state_of(module);
    struct drain d = {0};
    sigset_t all;
    (void)unused;
    sigfillset(&all);
    pthread_sigmask(SIG_BLOCK, &all, NULL);
    pywait_release(&d.wait);
    vt_drainer_run(&st->drainer, drained, left, &d);
    pywait_acquire(&d.wait);
    Py_RETURN_NONE;
}

static PyObject *stop_drainer(PyObject *module, PyObject *unused)
{
    (void)unused;
    drain_stop(state_of(module));
    Py_RETURN_NONE;
}

PyMethodDef drain_methods[] = {
    {"_drain_loop", drain_loop, METH_NOARGS, "Reads idle sessions until _stop_drainer() (private)."},
    {"_stop_drainer", stop_drainer, METH_NOARGS, "Ends the drainer's thread (private; at exit)."},
    {NULL, NULL, 0, NULL},
};

void drain_stop(struct state *st)
{
    if (!st->has_drainer)
        return;
    PyObject *type, *value, *trace;
    PyErr_Fetch(&type, &value, &trace);
    if (st->drainer.pid == getpid()) {
        vt_drainer_stop(&st->drainer);
        PyObject *res = st->drainer_thread == NULL ? NULL
                      : PyObject_CallMethod(st->drainer_thread, "join", NULL);
        if (res == NULL)
            PyErr_Clear();
        Py_XDECREF(res);
    }
    vt_drainer_fini(&st->drainer);
    st->has_drainer = false;
    Py_CLEAR(st->drainer_thread);
    PyErr_Restore(type, value, trace);
}

static PyObject *start_thread(PyObject *module, struct state *st)
{
    PyObject *loop = PyObject_GetAttrString(module, "_drain_loop");
    PyObject *args = PyTuple_New(0);
    PyObject *kw = loop == NULL ? NULL : Py_BuildValue("{sOsssO}", "target", loop, "name",
                                                       "virtvm-drainer", "daemon", Py_True);
    PyObject *cls = PyObject_GetAttrString(st->threading, "Thread");
    PyObject *thread = kw && cls && args ? PyObject_Call(cls, args, kw) : NULL;
    PyObject *res = thread == NULL ? NULL : PyObject_CallMethod(thread, "start", NULL);
    if (res == NULL)
        Py_CLEAR(thread);
    Py_XDECREF(res);
    Py_XDECREF(loop);
    Py_XDECREF(args);
    Py_XDECREF(kw);
    Py_XDECREF(cls);
    return thread;
}

static int register_exit(PyObject *module)
{
    PyObject *stop = PyObject_GetAttrString(module, "_stop_drainer");
    PyObject *atexit = PyImport_ImportModule("atexit");
    PyObject *res = stop && atexit ? PyObject_CallMethod(atexit, "register", "O", stop) : NULL;
    int rc = res == NULL ? -1 : 0;
    Py_XDECREF(stop);
    Py_XDECREF(atexit);
    Py_XDECREF(res);
    return rc;
}

int drain_attach(PyObject *module, struct state *st, struct vt_session *s)
{
    if (st->has_drainer && st->drainer.pid != getpid())
        drain_stop(st);                 /* after fork: the thread is the parent's */
    if (!st->has_drainer) {
        if (vt_drainer_init(&st->drainer) != VT_OK) {
            PyErr_SetFromErrno(PyExc_OSError);
            return -1;
        }
        st->has_drainer = true;
        st->drainer_thread = start_thread(module, st);
        if (st->drainer_thread == NULL || register_exit(module) < 0) {
            drain_stop(st);
            return -1;
        }
    }
    if (vt_drainer_add(&st->drainer, s) != VT_OK) {
        PyErr_SetString(PyExc_OSError, "cannot watch the session's descriptor");
        return -1;
    }
    return 0;
}
