/* state.h - the module's state and what its files share.  Everything here needs the GIL
 * unless it says otherwise. */
#ifndef VT_SESSION_STATE_H
#define VT_SESSION_STATE_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "common/compat.h"

#include "session/drainer.h"
#include "session/session.h"
#include "transfer/clean_up.h"
#include "transport/ssh.h"

#include <stdbool.h>

struct state {
    PyObject *threading;            /* module */
    unsigned long main_thread;      /* its id, in the process that imported us */
    pid_t pid;
    PyObject *engine_error;         /* exception type */
    PyTypeObject *session_type;
    PyTypeObject *rss_type;
    PyTypeObject *place_type;
    struct vt_places *places;       /* where logins wait, and what they left open */
    struct drain *drain;            /* drain.c; NULL until a session needs it */
    bool drain_stopped;
};

struct state *state_of(PyObject *module);

/* ---- errors.c ---- */

int errors_setup(PyObject *module, struct state *st);

/* What rc means as a new exception, mostly an EngineError; e may be NULL.  output (bytes, or
 * NULL) is stolen.  NULL: an exception is set that is to be left alone. */
PyObject *engine_error(struct state *st, enum vt_rc rc, const struct vt_err *e, PyObject *output);

/* Gives an exception an attribute; value is stolen.  One that can't be made is left out. */
void set_detail(PyObject *exc, const char *name, PyObject *value);
/* The same with left: (how many, [the first names]) of what was left behind. */
void set_left(PyObject *exc, const struct vt_left *left);

/* Raises it, and drops the reference; nothing for NULL.  Always NULL. */
PyObject *raise_error(PyObject *exc);

/* ---- thread.c ---- */

/* Starts a thread in which all signals are blocked, so that Ctrl-C reaches the waiter.  -1: OSError
 * is set. */
int thread_start(pthread_t *thread, void *(*body)(void *), void *ctx, const char *name);

/* ---- session.c, news.c, drain.c ---- */

int session_setup(PyObject *module, struct state *st);

/* Calls the session's news callback if there is something new.  -1: it raised. */
int session_tell_news(PyObject *session);

/* Attaches a session to the drainer, starting its thread if need be. */
int drain_attach(PyObject *module, struct state *st, struct vt_session *s);
/* After a login that failed: what it has left open is closed in a while, if nobody comes for
 * it.  An exception that is set stays so. */
void drain_kept(PyObject *module, struct state *st);

/* Lets the session's news be told when the drainer reads it, until drain_forget. */
int drain_know(struct state *st, PyObject *session);
void drain_forget(struct state *st, struct vt_session *s);

void drain_stop(struct state *st);          /* ends the threads */
void drain_free(struct state *st);          /* after that, with the module */
int drain_traverse(struct state *st, visitproc visit, void *arg);
extern PyMethodDef drain_methods[];

extern PyMethodDef transfer_methods[];      /* transfer.c */
extern PyMethodDef text_methods[];          /* text.c */

int rss_setup(PyObject *module, struct state *st);
int crash_setup(PyObject *module);                          /* crash.c */
int finalized_setup(PyObject *module);                      /* finalized.c */
int places_setup(PyObject *module, struct state *st);       /* place.c */

#endif
