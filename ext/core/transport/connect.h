/* connect.h - from a host name to a connected socket, and to one on which an SSH server has
 * spoken.  Who waits for a guest that boots connects by boot.h. */
#ifndef VT_CONNECT_H
#define VT_CONNECT_H

#include "base/buf.h"
#include "base/io.h"

#include <stdbool.h>
#include <sys/socket.h>

struct vt_connected {
    int fd;                 /* non-blocking, close-on-exec, TCP_NODELAY */
    int tries;              /* connections opened, also on failure */
    char address[64];       /* numeric */
    struct vt_buf head;     /* vt_connect_ssh: what was received so far; the caller's */
    size_t greeted;         /* vt_connect_ssh: bytes of the greeting that the peer was sent: all, as a rule */
};

/* Connects to the first address of host that accepts.  host: name, IPv4 or IPv6 address
 * (with a scope, brackets allowed).  VT_RESOLVE, VT_CONNECT (e->sys), VT_TIMEOUT, VT_INTR,
 * VT_CLOSED, VT_INVALID. */
enum vt_rc vt_connect(const char *host, int port, struct vt_waiter *w, vt_time deadline,
                      struct vt_connected *out, struct vt_err *e) VT_MUST_CHECK;

/* Connects, sends the greeting and receives until the peer's SSH version string has begun:
 * neither side need wait for the other's (RFC 4253, 4.2).  A host that refuses or can't be
 * reached, or a peer that hangs up, ends it at once.
 * VT_BANNER: the peer said something else (e->text shows it), or hung up; VT_TIMEOUT with
 * stage connect or banner; else as vt_connect. */
enum vt_rc vt_connect_ssh(const char *host, int port, const char *greeting, struct vt_waiter *w, vt_time deadline,
                          struct vt_connected *out, struct vt_err *e) VT_MUST_CHECK;

/* For boot_try.c: begins a connection; -1 and errno. */
int vt_connect_start(const struct sockaddr *to, socklen_t len) VT_MUST_CHECK;
/* Whether a version string has begun in what a peer said. */
bool vt_has_version(const struct vt_buf *b);

#endif
