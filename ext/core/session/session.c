/* session.c - moving bytes between a session and its transport. */
#include "session/session.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define READ_SOME (64 * 1024)       /* bytes a read asks for */

static const struct vt_watch_ops watch_ops;

enum vt_rc vt_session_new(struct vt_transport *t, size_t bound, struct vt_session **out)
{
    struct vt_session *s = calloc(1, sizeof *s);
    int wake = s == NULL ? -1 : eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (wake < 0) {
        int sys = errno;
        free(s);
        t->ops->close(t);
        t->ops->fini(t, false);
        errno = sys;
        return s == NULL ? VT_NOMEM : VT_IO;
    }
    vt_session_locks_init(s);
    s->wake_fd = wake;
    s->pid = getpid();
    s->t = t;
    s->watch.ops = &watch_ops;
    s->watch.mutex = &s->mutex;
    s->watch.due = s->given_up_at = VT_FOREVER;
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
    if (ours && vt_session_close(s, NULL) != VT_OK)
        return;
    if (s->t != NULL)
        s->t->ops->fini(s->t, !ours);
    if (!ours)
        vt_log_disown(&s->log);     /* the parent writes its lines itself */
    vt_log_fini(&s->log);
    vt_prompts_fini(&s->prompts);
    vt_store_fini(&s->store);
    close(s->wake_fd);
    if (ours)
        vt_session_locks_fini(s);
    free(s);
}

void vt_session_flush(struct vt_session *s)
{
    vt_log_flush(&s->log);
}

void vt_session_shrink(struct vt_session *s)
{
    if (s->closed && s->pid == getpid())
        vt_store_shrink(&s->store);
}

/* ---- what any thread may ask ---- */

/* In a fork's child the lock may be held by a thread that is not there; nor is one that
 * would change anything. */
static bool facts_lock(struct vt_session *s)
{
    bool ours = s->pid == getpid();
    if (ours)
        pthread_mutex_lock(&s->mutex);
    return ours;
}

static void facts_unlock(struct vt_session *s, bool locked)
{
    if (locked)
        pthread_mutex_unlock(&s->mutex);
}

enum vt_rc vt_session_learn(struct vt_session *s, const char *block, size_t n, bool proved)
{
    bool locked = facts_lock(s);
    enum vt_rc rc = vt_prompts_learn(&s->prompts, block, n, proved);
    facts_unlock(s, locked);
    return rc;
}

void vt_session_forget(struct vt_session *s)
{
    bool locked = facts_lock(s);
    vt_prompts_forget(&s->prompts);
    facts_unlock(s, locked);
}

int vt_session_prompts(struct vt_session *s, struct vt_prompt_copy list[VT_LEARNED])
{
    int count = 0;
    bool locked = facts_lock(s);
    for (int i = 0; i < s->prompts.count; i++) {
        const struct vt_learned *l = &s->prompts.list[i];
        char *shown = malloc(l->shown_len + 1);
        if (shown == NULL)
            break;
        memcpy(shown, l->shown, l->shown_len);
        list[count++] = (struct vt_prompt_copy){shown, l->shown_len, l->proved};
    }
    facts_unlock(s, locked);
    return count;
}

int vt_session_crash(struct vt_session *s, uint64_t *begin, uint64_t *end)
{
    bool locked = facts_lock(s);
    int found = vt_crash_found(&s->crash, begin, end);
    facts_unlock(s, locked);
    return found;
}

/* ---- bytes ---- */

void vt_session_ask_status(struct vt_session *s)
{
    int status = 0;
    if (s->ended == VT_OK || s->has_status || s->t->ops->status == NULL)
        return;
    bool known = s->t->ops->status(s->t, &status);
    s->status = status;
    s->has_status = known;              /* last: whoever sees it reads the status then */
}

static void end(struct vt_session *s, enum vt_rc rc)
{
    s->ended = rc;
    vt_session_ask_status(s);
}

static void scan_and_log(struct vt_session *s, const char *data, size_t n)
{
    if (s->scan_crash) {
        pthread_mutex_lock(&s->mutex);
        vt_crash_feed(&s->crash, data, n);
        pthread_mutex_unlock(&s->mutex);
    }
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
        scan_and_log(s, at, *got);
    } else if (rc != VT_AGAIN) {
        end(s, rc);
    }
    return rc;
}

/* Reads what is pending, but no more than the store's window keeps of it.  VT_OK if any byte
 * came, else VT_AGAIN or the end. */
static enum vt_rc read_pending(struct vt_session *s, size_t *got)
{
    enum vt_rc rc = VT_OK;
    size_t half = s->store.bound / 2, most = half > 2 * READ_SOME ? half - READ_SOME : READ_SOME;
    *got = 0;
    while (rc == VT_OK && *got < most) {
        size_t some = 0;
        rc = read_some(s, &some);
        *got += some;
    }
    return *got > 0 ? VT_OK : rc;
}

