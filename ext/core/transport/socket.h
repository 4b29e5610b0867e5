/* socket.h - a session over a connected stream socket: a guest's serial or virtio console
 * that QEMU serves on a unix socket, and what TCP and Telnet (tcp.h) are made of. */
#ifndef VT_SOCKET_H
#define VT_SOCKET_H

#include "transport/transport.h"

struct vt_socket {
    struct vt_transport base;       /* first */
    int fd;                         /* -1: closed */
    bool ended;
};

/* Operations of a transport that begins with a struct vt_socket; fini frees it. */
enum vt_rc vt_socket_read(struct vt_transport *t, void *data, size_t cap, size_t *got) VT_MUST_CHECK;
enum vt_rc vt_socket_write(struct vt_transport *t, const void *data, size_t n, size_t *put) VT_MUST_CHECK;
int vt_socket_want(struct vt_transport *t, bool writing, short *events);
void vt_socket_close(struct vt_transport *t);
void vt_socket_fini(struct vt_transport *t, bool silent);

/* Connects to a unix socket.  VT_CONNECT with e->sys (ENOENT, ECONNREFUSED...),
 * VT_INVALID for a path that is too long, VT_TIMEOUT, VT_INTR. */
enum vt_rc vt_unix_open(const char *path, struct vt_waiter *w, vt_time deadline,
                        struct vt_transport **out, struct vt_err *e) VT_MUST_CHECK;

#endif
