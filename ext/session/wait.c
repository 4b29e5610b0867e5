/* wait.c - blocking without the GIL, yet open to signals. */
#include "state.h"

#define SLICE_MS 50     /* a signal that came just before a poll waits no longer */

static int run_signals(void *ctx)
{
    struct pywait *w = ctx;
    pywait_acquire(w);
    int stop = PyErr_CheckSignals() < 0;
    pywait_release(w);
    return stop;
}

static void tell_news(void *ctx)
{
    struct pywait *w = ctx;
    if (w->session == NULL)
        return;
    pywait_acquire(w);
    session_tell_news(w->session);
    pywait_release(w);
}

/* Only the main thread runs signal handlers: others need no slices. */
static bool is_main_thread(struct state *st)
{
    bool is_main = true;
    PyObject *thread = PyObject_CallMethod(st->threading, "main_thread", NULL);
    PyObject *ident = thread == NULL ? NULL : PyObject_GetAttrString(thread, "ident");
    if (ident != NULL && PyLong_Check(ident))
        is_main = PyLong_AsUnsignedLong(ident) == PyThread_get_thread_ident();
    Py_XDECREF(thread);
    Py_XDECREF(ident);
    PyErr_Clear();
    return is_main;
}

void pywait_init(struct pywait *w, struct state *st, PyObject *match)
{
    *w = (struct pywait){.match = match};
    w->waiter.ctx = w;
    w->waiter.news = tell_news;
    if (is_main_thread(st)) {
        w->waiter.interrupted = run_signals;
        w->waiter.slice_ms = SLICE_MS;
    }
}

void pywait_release(struct pywait *w)
{
    w->thread = PyEval_SaveThread();
}

void pywait_acquire(struct pywait *w)
{
    PyEval_RestoreThread(w->thread);
    w->thread = NULL;
}

int pywait_match(void *ctx, const char *line, size_t n)
{
    struct pywait *w = ctx;
    pywait_acquire(w);
    int hit = -1;
    PyObject *res = PyObject_CallFunction(w->match, "y#", line, (Py_ssize_t)n);
    if (res != NULL)
        hit = PyObject_IsTrue(res);
    Py_XDECREF(res);
    pywait_release(w);
    return hit;
}