/* Tells of what came; rc, or VT_INTR if that is to end what waits. */
static enum vt_rc tell(struct vt_session *s, struct vt_waiter *w, enum vt_rc rc)
{
    return s->wants_news && w->news != NULL && w->news(w->ctx) ? VT_INTR : rc;
}

static enum vt_rc wait_io(struct vt_session *s, struct vt_waiter *w, bool writing, vt_time deadline)
{
    struct pollfd fd = {0};
    fd.fd = s->t->ops->want(s->t, writing, &fd.events);
    struct vt_waiter mine = *w;
    mine.wake_fd = s->wake_fd;
    mine.has_wake = 1;
    vt_time due = vt_transport_due(s->t);
    enum vt_rc rc = vt_wait(&mine, &fd, fd.fd >= 0, due < deadline ? due : deadline);
    return rc == VT_TIMEOUT && due < deadline ? VT_OK : rc;
}

enum vt_rc vt_session_fill(struct vt_session *s, struct vt_waiter *w, vt_time deadline, size_t *got)
{
    size_t unused;
    if (got == NULL)
        got = &unused;
    for (enum vt_rc late = VT_OK;;) {
        *got = 0;
        if (s->closing)
            return VT_CLOSED;
        if (s->ended != VT_OK)
            return s->ended;
        enum vt_rc rc = read_pending(s, got);
        if (rc != VT_AGAIN)
            return tell(s, w, rc);
        if (late != VT_OK)
            return late;
        if ((rc = wait_io(s, w, false, deadline)) != VT_OK)
            return rc;
        /* A peer may send for ever what is no output: that must not outlast the deadline. */
        if ((late = vt_wait_check(w, deadline)) != VT_OK && late != VT_TIMEOUT)
            return late;
    }
}

/* After an attempt to send: VT_OK to go on, whether it sent something or can now. */
static enum vt_rc after_sending(struct vt_session *s, enum vt_rc rc, struct vt_waiter *w, vt_time deadline)
{
    size_t got;
    if (rc == VT_OK)
        return vt_wait_check(w, deadline);
    if (rc != VT_AGAIN) {
        end(s, rc);
        return tell(s, w, rc);
    }
    rc = read_pending(s, &got);
    if (rc == VT_AGAIN)
        return wait_io(s, w, true, deadline);
    rc = tell(s, w, rc);
    return rc == VT_OK ? vt_wait_check(w, deadline) : rc;
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
    return rc == VT_TIMEOUT && n == 0 ? VT_OK : rc;     /* the last byte is on its way */
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
    return rc == VT_TIMEOUT && sent == VT_OK ? VT_OK : rc;
}

enum vt_rc vt_session_quiet(struct vt_session *s, struct vt_waiter *w, vt_time silence, uint64_t unread,
                            vt_time deadline)
{
    for (;;) {
        if (unread > 0 && s->store.total - s->read_at >= unread)
            return VT_TOOBIG;
        vt_time until = vt_sooner(deadline, silence);
        enum vt_rc rc = vt_session_fill(s, w, until, NULL);
        if (rc == VT_TIMEOUT)
            return until < deadline ? VT_OK : VT_TIMEOUT;
        if (rc != VT_OK || (rc = vt_wait_check(w, deadline)) != VT_OK)
            return rc;
    }
}

/* ---- as the drainer sees it ---- */

static int watch_want(struct vt_watch *w, short *events)
{
    struct vt_transport *t = vt_session_watched(w)->t;
    return t->ops->want(t, false, events);
}

static bool watch_take(struct vt_watch *w)
{
    return vt_session_try_enter(vt_session_watched(w));
}

/* Several turns: what the library holds back raises no event. */
static bool watch_read(struct vt_watch *w)
{
    struct vt_session *s = vt_session_watched(w);
    struct vt_waiter nobody = {0};
    for (int turn = 0; turn < 8 && s->waiting == 0; turn++)
        if (vt_session_fill(s, &nobody, vt_now(), NULL) != VT_OK)
            break;
    vt_time given_up_at = s->given_up_at;
    if (given_up_at != VT_FOREVER && (s->ended != VT_OK || vt_expired(given_up_at)))
        s->closing = true;              /* whoever leaves it closes it */
    return s->wants_news;
}

static void watch_leave(struct vt_watch *w)
{
    vt_session_leave(vt_session_watched(w));
}

static const struct vt_watch_ops watch_ops = {
    .want = watch_want, .take = watch_take, .read = watch_read, .leave = watch_leave,
};
