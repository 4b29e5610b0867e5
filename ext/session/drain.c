/* drain.c - the module's thread that reads idle sessions, of plain C and without the GIL; it ends
 * at exit. */
#include "news.h"

#include "transport/boot.h"

#include <signal.h>
#include <time.h>
#include <unistd.h>

#define STOP_PATIENCE 5             /* seconds for the reader to end: its log may hang */

struct drain {
    struct vt_drainer d;
    struct news *news;
    bool has_reader;
    pthread_t reader;
};

/* ---- the thread ---- */

static void *read_sessions(void *ctx)
{
    struct drain *d = ctx;
    vt_drainer_run(&d->d, NULL, news_due, d->news);
    return NULL;
}

/* ---- life ---- */

static int register_exit(PyObject *module)
{
    PyObject *stop = PyObject_GetAttrString(module, "_stop_drainer");
    PyObject *atexit = stop == NULL ? NULL : PyImport_ImportModule("atexit");
    PyObject *res = atexit == NULL ? NULL : PyObject_CallMethod(atexit, "register", "O", stop);
    int rc = res == NULL ? -1 : 0;
    Py_XDECREF(stop);
    Py_XDECREF(atexit);
    Py_XDECREF(res);
    return rc;
}

static struct drain *make(void)
{
    struct drain *d = PyMem_Calloc(1, sizeof *d);
    if (d == NULL) {
        PyErr_NoMemory();
        return NULL;
    }
    d->news = news_new(&d->d);
    if (d->news != NULL && vt_drainer_init(&d->d) == VT_OK)
        return d;
    if (d->news != NULL) {
        PyErr_SetFromErrno(PyExc_OSError);
        news_free(d->news);
    }
    PyMem_Free(d);
    return NULL;
}

/* Ends the threads, the GIL released.  false: the reader does not end, and uses *d yet. */
static bool join(struct drain *d)
{
    struct timespec until;
    int sys = 0;
    vt_drainer_stop(&d->d);
    news_stop(d->news);
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += STOP_PATIENCE;
    if (d->has_reader)
        sys = pthread_timedjoin_np(d->reader, NULL, &until);
    return sys == 0;
}

/* After fork the threads are the parent's, and so is what its descriptors mean. */
static void forget_parents(struct state *st)
{
    if (st->drain == NULL || st->drain->d.pid == getpid())
        return;
    vt_drainer_fini(&st->drain->d);
    news_forget_all(st->drain->news);
    st->drain = NULL;               /* sessions of the parent's point there yet */
    st->drain_stopped = false;
}

/* Sessions may be closed by other threads yet: *d itself stays until the module goes, which
 * each of them holds. */
void drain_stop(struct state *st)
{
    forget_parents(st);
    struct drain *d = st->drain;
    bool ended = true;
    if (st->drain_stopped)
        return;
    st->drain_stopped = true;
    if (d == NULL)
        return;                     /* of a fork's child that has none of its own */
    Py_BEGIN_ALLOW_THREADS
    ended = join(d);
    if (ended)
        vt_drainer_fini(&d->d);
    Py_END_ALLOW_THREADS
    if (!ended)
        st->drain = NULL;           /* given up, with its memory */
}

void drain_free(struct state *st)
{
    if (st->drain != NULL && st->drain_stopped) {
        news_free(st->drain->news);
        PyMem_Free(st->drain);
        st->drain = NULL;
    }
}

int drain_traverse(struct state *st, visitproc visit, void *arg)
{
    return st->drain == NULL ? 0 : news_traverse(st->drain->news, visit, arg);
}

static PyObject *stop_drainer(PyObject *module, PyObject *unused)
{
    (void)unused;
    drain_stop(state_of(module));
    Py_RETURN_NONE;
}

PyMethodDef drain_methods[] = {
    {"_stop_drainer", stop_drainer, METH_NOARGS, "Ends the module's threads (private; at exit)."},
    {NULL, NULL, 0, NULL},
};

/* What logins have left open is closed when nobody comes for it. */
static vt_time close_kept(void *ctx)
{
    struct state *st = ctx;
    return vt_places_expire(st->places);
}

static int begin(PyObject *module, struct state *st)
{
    forget_parents(st);
    if (st->drain != NULL || st->drain_stopped)
        return 0;
    struct drain *d = make();
    if (d == NULL)
        return -1;
    st->drain = d;
    d->d.idle = close_kept;
    d->d.idle_ctx = st;
    d->has_reader = thread_start(&d->reader, read_sessions, d, "virtvm-drainer") == 0;
    if (d->has_reader && register_exit(module) == 0)
        return 0;
    PyObject *raised = PyErr_GetRaisedException();
    drain_stop(st);
    drain_free(st);
    st->drain_stopped = false;
    PyErr_SetRaisedException(raised);
    return -1;
}

void drain_kept(PyObject *module, struct state *st)
{
    if (vt_places_expire(st->places) == VT_FOREVER)
        return;
    PyObject *raised = PyErr_GetRaisedException();
    if (begin(module, st) == 0 && !st->drain_stopped) {
        vt_drainer_poke(&st->drain->d);
    } else {                            /* nobody would close them later */
        PyErr_Clear();
        vt_places_drop(st->places);
    }
    if (raised != NULL)
        PyErr_SetRaisedException(raised);
}

int drain_attach(PyObject *module, struct state *st, struct vt_session *s)
{
    if (begin(module, st) < 0)
        return -1;
    if (st->drain_stopped)
        return 0;                   /* at exit: whoever waits for it reads it */
    if (vt_drainer_add(&st->drain->d, &s->watch) != VT_OK) {
        PyErr_SetString(PyExc_OSError, "cannot watch the session's descriptor");
        return -1;
    }
    return 0;
}

int drain_know(struct state *st, PyObject *session)
{
    struct drain *d = st->drain;
    if (d == NULL || st->drain_stopped || d->d.pid != getpid())
        return 0;                   /* nobody reads it, but who waits for it */
    return news_know(d->news, session);
}

void drain_forget(struct state *st, struct vt_session *s)
{
    if (s->pid != getpid())
        return;                     /* of a fork's parent: that number is one of ours here */
    if (st->drain != NULL)
        news_forget(st->drain->news, s->watch.id);
}
