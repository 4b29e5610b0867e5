/* owner.c - who has a session, one thread at a time, and who ends it. */
#include "session/session.h"

#include <errno.h>
#include <unistd.h>

#define CLOSE_PATIENCE (10 * VT_SEC) /* for whoever is inside to leave */

void vt_session_locks_init(struct vt_session *s)
{
    pthread_condattr_t attr;
    pthread_mutex_init(&s->mutex, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&s->freed, &attr);
    pthread_condattr_destroy(&attr);
}

void vt_session_locks_fini(struct vt_session *s)
{
    pthread_cond_destroy(&s->freed);
    pthread_mutex_destroy(&s->mutex);
}

static void to_timespec(vt_time t, struct timespec *ts)
{
    ts->tv_sec = (time_t)(t / VT_SEC);
    ts->tv_nsec = (long)(t % VT_SEC);
}

/* Waits, mutex held, until the session is free or the next slice is over.  VT_OK to look
 * again, VT_INTR, VT_TIMEOUT.  w may be NULL. */
static enum vt_rc wait_freed(struct vt_session *s, struct vt_waiter *w, vt_time deadline)
{
    int slice_ms = w != NULL && w->slice_ms > 0 ? w->slice_ms : 1000;
    struct timespec ts;
    to_timespec(vt_sooner(deadline, slice_ms * VT_MS), &ts);
    pthread_cond_timedwait(&s->freed, &s->mutex, &ts);
    if (w != NULL && w->interrupted != NULL) {
        pthread_mutex_unlock(&s->mutex);
        bool stop = w->interrupted(w->ctx);
        pthread_mutex_lock(&s->mutex);
        if (stop)
            return VT_INTR;
    }
    return s->busy && vt_expired(deadline) ? VT_TIMEOUT : VT_OK;
}

static bool is_mine(const struct vt_session *s)
{
    return s->busy && pthread_equal(s->owner, pthread_self());
}

static void take(struct vt_session *s)
{
    s->busy = true;
    s->owner = pthread_self();
}

/* Under the mutex, with nobody inside: the drainer may have it, unless somebody waits.  The
 * event may come at once, and a drainer that found the session busy would take it for its
 * owner's, and never look again. */
static void offer(struct vt_session *s)
{
    if (s->busy || s->closing || s->ended != VT_OK || s->waiting > 0)
        return;
    vt_time due = vt_transport_due(s->t), given_up_at = s->given_up_at;
    s->watch.due = given_up_at < due ? given_up_at : due;
    vt_watch_arm(&s->watch);
}

enum vt_rc vt_session_enter(struct vt_session *s, struct vt_waiter *w, vt_time deadline)
{
    enum vt_rc rc = VT_OK;
    if (s->pid != getpid())
        return VT_CLOSED;           /* a fork's child: the session is its parent's */
    pthread_mutex_lock(&s->mutex);
    if (is_mine(s))
        rc = VT_NESTED;
    s->waiting++;
    while (rc == VT_OK && s->busy && !s->closing)
        rc = wait_freed(s, w, deadline);
    s->waiting--;
    if (rc == VT_OK && s->closing)
        rc = VT_CLOSED;
    if (rc == VT_OK) {
        take(s);
        vt_watch_disarm(&s->watch);
    } else {
        offer(s);
    }
    pthread_mutex_unlock(&s->mutex);
    return rc;
}

bool vt_session_try_enter(struct vt_session *s)
{
    pthread_mutex_lock(&s->mutex);
    bool got = !s->busy && !s->closing && s->waiting == 0;
    if (got)
        take(s);
    pthread_mutex_unlock(&s->mutex);
    return got;
}

/* By the thread that is inside. */
static void end_session(struct vt_session *s)
{
    vt_drainer_remove(&s->watch);
    if (s->t != NULL)
        s->t->ops->close(s->t);
    vt_log_break(&s->log);
    vt_log_flush(&s->log);
    pthread_mutex_lock(&s->mutex);
    s->closed = true;
    s->busy = false;
    pthread_cond_broadcast(&s->freed);
    pthread_mutex_unlock(&s->mutex);
}

void vt_session_leave(struct vt_session *s)
{
    vt_log_flush(&s->log);
    if (s->t->ops->mark != NULL && s->marked != s->read_at && !s->closing) {
        s->t->ops->mark(s->t, s->read_at);
        s->marked = s->read_at;
    }
    pthread_mutex_lock(&s->mutex);
    bool last = s->closing && !s->closed;
    if (!last) {
        s->busy = false;
        offer(s);
        pthread_cond_broadcast(&s->freed);
    }
    pthread_mutex_unlock(&s->mutex);
    if (last)
        end_session(s);
}

static void wake(struct vt_session *s)
{
    uint64_t one = 1;
    while (write(s->wake_fd, &one, sizeof one) < 0 && errno == EINTR)
        ;
}

enum vt_rc vt_session_close(struct vt_session *s, struct vt_waiter *w)
{
    enum vt_rc rc = VT_OK;
    if (s->pid != getpid()) {           /* a fork's child: not a byte, not a lock */
        s->closing = s->closed = true;
        return VT_OK;
    }
    vt_time deadline = vt_sooner(VT_FOREVER, CLOSE_PATIENCE);
    pthread_mutex_lock(&s->mutex);
    s->closing = true;
    wake(s);
    pthread_cond_broadcast(&s->freed);
    bool mine = is_mine(s);
    while (rc == VT_OK && s->busy && !s->closed && !mine)
        rc = wait_freed(s, w, deadline);
    bool last = !s->busy && !s->closed;
    if (last)
        take(s);
    pthread_mutex_unlock(&s->mutex);
    if (last)
        end_session(s);
    return s->closed || mine || last ? VT_OK : rc;
}

bool vt_session_give_up(struct vt_session *s, vt_time at)
{
    s->given_up_at = at;
    if (s->pid == getpid() && vt_session_try_enter(s))
        vt_session_leave(s);            /* so that the drainer learns of it */
    return !s->closing && s->ended == VT_OK;
}
