/* object.h - type Session: what its files share.
 *
 *     session.c      the type, and its life
 *     open.c         from a host's name or a socket's path to a Session
 *     local.c        from a command to a Session: local processes
 *     output.c       methods that read, and what they make of the bytes
 *     command.c      a command in the session's shell
 *     exec.c         a command on a channel of its own
 *     control.c      methods that send, that name callbacks, and that end
 *     news.c         callbacks are told of output, by who waits or by a thread (news.h)
 *     attributes.c   what can be asked without waiting
 *
 * Locks.  A Session's own fields are the GIL's.  Of the core's session the GIL gives only what
 * core/session/session.h lets any thread ask; all else needs call_enter.  Who has entered may
 * take the GIL, but nobody waits to enter while holding it.
 */
#ifndef VT_SESSION_TYPE_H
#define VT_SESSION_TYPE_H

#include "call.h"

#define MEMORY_BOUND (1024 * 1024)      /* of output, a session; what is older is in a file */
#define COPY_SOME (64 * 1024)           /* of output: more is copied without the GIL */
#define KEPT_EACH (1024 * 1024)         /* of a failed command's output: its first and its last */

struct session {
    PyObject_HEAD
    PyObject *module;
    PyObject *weakrefs;
    struct vt_session *s;               /* never NULL once made */
    PyObject *news;                     /* tuple of callables, or NULL */
    uint64_t told;                      /* bytes when it was last called */
    struct vt_ssh_info ssh;
    bool has_ssh;
};

static inline struct session *session_of(PyObject *op)
{
    return (struct session *)op;
}

static inline struct state *session_state(PyObject *op)
{
    return state_of(session_of(op)->module);
}

/* Wraps a core session, which is the object's from here on: freed if this fails. */
PyObject *session_wrap(PyObject *module, struct vt_session *s);

/* The same with a transport.  log: a path, or NULL. */
PyObject *session_wrap_transport(PyObject *module, struct vt_transport *t, const char *log, bool scan_crash);

/* Detail of what ended the stream, for an exception.  While the session is entered. */
void session_note(struct call *c, enum vt_stage stage);

/* One way to open a session: what differs is `open`, which runs without the GIL. */
typedef enum vt_rc (*open_fn)(void *ctx, struct call *c, struct vt_transport **t);
PyObject *session_open(PyObject *module, double timeout, const char *log, bool scan_crash, open_fn open, void *ctx);

/* ---- output.c ---- */

/* [begin, end) of the store as bytes, less what is forgotten by then; whoever owns the session. */
PyObject *output_bytes(struct vt_session *s, uint64_t begin, uint64_t end);

/* Without the CR of line ends, where they are CR LF; bytes is stolen. */
PyObject *output_clean(struct vt_session *s, PyObject *bytes);

/* Two ends of an output with a line between them; both are stolen, and may be NULL. */
PyObject *output_join(PyObject *first, PyObject *last, uint64_t left_out);

/* ---- methods and attributes ---- */

#define METHOD(name) \
    PyObject *session_##name(PyObject *self, PyObject *args); \
    extern const char session_##name##_doc[];
#define METHOD_KW(name) \
    PyObject *session_##name(PyObject *self, PyObject *args, PyObject *kw); \
    extern const char session_##name##_doc[];

METHOD_KW(read) METHOD(output) METHOD(peek) METHOD(find_crash) METHOD(poll) METHOD(wait)
METHOD_KW(command) METHOD_KW(find_prompt)
METHOD_KW(run)
METHOD(write) METHOD(give_up) METHOD(resize) METHOD(kill) METHOD(mark_told) METHOD(claim) METHOD(dismiss)
METHOD(shrink) METHOD(close)
METHOD(set_news)

#undef METHOD
#undef METHOD_KW

extern PyGetSetDef session_attributes[];
extern PyMethodDef open_methods[], local_methods[];     /* the module's */

#endif
