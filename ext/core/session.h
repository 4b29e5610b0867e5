/* session.h - a session: a transport, what it has said so far, and its prompts.
 *
 * One thread at a time works on a session: between vt_session_enter and _leave it is
 * that thread's.  In between the drainer reads it, if one is attached.  close may be
 * called by any thread at any time and wakes whoever waits.
 */
#ifndef VT_SESSION_H
#define VT_SESSION_H

#include "console/crash.h"
#include "console/prompt.h"
#include "io.h"
#include "log.h"
#include "store.h"
#include "transport/transport.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sys/types.h>

struct vt_drainer;

enum vt_echoes { VT_ECHOES_UNKNOWN, VT_ECHOES_OFF, VT_ECHOES_ON };

struct vt_session {
    pthread_mutex_t mutex;
    pthread_cond_t freed;
    bool busy;                      /* a thread is between enter and leave */
    atomic_bool closing;            /* no new work; waiters end with VT_CLOSED */
    bool closed;
    int wake_fd;                    /* eventfd: readable once closing */
    pid_t pid;                      /* the process that opened it */

    struct vt_transport *t;
    struct vt_store store;
    uint64_t read_at;               /* first byte that no caller has had yet */
    uint64_t marked;                /* what the transport was told of that */
    enum vt_rc ended;               /* VT_OK while open; VT_EOF or an error afterwards */
    bool has_status;
    int status;                     /* exit code, or minus a signal's number */

    struct vt_prompts prompts;
    struct vt_crash crash;          /* fed as bytes arrive, if scan_crash */
    bool scan_crash;
    struct vt_log log;
    atomic_bool wants_news;                /* tell the waiter (or the drainer) of output and of the end */

    enum vt_echoes echo;            /* whether the far end echoes what is typed */
    bool crlf;                      /* its lines end with CR LF */
    bool posix;                     /* its shell answered the numbered `echo $?` */
    unsigned token;                 /* of the last numbered status command */

    struct vt_drainer *drainer;
    bool armed;                     /* the drainer watches it */
    struct vt_session *next, *prev; /* in the drainer's list */
    void *user;                     /* the binding's, untouched here */
};

/* Takes the transport over (frees it on failure).  bound: bytes of output in memory. */
enum vt_rc vt_session_new(struct vt_transport *t, size_t bound, struct vt_session **out) VT_MUST_CHECK;

/* Not while a thread is inside.  Closes first.  In a forked child nothing is sent. */
void vt_session_free(struct vt_session *s);

/* Makes the session the calling thread's; waits while it is another's.  VT_TIMEOUT,
 * VT_INTR, VT_CLOSED (also for a session that is closed already). */
enum vt_rc vt_session_enter(struct vt_session *s, struct vt_waiter *w, vt_time deadline) VT_MUST_CHECK;
bool vt_session_try_enter(struct vt_session *s);
void vt_session_leave(struct vt_session *s);

/* Ends the session: wakes a waiting thread, waits until it has left, closes. */
void vt_session_close(struct vt_session *s);

/* ---- between enter and leave ---- */

/* Reads until nothing is pending (at most about 1 MiB), waiting for the first byte
 * until the deadline.  VT_OK with *got > 0 (got may be NULL), VT_TIMEOUT, VT_INTR,
 * VT_CLOSED, and once the stream has ended VT_EOF or its error. */
enum vt_rc vt_session_fill(struct vt_session *s, struct vt_waiter *w, vt_time deadline,
                           size_t *got) VT_MUST_CHECK;

/* Looks for the exit status of a session that has ended, if it was not to be had then: a
 * process lets go of its terminal some time before it is gone. */
void vt_session_ask_status(struct vt_session *s);

/* Writes all, reading meanwhile so that neither side can block the other. */
enum vt_rc vt_session_write(struct vt_session *s, const char *data, size_t n,
                            struct vt_waiter *w, vt_time deadline) VT_MUST_CHECK;

/* Tells the far end the size of the terminal; only where the transport can. */
enum vt_rc vt_session_resize(struct vt_session *s, unsigned rows, unsigned columns,
                             struct vt_waiter *w, vt_time deadline) VT_MUST_CHECK;

/* Reads until `silence` ns pass without a byte (VT_OK), or the deadline comes
 * (VT_TIMEOUT), or as vt_session_fill. */
enum vt_rc vt_session_quiet(struct vt_session *s, struct vt_waiter *w, vt_time silence,
                            vt_time deadline) VT_MUST_CHECK;

#endif
