/* io.c - one poll step, interruptible, against a deadline. */
#include "base/io.h"

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>

#define MAX_FDS 32
#define CHECK_EVERY (50 * VT_MS)

/* Milliseconds for the next poll: to the deadline, but at most a slice. */
static int next_ms(const struct vt_waiter *w, vt_time deadline)
{
    int ms = vt_poll_ms(deadline);
    if (w->interrupted != NULL && w->slice_ms > 0 && (ms < 0 || ms > w->slice_ms))
        ms = w->slice_ms;
    return ms;
}

static bool is_woken(const struct vt_waiter *w)
{
    struct pollfd fd = {.fd = w->wake_fd, .events = POLLIN};
    return w->has_wake && poll(&fd, 1, 0) > 0;
}

/* The waiter's own events, if it is time to look. */
static enum vt_rc look_up(struct vt_waiter *w, vt_time now)
{
    vt_time every = w->slice_ms > 0 ? w->slice_ms * VT_MS : CHECK_EVERY;
    if (w->checked_at == 0)
        w->checked_at = now;
    if (now - w->checked_at < every)
        return VT_OK;
    w->checked_at = now;
    if (is_woken(w))
        return VT_CLOSED;
    return w->interrupted != NULL && w->interrupted(w->ctx) ? VT_INTR : VT_OK;
}

enum vt_rc vt_wait_check(struct vt_waiter *w, vt_time deadline)
{
    vt_time now = vt_now();
    enum vt_rc rc = look_up(w, now);
    return rc == VT_OK && now >= deadline ? VT_TIMEOUT : rc;
}

enum vt_rc vt_wait(struct vt_waiter *w, struct pollfd *fds, int n, vt_time deadline)
{
    struct pollfd all[MAX_FDS + 1];
    if (n < 0 || n > MAX_FDS)
        return VT_INVALID;
    for (int i = 0; i < n; i++)         /* no memcpy: fds may be NULL when n is 0 */
        all[i] = fds[i];
    int wake = w->has_wake;
    if (wake)
        all[n] = (struct pollfd){.fd = w->wake_fd, .events = POLLIN};
    for (;;) {
        int got = poll(all, (nfds_t)(n + wake), next_ms(w, deadline));
        if (got < 0 && errno != EINTR)
            return VT_IO;
        if (got > 0) {
            if (wake && all[n].revents != 0)
                return VT_CLOSED;
            for (int i = 0; i < n; i++)
                fds[i].revents = all[i].revents;
            return look_up(w, vt_now());
        }
        if (w->interrupted != NULL && w->interrupted(w->ctx))
            return VT_INTR;
        if (vt_expired(deadline))
            return VT_TIMEOUT;
    }
}

enum vt_rc vt_sleep(struct vt_waiter *w, vt_time deadline)
{
    return vt_wait(w, NULL, 0, deadline);
}

enum vt_rc vt_fd_setup(int fd)
{
    int flags = fcntl(fd, F_GETFL);
    if (flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0)
        return VT_IO;
    flags = fcntl(fd, F_GETFD);
    return flags < 0 || fcntl(fd, F_SETFD, flags | FD_CLOEXEC) < 0 ? VT_IO : VT_OK;
}
