/* transport.h - what a session can be carried by: one table of operations.
 *
 * Opening differs (each header has its own vt_<name>_open, which blocks against a
 * deadline); afterwards callers never ask which transport it is.  None of the
 * operations blocks.  A transport has one owner at a time: its session's lock.
 */
#ifndef VT_TRANSPORT_H
#define VT_TRANSPORT_H

#include "base/err.h"
#include "base/io.h"

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

struct vt_transport;

struct vt_transport_ops {
    const char *name;               /* "ssh", "pty", "unix", "tcp", "telnet" */
    bool echo;                      /* the far end starts by echoing what is typed */
    bool crlf;                      /* its lines end with CR LF */

    /* Reads at most cap bytes.  VT_OK with *got > 0; VT_AGAIN when nothing is
     * pending (asked of the descriptor too); VT_EOF after the last byte. */
    enum vt_rc (*read)(struct vt_transport *t, void *data, size_t cap, size_t *got);

    /* Writes some of n bytes.  VT_OK with *put > 0, or VT_AGAIN. */
    enum vt_rc (*write)(struct vt_transport *t, const void *data, size_t n, size_t *put);

    /* The descriptor to poll, and for which events before the next read (and
     * write, if writing).  -1 when the transport has ended. */
    int (*want)(struct vt_transport *t, bool writing, short *events);

    /* When it must be asked again although nothing comes; VT_FOREVER: never.  NULL: never. */
    vt_time (*due)(struct vt_transport *t);

    /* After VT_EOF: whether the exit status is known.  *status is an exit code,
     * or minus the number of the signal that ended it. */
    bool (*status)(struct vt_transport *t, int *status);

    /* A local process: its id, and a signal for it and all its descendants.  Both are
     * NULL elsewhere.  kill may be called by any thread, whoever owns the transport. */
    pid_t (*pid)(struct vt_transport *t);
    enum vt_rc (*kill)(struct vt_transport *t, int sig);

    /* Tells the far end how large the terminal is.  VT_OK, or VT_AGAIN and to be called
     * again.  NULL where there is no way to tell. */
    enum vt_rc (*resize)(struct vt_transport *t, unsigned rows, unsigned columns);

    /* Told how far the output was read, whenever that has changed; elsewhere NULL. */
    void (*mark)(struct vt_transport *t, uint64_t read_at);

    /* Says goodbye without blocking and stops.  Idempotent. */
    void (*close)(struct vt_transport *t);

    /* Closes descriptors and frees.  silent: not a byte on the wire (after fork). */
    void (*fini)(struct vt_transport *t, bool silent);
};

struct vt_transport {
    const struct vt_transport_ops *ops;
    struct vt_err err;              /* detail of the last failed operation */
};

static inline vt_time vt_transport_due(struct vt_transport *t)
{
    return t->ops->due == NULL ? VT_FOREVER : t->ops->due(t);
}

#endif
