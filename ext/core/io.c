/* io.c - one poll step, interruptible, against a deadline. */
#include "io.h"

#include <errno.h>
#include <fcntl.h>

#define MAX_FDS 16

/* Milliseconds for the next poll: to the deadline, but at most a slice. */
static int next_ms(const struct vt_waiter *w, vt_time deadline)
{
    int ms = vt_poll_ms(deadline);
    if (w->interrupted != NULL && w->slice_ms > 0 && (ms < 0 || ms > w->slice_ms))
        ms = w->slice_ms;
    return ms;
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
            return VT_OK;
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
