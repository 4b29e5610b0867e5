/* drainer.c - epoll, one-shot: whoever reads what is watched has it alone. */
#include "session/drainer.h"

#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define EVENTS 64

enum vt_rc vt_drainer_init(struct vt_drainer *d)
{
    if (d->pid != getpid()) {
        memset(d, 0, sizeof *d);
        pthread_mutex_init(&d->mutex, NULL);
        d->pid = getpid();
    }
    d->stopping = false;
    d->soonest = VT_FOREVER;
    d->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    d->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};
    if (d->epoll_fd < 0 || d->stop_fd < 0
        || epoll_ctl(d->epoll_fd, EPOLL_CTL_ADD, d->stop_fd, &event) < 0) {
        int sys = errno;
        close(d->epoll_fd);
        close(d->stop_fd);
        errno = sys;
        return VT_IO;
    }
    return VT_OK;
}

/* Takes it out, unless another thread has.  The list's lock is held. */
static void detach(struct vt_drainer *d, struct vt_watch *w)
{
    pthread_mutex_lock(w->mutex);
    if (w->drainer == d) {
        epoll_ctl(d->epoll_fd, EPOLL_CTL_DEL, w->fd, NULL);
        if (d->next_news == w)
            d->next_news = w->next;
        if (w->prev != NULL)
            w->prev->next = w->next;
        else
            d->watches = w->next;
        if (w->next != NULL)
            w->next->prev = w->prev;
        w->drainer = NULL;
    }
    pthread_mutex_unlock(w->mutex);
}

void vt_drainer_fini(struct vt_drainer *d)
{
    /* In a fork's child the epoll set is still the parent's: only let go of it. */
    if (d->pid == getpid()) {
        pthread_mutex_lock(&d->mutex);
        while (d->watches != NULL)
            detach(d, d->watches);
        pthread_mutex_unlock(&d->mutex);
    }
    close(d->epoll_fd);
    close(d->stop_fd);
}

/* Watches it for what it wants, or (not `watch`) for nothing: its end raises an event even
 * then.  It is the caller's, or nobody's yet. */
static int control(struct vt_watch *w, int op, bool watch)
{
    short want = 0;
    int fd = w->ops->want(w, &want);
    if (fd < 0)
        return -1;
    struct epoll_event event = {.data.ptr = w};
    if (watch)
        event.events = EPOLLONESHOT | EPOLLRDHUP | (want & POLLIN ? EPOLLIN : 0u)
                       | (want & POLLOUT ? EPOLLOUT : 0u);
    else
        event.events = EPOLLONESHOT;
    w->fd = fd;
    return epoll_ctl(w->drainer->epoll_fd, op, fd, &event);
}

static enum vt_rc attach(struct vt_drainer *d, struct vt_watch *w)
{
    w->drainer = d;
    if (control(w, EPOLL_CTL_ADD, false) < 0) {
        w->drainer = NULL;
        return VT_IO;
    }
    w->prev = NULL;
    w->next = d->watches;
    if (d->watches != NULL)
        d->watches->prev = w;
    d->watches = w;
    return VT_OK;
}

enum vt_rc vt_drainer_add(struct vt_drainer *d, struct vt_watch *w)
{
    pthread_mutex_lock(&d->mutex);
    pthread_mutex_lock(w->mutex);
    enum vt_rc rc = attach(d, w);
    pthread_mutex_unlock(w->mutex);
    pthread_mutex_unlock(&d->mutex);
    if (rc == VT_OK && w->ops->take(w))
        w->ops->leave(w);               /* arms it; a drainer that was faster does so itself */
    return rc;
}

void vt_drainer_remove(struct vt_watch *w)
{
    pthread_mutex_lock(w->mutex);
    struct vt_drainer *d = w->drainer;
    pthread_mutex_unlock(w->mutex);
    if (d == NULL)
        return;
    pthread_mutex_lock(&d->mutex);
    detach(d, w);
    pthread_mutex_unlock(&d->mutex);
}

/* Those who arm and the drainer's own scan lower it at once: neither undoes the other's. */
static bool is_sooner(struct vt_drainer *d, vt_time due)
{
    vt_time soonest = d->soonest;
    while (due < soonest)
        if (atomic_compare_exchange_weak(&d->soonest, &soonest, due))
            return true;
    return false;
}

