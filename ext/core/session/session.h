/* session.h - a session: a transport, what it has said so far, and its prompts.
 *
 * One thread at a time works on a session: between vt_session_enter and _leave it is
 * that thread's.  In between the drainer reads it, if one is attached and nobody waits to
 * get in.  close may be called by any thread at any time and wakes whoever waits; if a
 * thread is inside, that one ends the session when it leaves.
 *
 * What others may ask at any time: the atomic fields, vt_store_range and _read, and the
 * functions that say so.  All else is of whoever is inside.
 */
#ifndef VT_SESSION_H
#define VT_SESSION_H

#include "base/io.h"
#include "base/store.h"
#include "console/crash.h"
#include "console/prompt.h"
#include "session/drainer.h"
#include "session/log.h"
#include "transport/transport.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stddef.h>
#include <sys/types.h>

enum vt_echoes { VT_ECHOES_UNKNOWN, VT_ECHOES_OFF, VT_ECHOES_ON };

struct vt_session {
    pthread_mutex_t mutex;          /* held for moments only, never while waiting or reading a file;
                                     * a drainer's list comes before it */
    pthread_cond_t freed;           /* busy has ended, or closing begun */
    bool busy;                      /* a thread is between enter and leave, */
    pthread_t owner;                /* this one */
    atomic_int waiting;             /* threads in vt_session_enter; they come before the drainer */
    atomic_bool closing;            /* no new work; waiters end with VT_CLOSED */
    atomic_bool closed;
    int wake_fd;                    /* eventfd: readable once closing */
    pid_t pid;                      /* the process that opened it */

    struct vt_transport *t;
    struct vt_store store;
    uint64_t read_at;               /* first byte that no caller has had yet */
    uint64_t marked;                /* what the transport was told of that */
    _Atomic(enum vt_rc) ended;      /* VT_OK while open; VT_EOF or an error afterwards */
    atomic_bool has_status;
    atomic_int status;              /* exit code, or minus a signal's number */

    struct vt_prompts prompts;      /* changed under the mutex: see vt_session_prompts */
    struct vt_crash crash;          /* fed as bytes arrive, if scan_crash; under the mutex */
    bool scan_crash;
    struct vt_log log;
    atomic_bool wants_news;         /* tell the waiter (or the drainer) of output and of the end */

    enum vt_echoes echo;            /* whether the far end echoes what is typed */
    atomic_bool crlf;               /* its lines end with CR LF */
    bool posix;                     /* its shell answered the numbered `echo $?` */
    atomic_uint token;              /* of the last numbered status command */
    atomic_bool mute;               /* a question was answered by a prompt and no number: it is put no more */
    bool typed;                     /* the caller typed something of its own since the last command, */
    uint64_t typed_at;              /* when so much had come */
    bool cut_off;                   /* the last command's end was not seen: it may still run */

    struct vt_watch watch;          /* the drainer's, and when it is next due */
    _Atomic vt_time given_up_at;    /* VT_FOREVER, or the drainer closes it then */
};

/* Takes the transport over (frees it on failure).  bound: bytes of output in memory.  VT_NOMEM,
 * VT_IO with errno. */
enum vt_rc vt_session_new(struct vt_transport *t, size_t bound, struct vt_session **out) VT_MUST_CHECK;

/* Not while a thread is inside.  Closes first; if the drainer does not leave it (its log is
 * on a file system that hangs) the memory is given up.  In a forked child nothing is sent. */
void vt_session_free(struct vt_session *s);

/* ---- owner.c ---- */

/* Makes the session the calling thread's; waits while it is another's.  VT_TIMEOUT,
 * VT_INTR, VT_CLOSED (also for a session that is closed already), VT_NESTED. */
enum vt_rc vt_session_enter(struct vt_session *s, struct vt_waiter *w, vt_time deadline) VT_MUST_CHECK;
bool vt_session_try_enter(struct vt_session *s);
void vt_session_leave(struct vt_session *s);

/* Ends the session and waits until it is ended; w may be NULL.  By the thread that is inside:
 * it ends when that leaves.  VT_INTR, VT_TIMEOUT: somebody is inside yet, and will end it. */
enum vt_rc vt_session_close(struct vt_session *s, struct vt_waiter *w);

/* For vt_session_new and _free. */
void vt_session_locks_init(struct vt_session *s);
void vt_session_locks_fini(struct vt_session *s);

/* ---- what any thread may ask ---- */

/* The session that a watch is embedded in. */
static inline struct vt_session *vt_session_watched(struct vt_watch *w)
{
    return (struct vt_session *)((char *)w - offsetof(struct vt_session, watch));
}

/* A copy of the prompts that were learned, newest first; how many.  The texts are the
 * caller's to free.  Any thread may ask. */
struct vt_prompt_copy { char *shown; size_t n; bool proved; };
int vt_session_prompts(struct vt_session *s, struct vt_prompt_copy list[VT_LEARNED]);

/* As vt_crash_found.  Any thread may ask. */
int vt_session_crash(struct vt_session *s, uint64_t *begin, uint64_t *end);

/* Has the drainer close it at that time, or when it ends, unless it is called again with VT_FOREVER
 * before.  False: it has ended, or was closed.  Not by the thread that is inside. */
bool vt_session_give_up(struct vt_session *s, vt_time at);

/* Gives back the file with older output of a session that is closed.  By any thread. */
void vt_session_shrink(struct vt_session *s);

/* Writes the log's finished lines, so that leaving is quick. */
void vt_session_flush(struct vt_session *s);

/* ---- between enter and leave ---- */

/* Reads until nothing is pending (no more than the store's window keeps), waiting for the first byte
 * until the deadline.  VT_OK with *got > 0 (got may be NULL), VT_TIMEOUT, VT_INTR,
 * VT_CLOSED, and once the stream has ended VT_EOF or its error. */
enum vt_rc vt_session_fill(struct vt_session *s, struct vt_waiter *w, vt_time deadline,
                           size_t *got) VT_MUST_CHECK;

/* As vt_prompts_learn and _forget. */
enum vt_rc vt_session_learn(struct vt_session *s, const char *block, size_t n, bool proved) VT_MUST_CHECK;
void vt_session_forget(struct vt_session *s);

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
 * (VT_TIMEOUT), or so many bytes are unread (VT_TOOBIG; 0: any), or as vt_session_fill. */
enum vt_rc vt_session_quiet(struct vt_session *s, struct vt_waiter *w, vt_time silence, uint64_t unread,
                            vt_time deadline) VT_MUST_CHECK;

#endif
