/* tcp.c - sessions over TCP: raw, or with Telnet as a filter between socket and session. */
#include "transport/tcp.h"

#include "base/buf.h"
#include "transport/connect.h"
#include "transport/socket.h"
#include "transport/telnet.h"

#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define READ_SOME 16384
#define TURNS 16                        /* of reading what is no text */
#define WRITE_SOME 8192
#define OUT_MAX (256 * 1024)        /* answers to a server that asks and never reads */

static const struct vt_transport_ops raw_ops = {
    .name = "tcp", .echo = false, .crlf = true,
    .read = vt_socket_read, .write = vt_socket_write, .want = vt_socket_want,
    .close = vt_socket_close, .fini = vt_socket_fini,
};

/* ---- Telnet ---- */

struct telnet {
    struct vt_socket socket;
    struct vt_telnet protocol;
    struct vt_buf text;             /* decoded, not yet read by the session */
    struct vt_buf out;              /* encoded, and answers, not yet sent */
};

static struct telnet *of(struct vt_transport *t)
{
    return (struct telnet *)t;
}

static enum vt_rc flush(struct telnet *c)
{
    while (c->out.len > 0) {
        size_t put = 0;
        enum vt_rc rc = vt_socket_write(&c->socket.base, c->out.data, c->out.len, &put);
        if (rc != VT_OK)
            return rc;
        vt_buf_drop(&c->out, put);
    }
    return VT_OK;
}

/* What can't be sent yet is kept, and sent later. */
static enum vt_rc flush_some(struct telnet *c)
{
    enum vt_rc rc = flush(c);
    return rc == VT_AGAIN ? VT_OK : rc;
}

static enum vt_rc decode_some(struct telnet *c)
{
    char wire[READ_SOME];
    size_t n = 0;
    enum vt_rc rc = vt_socket_read(&c->socket.base, wire, sizeof wire, &n);
    if (rc == VT_OK)
        rc = vt_telnet_decode(&c->protocol, wire, n, &c->text, &c->out);
    if (rc == VT_TOOBIG)
        rc = vt_fail(&c->socket.base.err, VT_PROTO, VT_STAGE_NONE, 0, "the Telnet server asks without end");
    if (rc != VT_OK)
        return rc;
    return flush_some(c);
}

static enum vt_rc telnet_read(struct vt_transport *t, void *data, size_t cap, size_t *got)
{
    struct telnet *c = of(t);
    enum vt_rc rc = flush(c);
    /* What brings no text for so long is the caller's to wait for: it has a deadline. */
    for (int turn = 0; c->text.len == 0 && turn < TURNS && (rc == VT_OK || rc == VT_AGAIN); turn++)
        if ((rc = decode_some(c)) == VT_AGAIN)
            return rc;
    if (c->text.len == 0)
        return rc == VT_OK ? VT_AGAIN : rc;
    *got = c->text.len < cap ? c->text.len : cap;
    memcpy(data, c->text.data, *got);
    vt_buf_drop(&c->text, *got);
    return VT_OK;
}

static enum vt_rc telnet_write(struct vt_transport *t, const void *data, size_t n, size_t *put)
{
    struct telnet *c = of(t);
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
    struct telnet *c = of(t);
    enum vt_rc rc = flush(c);
    if (rc == VT_OK)
        rc = vt_telnet_resize(&c->protocol, (uint16_t)rows, (uint16_t)columns, &c->out);
    if (rc != VT_OK)
        return rc;
    return flush_some(c);
}

static int telnet_want(struct vt_transport *t, bool writing, short *events)
{
    return vt_socket_want(t, writing || of(t)->out.len > 0, events);
}

static void telnet_fini(struct vt_transport *t, bool silent)
{
    vt_buf_fini(&of(t)->text);
    vt_buf_fini(&of(t)->out);
    vt_socket_fini(t, silent);
}

static const struct vt_transport_ops telnet_ops = {
    .name = "telnet", .echo = true, .crlf = true,
    .read = telnet_read, .write = telnet_write, .want = telnet_want,
    .resize = telnet_resize, .close = vt_socket_close, .fini = telnet_fini,
};

/* ---- opening ---- */

static struct vt_transport *raw_new(int fd)
{
    struct vt_socket *s = calloc(1, sizeof *s);
    if (s == NULL)
        return NULL;
    s->base.ops = &raw_ops;
    s->fd = fd;
    return &s->base;
}

static struct vt_transport *telnet_new(int fd)
{
    struct telnet *c = calloc(1, sizeof *c);
    if (c == NULL)
        return NULL;
    c->socket.base.ops = &telnet_ops;
    c->socket.fd = fd;
    /* The mark of a Synch (RFC 854) is a byte of the stream, wherever TCP says it stands. */
    int one = 1;
    setsockopt(fd, SOL_SOCKET, SO_OOBINLINE, &one, sizeof one);
    vt_buf_init(&c->text, 2 * READ_SOME);
    vt_buf_init(&c->out, OUT_MAX);
    return &c->socket.base;
}

enum vt_rc vt_tcp_open(const char *host, int port, bool telnet, struct vt_waiter *w, vt_time deadline,
                       struct vt_transport **out, struct vt_err *e)
{
    struct vt_connected to = {.fd = -1};
    enum vt_rc rc = vt_connect(host, port, w, deadline, &to, e);
    if (rc != VT_OK)
        return rc;
    *out = telnet ? telnet_new(to.fd) : raw_new(to.fd);
    if (*out != NULL)
        return VT_OK;
    close(to.fd);
    return vt_fail(e, VT_NOMEM, VT_STAGE_CONNECT, 0, NULL);
}
