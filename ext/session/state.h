/* state.h - the module's state and what its files share.  Everything here needs the GIL
 * unless it says otherwise. */
#ifndef VT_SESSION_STATE_H
#define VT_SESSION_STATE_H

#define PY_SSIZE_T_CLEAN
#include <Python.h>

#include "compat.h"

#include "command.h"
#include "drainer.h"
#include "session.h"
#include "transport/ssh.h"

#include <stdbool.h>

struct state {
    PyObject *threading;            /* module */
    PyObject *engine_error;         /* exception type */
    PyTypeObject *session_type;
    PyTypeObject *rss_type;
    PyObject *drainer_thread;       /* threading.Thread, or NULL */
    struct vt_drainer drainer;
    bool has_drainer;
};

struct state *state_of(PyObject *module);

/* ---- wait.c: blocking without the GIL ---- */

/* A wait of one thread: made with the GIL, used without it.  The callbacks that core
 * makes take the GIL back for as long as they run. */
struct pywait {
    struct vt_waiter waiter;
    PyThreadState *thread;          /* while the GIL is released */
    PyObject *match;                /* callable(bytes) -> truth, borrowed; or NULL */
    PyObject *session;              /* whose news are told, borrowed; or NULL */
};

void pywait_init(struct pywait *w, struct state *st, PyObject *match);
void pywait_release(struct pywait *w);      /* releases the GIL */
void pywait_acquire(struct pywait *w);      /* takes it back */
int pywait_match(void *w, const char *line, size_t n);  /* a vt_match_fn */

/* ---- errors.c ---- */

int errors_setup(PyObject *module, struct state *st);

/* Raises what rc means, less VT_INTR, whose exception is set already.  output is a new
 * reference or NULL, and stolen.  Always NULL. */
PyObject *raise_engine(struct state *st, enum vt_rc rc, const struct vt_err *e, PyObject *output);

/* ---- session.c, drain.c ---- */

int session_setup(PyObject *module, struct state *st);

/* Calls the session's news callback if there is something new.  With the GIL. */
void session_tell_news(PyObject *session);

/* The session object of a core session, as a new reference; NULL while it is being
 * deallocated. */
PyObject *session_object(struct vt_session *s);

/* Attaches a session to the drainer, starting its thread if need be. */
int drain_attach(PyObject *module, struct state *st, struct vt_session *s);
void drain_stop(struct state *st);          /* stops the thread and waits for it */
extern PyMethodDef drain_methods[];

extern PyMethodDef transfer_methods[];      /* transfer.c */

int rss_setup(PyObject *module, struct state *st);

#endif