void vt_watch_arm(struct vt_watch *w)
{
    if (w->drainer == NULL)
        return;
    w->armed = control(w, EPOLL_CTL_MOD, true) == 0;
    if (is_sooner(w->drainer, w->due))
        vt_drainer_poke(w->drainer);
}

void vt_watch_disarm(struct vt_watch *w)
{
    if (w->drainer != NULL && w->armed) {
        control(w, EPOLL_CTL_MOD, false);
        w->armed = false;
    }
}

/* Takes it if nobody has it.  The list's lock keeps it from being freed between the event
 * and here. */
static bool take(struct vt_drainer *d, struct vt_watch *wanted)
{
    bool got = false;
    pthread_mutex_lock(&d->mutex);
    for (struct vt_watch *w = d->watches; w != NULL; w = w->next) {
        if (w == wanted) {
            got = w->ops->take(w);
            break;
        }
    }
    pthread_mutex_unlock(&d->mutex);
    return got;
}

static void drain(struct vt_drainer *d, struct vt_watch *w, vt_drained_fn drained,
                  vt_left_fn left, void *ctx)
{
    if (!take(d, w))
        return;                     /* its owner reads it, and arms it when it leaves */
    w->armed = false;
    bool told = w->ops->read(w);
    if (told)
        w->news_due = true;
    if (told && drained != NULL)
        drained(ctx, w);
    w->ops->leave(w);
    if (told && left != NULL)
        left(ctx);
}

/* The thread was woken by hand.  To stop, it stays woken. */
static bool take_poke(struct vt_drainer *d)
{
    uint64_t count;
    return !d->stopping && read(d->stop_fd, &count, sizeof count) > 0;
}

/* Adds news of the list's watches from w to before end; where it stopped for want of room. */
static struct vt_watch *take_some(struct vt_watch *w, const struct vt_watch *end, uint64_t *ids,
                                  int max, int *n)
{
    for (; w != end && *n < max; w = w->next)
        if (atomic_exchange(&w->news_due, false))
            ids[(*n)++] = w->id;
    return w;
}

int vt_drainer_take_news(struct vt_drainer *d, uint64_t *ids, int max)
{
    int n = 0;
    pthread_mutex_lock(&d->mutex);
    struct vt_watch *from = d->next_news;
    d->next_news = take_some(from, NULL, ids, max, &n);
    if (n < max)
        d->next_news = take_some(d->watches, from, ids, max, &n);
    pthread_mutex_unlock(&d->mutex);
    return n;
}

/* One that is due; notes when the next one is. */
static struct vt_watch *find_due(struct vt_drainer *d)
{
    struct vt_watch *found = NULL;
    vt_time now = vt_now();
    pthread_mutex_lock(&d->mutex);
    d->soonest = VT_FOREVER;            /* before any is looked at: one may be armed meanwhile */
    for (struct vt_watch *w = d->watches; w != NULL; w = w->next) {
        vt_time due = w->due;
        if (due <= now && found == NULL) {
            found = w;
            w->due = VT_FOREVER;        /* whoever leaves it says when it is due again */
        } else {
            (void)is_sooner(d, due);
        }
    }
    pthread_mutex_unlock(&d->mutex);
    return found;
}

void vt_drainer_run(struct vt_drainer *d, vt_drained_fn drained, vt_left_fn left, void *ctx)
{
    struct epoll_event events[EVENTS];
    vt_time due = 0;
    while (!d->stopping) {
        if (vt_expired(due))
            due = d->idle != NULL ? d->idle(d->idle_ctx) : VT_FOREVER;
        struct vt_watch *w;
        while (vt_expired(d->soonest) && (w = find_due(d)) != NULL)
            drain(d, w, drained, left, ctx);
        vt_time soonest = d->soonest;
        int n = epoll_wait(d->epoll_fd, events, EVENTS, vt_poll_ms(soonest < due ? soonest : due));
        if (n < 0 && errno != EINTR)
            return;
        for (int i = 0; i < n && !d->stopping; i++) {
            if (events[i].data.ptr != NULL)
                drain(d, events[i].data.ptr, drained, left, ctx);
            else if (take_poke(d))
                due = 0;
        }
    }
}

static void ring(struct vt_drainer *d)
{
    uint64_t one = 1;
    while (write(d->stop_fd, &one, sizeof one) < 0 && errno == EINTR)
        ;
}

void vt_drainer_poke(struct vt_drainer *d)
{
    ring(d);
}

void vt_drainer_stop(struct vt_drainer *d)
{
    d->stopping = true;
    ring(d);
}
