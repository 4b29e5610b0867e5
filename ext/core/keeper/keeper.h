/* keeper.h - sessions of local processes that outlive us: the client's side.
 *
 * One keeper process for each user (and set of namespaces) holds the terminals of such
 * sessions.  It is started by the first that needs it, and ends with its last session.
 * It is a program of its own (ext/keeper), which lies beside the extension module: so it has
 * nothing of its starter's memory and environment, and its own name.
 */
#ifndef VT_KEEPER_H
#define VT_KEEPER_H

#include "base/io.h"
#include "session/session.h"
#include "transport/pty.h"

struct vt_kept {
    pid_t pid;                  /* of the process */
    uint64_t read_at, told;     /* where earlier clients left off reading and reporting */
};

/* Starts a process in the keeper whose sockets are in `folder`, which must be the user's
 * own, closed to others.  o->prepare, pass_as and cwd are not used: the process gets this
 * one's folder, umask and limits.  The session has all its output since the start.  Until it is
 * claimed the process ends with it.
 * VT_TIMEOUT, VT_INTR, VT_IO with e->sys. */
enum vt_rc vt_kept_start(const char *folder, const char *id, const struct vt_pty_options *o, size_t bound,
                         struct vt_waiter *w, vt_time deadline, struct vt_session **out,
                         struct vt_kept *kept, struct vt_err *e) VT_MUST_CHECK;

/* The session of a process that runs already, or has ended and was not closed yet.
 * VT_CONNECT: there is no such session. */
enum vt_rc vt_kept_attach(const char *folder, const char *id, size_t bound, struct vt_waiter *w,
                          vt_time deadline, struct vt_session **out, struct vt_kept *kept,
                          struct vt_err *e) VT_MUST_CHECK;

/* Whether a keeper holds the session's process. */
bool vt_is_kept(const struct vt_session *s);

/* Lets the process of a session that was started outlive it.  Of another session: nothing. */
void vt_kept_claim(struct vt_session *s);

/* Tells the keeper how far callbacks have come with the output.  Of another session: nothing. */
void vt_kept_mark_told(struct vt_session *s, uint64_t told);

/* Has the keeper end the process and forget the session; false if s is none of a keeper's.
 * Waits until that is done, five seconds at most.  Between enter and leave. */
bool vt_kept_dismiss(struct vt_session *s, struct vt_waiter *w);

#endif
