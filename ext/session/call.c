/* call.c - one call into the core: the GIL, signals, and what they raise. */
#include "object.h"

#include <sys/syscall.h>
#include <unistd.h>

#define SLICE_MS 50     /* a signal that came just before a poll waits no longer */

void call_keep(struct call *c)
{
    PyObject *raised = PyErr_GetRaisedException();
    if (c->raised == NULL)
        c->raised = raised;
    else
        Py_XDECREF(raised);         /* the first one is why the second call was cut short */
}

static int run_signals(void *ctx)
{
    struct call *c = ctx;
    if (c->raised != NULL)
        return 1;
    call_acquire(c);
    if (PyErr_CheckSignals() < 0)
        call_keep(c);
    call_release(c);
    return c->raised != NULL;
}

static int tell_news(void *ctx)
{
    struct call *c = ctx;
    if (c->self == NULL || c->raised != NULL)
        return c->raised != NULL;
    call_acquire(c);
    if (session_tell_news(c->self) < 0)
        call_keep(c);
    call_release(c);
    return c->raised != NULL;
}

/* Only the main thread runs signal handlers: others need no slices.  In a fork's child that
 * is the thread which forked, whose id is the process's. */
static bool is_main_thread(const struct state *st)
{
    if (st->pid != getpid())
        return syscall(SYS_gettid) == getpid();
    return st->main_thread == PyThread_get_thread_ident();
}

void call_init(struct call *c, struct state *st, double timeout)
{
    *c = (struct call){.st = st, .deadline = vt_deadline(timeout)};
    c->waiter.ctx = c;
    c->waiter.news = tell_news;
    if (is_main_thread(st)) {
        c->waiter.interrupted = run_signals;
        c->waiter.slice_ms = SLICE_MS;
    }
}

void call_release(struct call *c)
{
    c->thread = PyEval_SaveThread();
}

void call_acquire(struct call *c)
{
    PyEval_RestoreThread(c->thread);
    c->thread = NULL;
}

static bool entered(struct call *c)
{
    if (c->rc == VT_OK)
        return true;
    call_acquire(c);
    return false;
}

bool call_enter(struct call *c, PyObject *session)
{
    struct vt_session *s = session_of(session)->s;
    c->self = session;
    call_release(c);
    c->rc = vt_session_enter(s, &c->waiter, c->deadline);
    return entered(c);
}

bool call_try_enter(struct call *c, PyObject *session)
{
    struct vt_session *s = session_of(session)->s;
    c->self = session;
    call_release(c);
    c->rc = vt_session_enter(s, &c->waiter, vt_sooner(c->deadline, SLICE_MS * VT_MS));
    return entered(c);
}

void call_leave(struct call *c)
{
    vt_session_leave(session_of(c->self)->s);
    call_acquire(c);
}

void call_leave_soon(struct call *c)
{
    struct vt_session *s = session_of(c->self)->s;
    if (!s->closing) {
        vt_session_leave(s);
        return;
    }
    call_release(c);                /* it says goodbye, and may wait for a process's end */
    call_leave(c);
}

static bool raise_kept(struct call *c)
{
    PyObject *raised = c->raised;
    c->raised = NULL;
    if (raised == NULL)
        return false;
    PyErr_SetRaisedException(raised);
    return true;
}

PyObject *call_result(struct call *c, PyObject *value)
{
    if (c->raised == NULL)
        return value;
    if (value == NULL)
        PyErr_Clear();              /* of making the value: the call ends with what was kept */
    Py_XDECREF(value);
    raise_kept(c);
    return NULL;
}

PyObject *call_error(struct call *c, PyObject *output)
{
    if (!raise_kept(c))
        return engine_error(c->st, c->rc, &c->e, output);
    Py_XDECREF(output);
    return NULL;
}

PyObject *call_failed(struct call *c, PyObject *output)
{
    return raise_error(call_error(c, output));
}

int call_match(void *ctx, const char *line, size_t n)
{
    struct call *c = ctx;
    int hit = -1;
    if (c->raised != NULL)
        return -1;
    call_acquire(c);
    PyObject *res = PyObject_CallFunction(c->match, "y#", line, (Py_ssize_t)n);
    if (res != NULL)
        hit = PyObject_IsTrue(res);
    Py_XDECREF(res);
    if (hit < 0)
        call_keep(c);
    call_release(c);
    return hit;
}
