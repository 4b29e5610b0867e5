/* socket.c - sessions over stream sockets: moving bytes, and opening a unix socket. */
#include "transport/socket.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

static struct vt_socket *of(struct vt_transport *t)
{
    return (struct vt_socket *)t;
}

enum vt_rc vt_socket_read(struct vt_transport *t, void *data, size_t cap, size_t *got)
{
    ssize_t n;
    do
        n = recv(of(t)->fd, data, cap, MSG_DONTWAIT);
    while (n < 0 && errno == EINTR);
    if (n > 0) {
        *got = (size_t)n;
        return VT_OK;
    }
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
        return VT_AGAIN;
    of(t)->ended = true;
    if (n == 0)
        return VT_EOF;
    return vt_fail(&t->err, errno == ECONNRESET ? VT_EOF : VT_IO, VT_STAGE_NONE, errno, "%s", strerror(errno));
}

enum vt_rc vt_socket_write(struct vt_transport *t, const void *data, size_t n, size_t *put)
{
    ssize_t some;
    do
        some = send(of(t)->fd, data, n, MSG_DONTWAIT | MSG_NOSIGNAL);
    while (some < 0 && errno == EINTR);
    if (some >= 0) {
        *put = (size_t)some;
        return VT_OK;
    }
    if (errno == EAGAIN || errno == EWOULDBLOCK)
        return VT_AGAIN;
    if (errno == EPIPE || errno == ECONNRESET)
        return VT_EOF;
    return vt_fail(&t->err, VT_IO, VT_STAGE_NONE, errno, "%s", strerror(errno));
}

int vt_socket_want(struct vt_transport *t, bool writing, short *events)
{
    *events = (short)(POLLIN | (writing ? POLLOUT : 0));
    return of(t)->ended ? -1 : of(t)->fd;
}

/* The descriptor goes, too: a peer that sends on would wait for us as long as it is there. */
void vt_socket_close(struct vt_transport *t)
{
    struct vt_socket *s = of(t);
    s->ended = true;
    if (s->fd >= 0) {
        shutdown(s->fd, SHUT_RDWR);
        close(s->fd);
        s->fd = -1;
    }
}

void vt_socket_fini(struct vt_transport *t, bool silent)
{
    (void)silent;                   /* closing a copy of the descriptor says nothing */
    if (of(t)->fd >= 0)
        close(of(t)->fd);
    free(t);
}

/* A serial line: the guest's tty echoes and ends its lines with CR LF. */
static const struct vt_transport_ops unix_ops = {
    .name = "unix", .echo = true, .crlf = true,
    .read = vt_socket_read, .write = vt_socket_write, .want = vt_socket_want,
    .close = vt_socket_close, .fini = vt_socket_fini,
};

static enum vt_rc connect_unix(int fd, const struct sockaddr_un *addr, struct vt_waiter *w, vt_time deadline)
{
    while (connect(fd, (const struct sockaddr *)addr, sizeof *addr) < 0) {
        if (errno == EINTR)
            continue;
        if (errno != EAGAIN)
            return VT_CONNECT;
        /* The listener's queue is full, and nothing tells when it has room again. */
        enum vt_rc rc = vt_sleep(w, vt_sooner(deadline, 20 * VT_MS));
        if (rc != VT_TIMEOUT)
            return rc;
        if (vt_expired(deadline))
            return VT_TIMEOUT;
    }
    return VT_OK;
}

enum vt_rc vt_unix_open(const char *path, struct vt_waiter *w, vt_time deadline,
                        struct vt_transport **out, struct vt_err *e)
{
    struct sockaddr_un addr = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof addr.sun_path)
        return vt_fail(e, VT_INVALID, VT_STAGE_CONNECT, 0, "socket path is too long: %s", path);
    strcpy(addr.sun_path, path);
    struct vt_socket *s = calloc(1, sizeof *s);
    if (s == NULL)
        return vt_fail(e, VT_NOMEM, VT_STAGE_CONNECT, 0, NULL);
    s->base.ops = &unix_ops;
    s->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    enum vt_rc rc = s->fd < 0 ? VT_IO : connect_unix(s->fd, &addr, w, deadline);
    if (rc != VT_OK) {
        int sys = errno;
        vt_socket_fini(&s->base, false);
        return vt_fail(e, rc, VT_STAGE_CONNECT, rc == VT_CONNECT || rc == VT_IO ? sys : 0, "%s: %s", path,
                       rc == VT_CONNECT || rc == VT_IO ? strerror(sys) : vt_rc_text(rc));
    }
    *out = &s->base;
    return VT_OK;
}
