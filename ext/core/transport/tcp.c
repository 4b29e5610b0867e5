/* tcp.c - sessions over TCP, with Telnet as a filter between socket and session. */
#include "transport/tcp.h"

#include "buf.h"
#include "console/telnet.h"
#include "transport/connect.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define READ_SOME 16384
#define WRITE_SOME 8192
#define OUT_MAX (256 * 1024)        /* answers to a server that asks and never reads */

struct tcp {
    struct vt_transport base;
    int fd;
    bool ended;
    struct vt_telnet telnet;
    struct vt_buf text;             /* decoded, not yet read by the session */
    struct vt_buf out;              /* encoded, and answers, not yet sent */
};

static struct tcp *of(struct vt_transport *t)
{
    return (struct tcp *)t;
}

/* ---- the socket ---- */

static enum vt_rc receive(struct tcp *c, void *data, size_t cap, size_t *got)
{
    ssize_t n;
    do
        n = recv(c->fd, data, cap, MSG_DONTWAIT);
    while (n < 0 && errno == EINTR);
    if (n > 0) {
        *got = (size_t)n;
        return VT_OK;
    }
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
        return VT_AGAIN;
    c->ended = true;
    if (n == 0)
        return VT_EOF;
    vt_fail(&c->base.err, errno == ECONNRESET ? VT_EOF : VT_IO, VT_STAGE_NONE, errno, "%s", strerror(errno));
    return c->base.err.rc;
}

static enum vt_rc transmit(struct tcp *c, const void *data, size_t n, size_t *put)
{
    ssize_t some;
    do
        some = send(c->fd, data, n, MSG_DONTWAIT | MSG_NOSIGNAL);
    while (some < 0 && errno == EINTR);
    if (some >= 0) {
        *put = (size_t)some;
        return VT_OK;
    }
    if (errno == EAGAIN || errno == EWOULDBLOCK)
        return VT_AGAIN;
    if (errno == EPIPE || errno == ECONNRESET)
        return VT_EOF;
    return vt_fail(&c->base.err, VT_IO, VT_STAGE_NONE, errno, "%s", strerror(errno));
}

static int tcp_want(struct vt_transport *t, bool writing, short *events)
{
    *events = (short)(POLLIN | (writing || of(t)->out.len > 0 ? POLLOUT : 0));
    return of(t)->ended ? -1 : of(t)->fd;
}

/* The descriptor goes, too: a peer that sends on would wait for us as long as it is there. */
static void tcp_close(struct vt_transport *t)
{
    struct tcp *c = of(t);
    c->ended = true;
    if (c->fd >= 0) {
        shutdown(c->fd, SHUT_RDWR);
        close(c->fd);
        c->fd = -1;
    }
}

static void tcp_fini(struct vt_transport *t, bool silent)
{
    (void)silent;                   /* closing a copy of the descriptor says nothing */
    if (of(t)->fd >= 0)
        close(of(t)->fd);
    vt_buf_fini(&of(t)->text);
    vt_buf_fini(&of(t)->out);
    free(t);
}

/* ---- raw ---- */

static enum vt_rc raw_read(struct vt_transport *t, void *data, size_t cap, size_t *got)
{
    return receive(of(t), data, cap, got);
}

static enum vt_rc raw_write(struct vt_transport *t, const void *data, size_t n, size_t *put)
{
    return transmit(of(t), data, n, put);
}

static const struct vt_transport_ops raw_ops = {
    .name = "tcp", .echo = false, .crlf = true,
    .read = raw_read, .write = raw_write, .want = tcp_want, .close = tcp_close, .fini = tcp_fini,
};

/* ---- Telnet ---- */

static enum vt_rc flush(struct tcp *c)
{
    while (c->out.len > 0) {
        size_t put = 0;
        enum vt_rc rc = transmit(c, c->out.data, c->out.len, &put);
        if (rc != VT_OK)
            return rc;
        vt_buf_drop(&c->out, put);
    }
    return VT_OK;
}

/* What can't be sent yet is kept, and sent later. */
static enum vt_rc flush_some(struct tcp *c)
{
    enum vt_rc rc = flush(c);
    return rc == VT_AGAIN ? VT_OK : rc;
}

static enum vt_rc decode_some(struct tcp *c)
{
    char wire[READ_SOME];
    size_t n = 0;
    enum vt_rc rc = receive(c, wire, sizeof wire, &n);
    if (rc == VT_OK)
        rc = vt_telnet_decode(&c->telnet, wire, n, &c->text, &c->out);
    if (rc == VT_TOOBIG)
        rc = vt_fail(&c->base.err, VT_PROTO, VT_STAGE_NONE, 0, "the Telnet server asks without end");
    if (rc != VT_OK)
        return rc;
    return flush_some(c);
}

static enum vt_rc telnet_read(struct vt_transport *t, void *data, size_t cap, size_t *got)
{
    struct tcp *c = of(t);
    enum vt_rc rc = flush(c);
    while (c->text.len == 0 && (rc == VT_OK || rc == VT_AGAIN))
        if ((rc = decode_some(c)) == VT_AGAIN)
            return rc;
    if (c->text.len == 0)
        return rc;
    *got = c->text.len < cap ? c->text.len : cap;
    memcpy(data, c->text.data, *got);
    vt_buf_drop(&c->text, *got);
    return VT_OK;
}

static enum vt_rc telnet_write(struct vt_transport *t, const void *data, size_t n, size_t *put)
{
    struct tcp *c = of(t);
    enum vt_rc rc = flush(c);
    if (rc != VT_OK)
        return rc;
    size_t some = n < WRITE_SOME ? n : WRITE_SOME;
    if (some < n && ((const char *)data)[some - 1] == '\r')
        some--;                     /* what follows a CR decides how it is sent */
    if ((rc = vt_telnet_encode(data, some, &c->out)) != VT_OK)
        return rc;
    *put = some;
    return flush_some(c);
}

static enum vt_rc telnet_resize(struct vt_transport *t, unsigned rows, unsigned columns)
{
    struct tcp *c = of(t);
    enum vt_rc rc = flush(c);
    if (rc == VT_OK)
        rc = vt_telnet_resize(&c->telnet, (uint16_t)rows, (uint16_t)columns, &c->out);
    if (rc != VT_OK)
        return rc;
    return flush_some(c);
}

static const struct vt_transport_ops telnet_ops = {
    .name = "telnet", .echo = true, .crlf = true,
    .read = telnet_read, .write = telnet_write, .want = tcp_want, .resize = telnet_resize,
    .close = tcp_close, .fini = tcp_fini,
};

enum vt_rc vt_tcp_open(const char *host, int port, bool telnet, struct vt_waiter *w, vt_time deadline,
                       struct vt_transport **out, struct vt_err *e)
{
    struct vt_connected to = {.fd = -1};
    enum vt_rc rc = vt_connect(host, port, w, deadline, &to, e);
    if (rc != VT_OK)
        return rc;
    struct tcp *c = calloc(1, sizeof *c);
    if (c == NULL) {
        close(to.fd);
        return vt_fail(e, VT_NOMEM, VT_STAGE_CONNECT, 0, NULL);
    }
    c->base.ops = telnet ? &telnet_ops : &raw_ops;
    c->fd = to.fd;
    vt_buf_init(&c->text, 2 * READ_SOME);
    vt_buf_init(&c->out, OUT_MAX);
    *out = &c->base;
    return VT_OK;
}
