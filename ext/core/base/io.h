/* io.h - waiting: the one place where a thread of the engine blocks.
 *
 * A loop that can go on without waiting, because a peer sends faster than it reads, asks
 * vt_wait_check whenever it does: no flood keeps a call from its deadline or from a signal.
 */
#ifndef VT_IO_H
#define VT_IO_H

#include "base/clock.h"
#include "base/err.h"

#include <poll.h>

/* Who waits.  A zeroed waiter waits undisturbed. */
struct vt_waiter {
    /* Called without any lock of ours whenever a signal ended a poll, and at
     * least every slice_ms while waiting (a signal may have come just before the
     * poll).  Nonzero stops the wait with VT_INTR.  May be NULL. */
    int (*interrupted)(void *ctx);
    void *ctx;
    int slice_ms;           /* 0: no slices */
    vt_time checked_at;     /* when it was called last, or the first check; 0: never */
    /* Told, with ctx, after output of a session arrived that wants it told.  Nonzero ends
     * what waits with VT_INTR.  May be NULL. */
    int (*news)(void *ctx);
    /* A descriptor that becomes readable when the wait must end with VT_CLOSED
     * (another thread closes the session).  It is not read here.  -1 or, in a
     * waiter without one, has_wake 0: none. */
    int wake_fd;
    int has_wake;
};

/* Waits until one of the n descriptors has an event: VT_OK (revents are set),
 * VT_TIMEOUT at the deadline, VT_INTR, VT_CLOSED, or VT_IO.  n <= 32.  An event
 * that is there already wins over an expired deadline. */
enum vt_rc vt_wait(struct vt_waiter *w, struct pollfd *fds, int n, vt_time deadline) VT_MUST_CHECK;

/* For a loop that has just made progress: VT_OK to go on, VT_TIMEOUT, VT_INTR, VT_CLOSED.
 * Cheap: signals and the wake descriptor are looked at every slice_ms or 50 ms. */
enum vt_rc vt_wait_check(struct vt_waiter *w, vt_time deadline) VT_MUST_CHECK;

/* Sleeps until the deadline, as interruptibly as vt_wait: VT_TIMEOUT when it came. */
enum vt_rc vt_sleep(struct vt_waiter *w, vt_time deadline) VT_MUST_CHECK;

/* Sets O_NONBLOCK and FD_CLOEXEC.  VT_IO with errno kept. */
enum vt_rc vt_fd_setup(int fd) VT_MUST_CHECK;

#endif
