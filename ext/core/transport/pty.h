/* pty.h - a local process on a pseudo-terminal: no echo, no output processing, terminal
 * "dumb", size 0x0, signals at their defaults. */
#ifndef VT_PTY_H
#define VT_PTY_H

#include "transport/transport.h"

#include <sys/types.h>

#define VT_PTY_PASS_MAX 200         /* descriptors, if they get other numbers */

struct vt_pty_options {
    const char *const *argv;        /* argv[0] is a path */
    const char *const *envp;        /* whole environment; TERM is the caller's to set */
    const char *cwd;                /* NULL: inherited */
    const int *pass_fds;            /* descriptors that the process gets */
    const int *pass_as;             /* the numbers that they get there; NULL: the same */
    int pass_count;
    void (*prepare)(const void *ctx);   /* run in the process before exec: async-signal-safe */
    const void *prepare_ctx;
    bool echo;
};

/* Starts the process.  VT_IO with e->sys when it can't be started (exec's own errno
 * included); VT_TIMEOUT, VT_INTR: it is ended again. */
enum vt_rc vt_pty_open(const struct vt_pty_options *o, struct vt_waiter *w, vt_time deadline,
                       struct vt_transport **out, struct vt_err *e) VT_MUST_CHECK;

#endif
