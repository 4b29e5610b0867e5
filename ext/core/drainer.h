/* drainer.h - the one thread that reads idle sessions, so that a chatty guest neither
 * blocks on a full window nor stalls on a full serial socket. */
#ifndef VT_DRAINER_H
#define VT_DRAINER_H

#include "session.h"

struct vt_drainer {
    int epoll_fd, stop_fd;
    pthread_mutex_t mutex;          /* guards the list and serial */
    struct vt_session *sessions;
    pid_t pid;
    atomic_bool stopping;
};

/* Told after output of a session that wants news was drained, or its stream ended; runs
 * in the drainer's thread, which has entered the session. */
typedef void (*vt_drained_fn)(void *ctx, struct vt_session *s);

/* Told after the drainer has left a session that `drained` was told of. */
typedef void (*vt_left_fn)(void *ctx);

enum vt_rc vt_drainer_init(struct vt_drainer *d) VT_MUST_CHECK;
void vt_drainer_fini(struct vt_drainer *d);         /* after run has returned */

/* Attaches a session, or takes it out (a session takes itself out when freed). */
enum vt_rc vt_drainer_add(struct vt_drainer *d, struct vt_session *s) VT_MUST_CHECK;
void vt_drainer_remove(struct vt_session *s);

/* The thread's body: returns after vt_drainer_stop.  drained and left may be NULL. */
void vt_drainer_run(struct vt_drainer *d, vt_drained_fn drained, vt_left_fn left, void *ctx);
void vt_drainer_stop(struct vt_drainer *d);

/* For vt_session_leave and _enter: watch the session again; watch it no more. */
void vt_drainer_arm(struct vt_session *s);
void vt_drainer_disarm(struct vt_session *s);

#endif
