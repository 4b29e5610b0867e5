/* drainer.c - epoll over idle sessions, one-shot: whoever reads a session has it alone. */
#include "drainer.h"

#include <errno.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <unistd.h>

#define EVENTS 64

enum vt_rc vt_drainer_init(struct vt_drainer *d)
{
    memset(d, 0, sizeof *d);
    d->pid = getpid();
    d->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
    d->stop_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    struct epoll_event event = {.events = EPOLLIN, .data.ptr = NULL};
    if (d->epoll_fd < 0 || d->stop_fd < 0
        || epoll_ctl(d->epoll_fd, EPOLL_CTL_ADD, d->stop_fd, &event) < 0) {
        close(d->epoll_fd);
        close(d->stop_fd);
        return VT_IO;
    }
    pthread_mutex_init(&d->mutex, NULL);
    return VT_OK;
}

void vt_drainer_fini(struct vt_drainer *d)
{
    /* In a fork's child the epoll set is still the parent's: only let go of it. */
    bool ours = d->pid == getpid();
    while (ours && d->sessions != NULL)
        vt_drainer_remove(d->sessions);
    close(d->epoll_fd);
    close(d->stop_fd);
    if (ours)
        pthread_mutex_destroy(&d->mutex);
}

static int control(struct vt_session *s, int op, bool watch)
{
    short want = 0;
    int fd = s->t->ops->want(s->t, false, &want);
    if (fd < 0)
        return -1;
    struct epoll_event event = {.data.ptr = s};
    if (watch)
        event.events = EPOLLONESHOT | EPOLLRDHUP | (want & POLLIN ? EPOLLIN : 0u)
                       | (want & POLLOUT ? EPOLLOUT : 0u);
    else
        event.events = EPOLLONESHOT;
    return epoll_ctl(s->drainer->epoll_fd, op, fd, &event);
}

enum vt_rc vt_drainer_add(struct vt_drainer *d, struct vt_session *s)
{
    pthread_mutex_lock(&d->mutex);
    s->drainer = d;
    enum vt_rc rc = control(s, EPOLL_CTL_ADD, false) < 0 ? VT_IO : VT_OK;
    if (rc == VT_OK) {
        s->prev = NULL;
        s->next = d->sessions;
        if (d->sessions != NULL)
            d->sessions->prev = s;
        d->sessions = s;
    } else {
        s->drainer = NULL;
    }
    pthread_mutex_unlock(&d->mutex);
    return rc;
}

void vt_drainer_remove(struct vt_session *s)
{
    struct vt_drainer *d = s->drainer;
    if (d == NULL)
        return;
    pthread_mutex_lock(&d->mutex);
    control(s, EPOLL_CTL_DEL, false);
    if (s->prev != NULL)
        s->prev->next = s->next;
    else
        d->sessions = s->next;
    if (s->next != NULL)
        s->next->prev = s->prev;
    s->drainer = NULL;
    pthread_mutex_unlock(&d->mutex);
}

void vt_drainer_arm(struct vt_session *s)
{
    if (s->drainer != NULL)
        s->armed = control(s, EPOLL_CTL_MOD, true) == 0;
}

void vt_drainer_disarm(struct vt_session *s)
{
    if (s->drainer != NULL && s->armed) {
        control(s, EPOLL_CTL_MOD, false);
        s->armed = false;
    }
}

/* Takes the session if nobody has it.  The list's lock keeps it from being freed
 * between the event and here. */
static bool take(struct vt_drainer *d, struct vt_session *wanted)
{
    bool got = false;
    pthread_mutex_lock(&d->mutex);
    for (struct vt_session *s = d->sessions; s != NULL; s = s->next) {
        if (s == wanted) {
            got = vt_session_try_enter(s);
            break;
        }
    }
    pthread_mutex_unlock(&d->mutex);
    return got;
}

static void drain(struct vt_drainer *d, struct vt_session *s, vt_drained_fn drained,
                  vt_left_fn left, void *ctx)
{
    struct vt_waiter w = {0};
    if (!take(d, s))
        return;                     /* its owner reads it, and arms it when it leaves */
    s->armed = false;
    for (int turn = 0; turn < 8; turn++)    /* what the library holds back raises no event */
        if (vt_session_fill(s, &w, vt_now(), NULL) != VT_OK)
            break;
    bool told = drained != NULL && s->wants_news;
    if (told)
        drained(ctx, s);
    vt_session_leave(s);
    if (told && left != NULL)
        left(ctx);
}

void vt_drainer_run(struct vt_drainer *d, vt_drained_fn drained, vt_left_fn left, void *ctx)
{
    struct epoll_event events[EVENTS];
    while (!d->stopping) {
        int n = epoll_wait(d->epoll_fd, events, EVENTS, -1);
        if (n < 0 && errno != EINTR)
            return;
        for (int i = 0; i < n && !d->stopping; i++)
            if (events[i].data.ptr != NULL)
                drain(d, events[i].data.ptr, drained, left, ctx);
    }
}

void vt_drainer_stop(struct vt_drainer *d)
{
    uint64_t one = 1;
    d->stopping = true;
    while (write(d->stop_fd, &one, sizeof one) < 0 && errno == EINTR)
        ;
}
