/* call.h - the one way from Python into the core and out of it again.
 *
 *     struct call c;
 *     call_init(&c, st, timeout);         // with the GIL
 *     call_release(&c);                   // or call_enter(&c, session)
 *     c.rc = vt_...(..., &c.waiter, c.deadline, &c.e);
 *     call_acquire(&c);                   // or call_leave(&c)
 *     return c.rc == VT_OK ? call_result(&c, value) : call_failed(&c, NULL);
 *
 * Signal handlers and callbacks are Python code and may raise while the core works.  Such an
 * exception is kept here, with none set, until the call ends; then it is what the call
 * raises, whatever the core made of it.  Once there is one, no handler is run any more: a
 * signal that comes later is the interpreter's, after the call.
 *
 * Rules: the GIL is never held while the core may wait or read a file; the session is left
 * before the GIL is taken back.  Only what this file raised may be cleared.
 */
#ifndef VT_SESSION_CALL_H
#define VT_SESSION_CALL_H

#include "state.h"

struct call {
    struct vt_waiter waiter;
    vt_time deadline;
    enum vt_rc rc;                  /* what it came to */
    struct vt_err e;                /* and its detail */
    struct state *st;
    PyObject *self;                 /* the Session that was entered, borrowed; or NULL */
    PyObject *match;                /* callable(bytes) -> truth, borrowed; or NULL */
    PyThreadState *thread;          /* while the GIL is released */
    PyObject *raised;               /* the exception that was kept, or NULL */
};

void call_init(struct call *c, struct state *st, double timeout);
void call_release(struct call *c);          /* releases the GIL */
void call_acquire(struct call *c);          /* takes it back */

/* Makes the session this call's; the GIL is released if that succeeds.  false: c->rc says
 * why, the GIL is held, and no exception is set: call_failed raises it. */
bool call_enter(struct call *c, PyObject *session);
void call_leave(struct call *c);            /* the GIL is held from then on */

/* The same with the GIL held already; the log was flushed before (vt_session_flush). */
void call_leave_soon(struct call *c);

/* The same at once or not at all, for what another owner of the session does as well. */
bool call_try_enter(struct call *c, PyObject *session);

/* Keeps the exception that is set.  With the GIL. */
void call_keep(struct call *c);

/* What the caller gets: value (stolen; NULL: an exception is set already), or NULL with the
 * exception that was kept. */
PyObject *call_result(struct call *c, PyObject *value);

/* NULL, with what c->rc means raised, or the exception that was kept.  output (bytes) goes
 * into it, and is stolen; it may be NULL. */
PyObject *call_failed(struct call *c, PyObject *output);

/* The EngineError of call_failed as an object that may get more attributes, for raise_error.
 * NULL: an exception is set that is to be left alone. */
PyObject *call_error(struct call *c, PyObject *output);

int call_match(void *call, const char *line, size_t n);     /* a vt_match_fn */

#endif
