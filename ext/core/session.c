/* session.c - who owns a session, and moving bytes between it and its transport. */
#include "session.h"

#include "drainer.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define READ_SOME (64 * 1024)       /* bytes a read asks for */
#define FILL_MAX (1024 * 1024)      /* bytes a fill takes before others have a turn */

static void locks_init(struct vt_session *s)
{
    pthread_condattr_t attr;
    pthread_mutex_init(&s->mutex, NULL);
    pthread_condattr_init(&attr);
    pthread_condattr_setclock(&attr, CLOCK_MONOTONIC);
    pthread_cond_init(&s->freed, &attr);
    pthread_condattr_destroy(&attr);
}

enum vt_rc vt_session_new(struct vt_transport *t, size_t bound, struct vt_session **out)
{
    struct vt_session *s = calloc(1, sizeof *s);
    int wake = s == NULL ? -1 : eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (wake < 0) {
        free(s);
        t->ops->close(t);
        t->ops->fini(t, false);
        return s == NULL ? VT_NOMEM : VT_IO;
    }
    locks_init(s);
    s->wake_fd = wake;
    s->pid = getpid();
    s->t = t;
    s->echo = t->ops->echo ? VT_ECHOES_ON : VT_ECHOES_UNKNOWN;
    s->crlf = t->ops->crlf;
    vt_store_init(&s->store, bound);
    *out = s;
    return VT_OK;
}

void vt_session_free(struct vt_session *s)
{
    if (s == NULL)
        return;
    bool ours = s->pid == getpid();
    if (ours)
        vt_session_close(s);
    if (s->t != NULL)
        s->t->ops->fini(s->t, !ours);
    if (!ours)
        s->log.path = NULL;         /* the parent writes its lines itself */
    vt_log_fini(&s->log);
    vt_prompts_fini(&s->prompts);
    vt_store_fini(&s->store);
    close(s->wake_fd);
    if (ours) {
        pthread_cond_destroy(&s->freed);
        pthread_mutex_destroy(&s->mutex);
    }
    free(s);
}

/* ---- ownership ---- */

static void to_timespec(vt_time t, struct timespec *ts)
{
    ts->tv_sec = (time_t)(t / VT_SEC);
    ts->tv_nsec = (long)(t % VT_SEC);
}

/* Waits, mutex held, until the session is free or the next slice is over. */
static void wait_freed(struct vt_session *s, const struct vt_waiter *w, vt_time deadline)
{
    vt_time slice = vt_sooner(deadline, (w->slice_ms > 0 ? w->slice_ms : 1000) * VT_MS);
    struct timespec ts;
    to_timespec(slice, &ts);
    pthread_cond_timedwait(&s->freed, &s->mutex, &ts);
}

enum vt_rc vt_session_enter(struct vt_session *s, struct vt_waiter *w, vt_time deadline)
{
    enum vt_rc rc = VT_OK;
    if (s->pid != getpid())
        return VT_CLOSED;           /* a fork's child: the session is its parent's */
    pthread_mutex_lock(&s->mutex);
    while (rc == VT_OK && s->busy && !s->closing) {
        wait_freed(s, w, deadline);
        pthread_mutex_unlock(&s->mutex);
        if (w->interrupted != NULL && w->interrupted(w->ctx))
            rc = VT_INTR;
        pthread_mutex_lock(&s->mutex);
        if (rc == VT_OK && s->busy && vt_expired(deadline))
            rc = VT_TIMEOUT;
    }
    if (rc == VT_OK && s->closing)
        rc = VT_CLOSED;
    if (rc == VT_OK)
        s->busy = true;
    pthread_mutex_unlock(&s->mutex);
    if (rc == VT_OK)
        vt_drainer_disarm(s);
    return rc;
}

bool vt_session_try_enter(struct vt_session *s)
{
    pthread_mutex_lock(&s->mutex);
    bool got = !s->busy && !s->closing;
    if (got)
        s->busy = true;
    pthread_mutex_unlock(&s->mutex);
    return got;
}

void vt_session_leave(struct vt_session *s)
{
    vt_log_flush(&s->log);
    if (s->t->ops->mark != NULL && s->marked != s->read_at && !s->closing) {
        s->t->ops->mark(s->t, s->read_at);
        s->marked = s->read_at;
    }
    pthread_mutex_lock(&s->mutex);
    s->busy = false;
    /* Under the lock: the event may come at once, and a drainer that found the session
     * busy would take it for its owner's, and never look again. */
    if (!s->closing && s->ended == VT_OK)
        vt_drainer_arm(s);
    pthread_cond_broadcast(&s->freed);
    pthread_mutex_unlock(&s->mutex);
}

static void wake(struct vt_session *s)
{
    uint64_t one = 1;
    while (write(s->wake_fd, &one, sizeof one) < 0 && errno == EINTR)
        ;
}

void vt_session_close(struct vt_session *s)
{
    if (s->pid != getpid()) {           /* a fork's child: not a byte, not a lock */
        s->closing = s->closed = true;
        return;
    }
    pthread_mutex_lock(&s->mutex);
    s->closing = true;
    wake(s);
    pthread_cond_broadcast(&s->freed);
    while (s->busy)
        pthread_cond_wait(&s->freed, &s->mutex);
    bool first = !s->closed;
    s->closed = true;
    pthread_mutex_unlock(&s->mutex);
    if (!first)
        return;
    vt_drainer_remove(s);
    if (s->t != NULL)
        s->t->ops->close(s->t);
    vt_log_break(&s->log);
    vt_log_flush(&s->log);
}

