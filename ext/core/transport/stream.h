/* stream.h - a session over a connected stream socket: a guest's serial or virtio
 * console that QEMU serves on a unix socket. */
#ifndef VT_STREAM_H
#define VT_STREAM_H

#include "transport/transport.h"

/* Connects to a unix socket.  VT_CONNECT with e->sys (ENOENT, ECONNREFUSED...),
 * VT_INVALID for a path that is too long, VT_TIMEOUT, VT_INTR. */
enum vt_rc vt_unix_open(const char *path, struct vt_waiter *w, vt_time deadline,
                        struct vt_transport **out, struct vt_err *e) VT_MUST_CHECK;

#endif