/* ---- bytes ---- */

void vt_session_ask_status(struct vt_session *s)
{
    if (s->ended != VT_OK && !s->has_status && s->t->ops->status != NULL)
        s->has_status = s->t->ops->status(s->t, &s->status);
}

static void end(struct vt_session *s, enum vt_rc rc)
{
    s->ended = rc;
    vt_session_ask_status(s);
}

static void took(struct vt_session *s, const char *data, size_t n)
{
    if (s->scan_crash)
        vt_crash_feed(&s->crash, data, n);
    vt_log_feed(&s->log, data, n);
}

/* One read: VT_OK with *got > 0, VT_AGAIN, or the end. */
static enum vt_rc read_some(struct vt_session *s, size_t *got)
{
    char *at;
    enum vt_rc rc = vt_store_room(&s->store, READ_SOME, &at);
    if (rc == VT_OK)
        rc = s->t->ops->read(s->t, at, READ_SOME, got);
    if (rc == VT_OK) {
        vt_store_commit(&s->store, *got);
        took(s, at, *got);
    } else if (rc != VT_AGAIN) {
        end(s, rc);
    }
    return rc;
}

/* Reads what is pending.  VT_OK if any byte came, else VT_AGAIN or the end. */
static enum vt_rc read_pending(struct vt_session *s, size_t *got)
{
    enum vt_rc rc = VT_OK;
    *got = 0;
    while (rc == VT_OK && *got < FILL_MAX) {
        size_t some = 0;
        rc = read_some(s, &some);
        *got += some;
    }
    return *got > 0 ? VT_OK : rc;
}

static void tell(struct vt_session *s, struct vt_waiter *w)
{
    if (s->wants_news && w->news != NULL)
        w->news(w->ctx);
}

static enum vt_rc wait_io(struct vt_session *s, struct vt_waiter *w, bool writing, vt_time deadline)
{
    struct pollfd fd = {0};
    fd.fd = s->t->ops->want(s->t, writing, &fd.events);
    struct vt_waiter mine = *w;
    mine.wake_fd = s->wake_fd;
    mine.has_wake = 1;
    return vt_wait(&mine, &fd, fd.fd >= 0, deadline);
}

enum vt_rc vt_session_fill(struct vt_session *s, struct vt_waiter *w, vt_time deadline, size_t *got)
{
    size_t unused;
    if (got == NULL)
        got = &unused;
    for (;;) {
        *got = 0;
        if (s->closing)
            return VT_CLOSED;
        if (s->ended != VT_OK)
            return s->ended;
        enum vt_rc rc = read_pending(s, got);
        if (rc != VT_AGAIN) {
            tell(s, w);
            return rc;
        }
        if ((rc = wait_io(s, w, false, deadline)) != VT_OK)
            return rc;
    }
}

/* After an attempt to send: VT_OK to go on, whether it sent something or can now. */
static enum vt_rc after_sending(struct vt_session *s, enum vt_rc rc, struct vt_waiter *w, vt_time deadline)
{
    size_t got;
    if (rc == VT_OK)
        return VT_OK;
    if (rc != VT_AGAIN) {
        end(s, rc);
        tell(s, w);
        return rc;
    }
    rc = read_pending(s, &got);
    if (rc == VT_AGAIN)
        return wait_io(s, w, true, deadline);
    tell(s, w);
    return rc;
}

static enum vt_rc is_open(const struct vt_session *s)
{
    return s->closing ? VT_CLOSED : s->ended;
}

enum vt_rc vt_session_write(struct vt_session *s, const char *data, size_t n,
                            struct vt_waiter *w, vt_time deadline)
{
    enum vt_rc rc = VT_OK;
    while (n > 0 && rc == VT_OK && (rc = is_open(s)) == VT_OK) {
        size_t put = 0;
        rc = s->t->ops->write(s->t, data, n, &put);
        data += put;
        n -= put;
        rc = after_sending(s, rc, w, deadline);
    }
    return rc;
}

enum vt_rc vt_session_resize(struct vt_session *s, unsigned rows, unsigned columns,
                             struct vt_waiter *w, vt_time deadline)
{
    enum vt_rc rc, sent = VT_AGAIN;
    do {
        if ((rc = is_open(s)) != VT_OK)
            break;
        sent = s->t->ops->resize(s->t, rows, columns);
        rc = after_sending(s, sent, w, deadline);
    } while (rc == VT_OK && sent == VT_AGAIN);
    return rc;
}

enum vt_rc vt_session_quiet(struct vt_session *s, struct vt_waiter *w, vt_time silence, vt_time deadline)
{
    for (;;) {
        vt_time until = vt_sooner(deadline, silence);
        enum vt_rc rc = vt_session_fill(s, w, until, NULL);
        if (rc == VT_TIMEOUT)
            return until < deadline ? VT_OK : VT_TIMEOUT;
        if (rc != VT_OK)
            return rc;
        if (vt_expired(deadline))
            return VT_TIMEOUT;
    }
}
