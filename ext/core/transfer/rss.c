/* rss.c - a connection to the remote shell server of a Windows guest.
 *
 * The server says nothing while it is written to, unless something is wrong: then it says
 * what, and closes, without reading on.  Its words would be lost to whoever writes into the
 * closed socket, so before each write it is looked whether something can be read, and after
 * a failed one what is there still is.
 */
#include "transfer/rss.h"

#include "transfer/rss_private.h"
#include "transport/connect.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#define OUT_MAX (4 * (4 + (size_t)VT_RSS_CHUNK))
#define TEXT_MAX (32 * 1024u)       /* of a path that is sent */
#define LOOK_UP (20 * VT_MS)
#define TELL_EVERY (100 * VT_MS)
#define LAST_WORDS (2 * VT_SEC)     /* to read why the server hung up */

/* ---- failing ---- */

enum vt_rc vt_rss_fail(struct vt_rss *c, enum vt_rc rc, int sys, const char *format, ...)
{
    if (c->rc != VT_OK)
        return c->rc;
    char text[sizeof c->e->text];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (rc != VT_INTR && __atomic_load_n(&c->stopped, __ATOMIC_RELAXED))
        return c->rc = vt_fail(c->e, VT_CLOSED, VT_STAGE_TRANSFER, 0, "closed by another thread");
    return c->rc = vt_fail(c->e, rc, VT_STAGE_TRANSFER, sys, "%s", text);
}

static void set_path(struct vt_rss_result *r, const char *path)
{
    size_t n = strlen(path), most = sizeof r->path - 1;
    snprintf(r->path, sizeof r->path, "%s", n > most ? path + n - most : path);
}

enum vt_rc vt_rss_fail_at(struct vt_rss *c, int sys, const char *path)
{
    if (c->rc == VT_OK) {
        c->doing = VT_RSS_AT_FILES;
        set_path(c->r, path);
    }
    return vt_rss_fail(c, VT_IO, sys, "%s", sys == EMEDIUMTYPE ? "no regular file" : strerror(sys));
}

enum vt_rc vt_rss_unexpected(struct vt_rss *c)
{
    c->doing = VT_RSS_RECEIVING;
    return vt_rss_fail(c, VT_PROTO, 0, "the server sent %s",
                       c->parser.why != NULL ? c->parser.why : "a message that has no place here");
}

static enum vt_rc lost(struct vt_rss *c, int sys)
{
    return vt_rss_fail(c, sys == 0 ? VT_EOF : VT_IO, sys, "%s",
                       sys == 0 ? "the server closed the connection" : strerror(sys));
}

/* ---- waiting ---- */

static vt_time next_end(const struct vt_rss *c, bool *is_stall)
{
    vt_time end = c->stall == VT_FOREVER ? VT_FOREVER : c->moved_at + c->stall;
    *is_stall = end < c->deadline;
    return *is_stall ? end : c->deadline;
}

static void wait_for(struct vt_rss *c, short events)
{
    bool is_stall;
    struct pollfd fd = {.fd = c->fd, .events = events};
    vt_time end = next_end(c, &is_stall);
    enum vt_rc rc = vt_wait(c->w, &fd, 1, end);
    if (rc == VT_TIMEOUT && is_stall)
        vt_rss_fail(c, rc, 0, "no byte moved for %.1f s", (double)c->stall / VT_SEC);
    else if (rc != VT_OK)
        vt_rss_fail(c, rc, errno, "%s", vt_rc_text(rc));
}

void vt_rss_look_up(struct vt_rss *c)
{
    vt_time now = vt_now();
    c->moved_at = now;
    if (now - c->looked_up_at < LOOK_UP)
        return;
    c->looked_up_at = now;
    enum vt_rc rc = vt_sleep(c->w, now);
    if (rc != VT_TIMEOUT || vt_expired(c->deadline))
        vt_rss_fail(c, rc, 0, "%s", vt_rc_text(rc));
}

/* ---- receiving ---- */

/* The server sends a packet's length and its bytes apart, and its Nagle algorithm keeps
 * the second back until the first is acknowledged: at once, then, not after 40 ms. */
static void acknowledge(struct vt_rss *c)
{
    int one = 1;
    setsockopt(c->fd, IPPROTO_TCP, TCP_QUICKACK, &one, sizeof one);
}

/* Receives what is there.  VT_AGAIN: nothing is. */
static enum vt_rc receive(struct vt_rss *c)
{
    ssize_t n;
    do
        n = recv(c->fd, c->in, sizeof c->in, MSG_DONTWAIT);
    while (n < 0 && errno == EINTR);
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
        return VT_AGAIN;
    if (n <= 0)
        return lost(c, n == 0 ? 0 : errno);
    c->in_p = c->in;
    c->in_n = (size_t)n;
    vt_rss_look_up(c);
    return c->rc;
}

static enum vt_rss_event said_error(struct vt_rss *c)
{
    char shown[200];
    c->doing = VT_RSS_RECEIVING;
    vt_show(c->parser.text, c->parser.text_len, shown, sizeof shown);
    vt_rss_fail(c, VT_REMOTE, 0, "%s", shown);
    return VT_RSS_GOT_BAD;
}

enum vt_rss_event vt_rss_next(struct vt_rss *c)
{
    while (c->rc == VT_OK) {
        enum vt_rss_event event = vt_rss_parse(&c->parser, &c->in_p, &c->in_n);
        if (event == VT_RSS_GOT_ERROR)
            return said_error(c);
        if (event == VT_RSS_GOT_BAD)
            vt_rss_unexpected(c);
        if (event != VT_RSS_GOT_NOTHING)
            return event;
        c->doing = VT_RSS_RECEIVING;
        if (receive(c) == VT_AGAIN) {
            acknowledge(c);
            wait_for(c, POLLIN);
        }
    }
    return VT_RSS_GOT_BAD;
}

/* ---- sending ---- */

/* The connection is lost: the server's words about it are better than the loss. */
static enum vt_rc last_words(struct vt_rss *c, int sys)
{
    vt_time deadline = c->deadline;
    c->deadline = vt_sooner(deadline, LAST_WORDS);
    struct vt_err *e = c->e, unwanted = {0};
    c->e = &unwanted;
    (void)vt_rss_next(c);           /* one event: anything but an error is of no use now */
    c->e = e;
    c->deadline = deadline;
    if (c->rc == VT_REMOTE || c->rc == VT_INTR || c->rc == VT_CLOSED) {
        if (e != NULL)
            *e = unwanted;
        return c->rc;
    }
    c->rc = VT_OK;
    c->doing = VT_RSS_SENDING;
    return lost(c, sys);
}

/* The server may say something only when all is sent, unless it is an error. */
static enum vt_rc listen_to(struct vt_rss *c)
{
    enum vt_rc rc = c->in_n > 0 ? VT_OK : receive(c);
    if (rc == VT_AGAIN)
        return VT_OK;
    if (rc != VT_OK)
        return rc;                  /* lost while sending */
    if (vt_rss_next(c) != VT_RSS_GOT_BAD)
        vt_rss_unexpected(c);
    return c->rc;
}

static enum vt_rc send_some(struct vt_rss *c)
{
    ssize_t n = send(c->fd, c->out.data + c->out_at, c->out.len - c->out_at, MSG_DONTWAIT | MSG_NOSIGNAL);
    if (n >= 0) {
        c->out_at += (size_t)n;
        vt_rss_look_up(c);
    } else if (errno == EAGAIN || errno == EWOULDBLOCK) {
        wait_for(c, POLLIN | POLLOUT);
    } else if (errno != EINTR) {
        return last_words(c, errno);
    }
    return c->rc;
}

enum vt_rc vt_rss_flush(struct vt_rss *c)
{
    if (c->rc == VT_OK)
        c->doing = VT_RSS_SENDING;
    while (c->rc == VT_OK && c->out_at < c->out.len)
        if (listen_to(c) == VT_OK)
            (void)send_some(c);
    c->out_at = 0;
    vt_buf_clear(&c->out);
    return c->rc;
}

/* Whether n more bytes can be queued. */
static bool has_room(struct vt_rss *c, size_t n)
{
    if (c->rc == VT_OK && n > OUT_MAX - c->out.len)
        (void)vt_rss_flush(c);
    if (c->rc == VT_OK && vt_buf_reserve(&c->out, n) != VT_OK)
        vt_rss_fail(c, VT_NOMEM, 0, "%s", vt_rc_text(VT_NOMEM));
    return c->rc == VT_OK;
}

char *vt_rss_room(struct vt_rss *c)
{
    return has_room(c, 4 + VT_RSS_CHUNK) ? c->out.data + c->out.len + 4 : NULL;
}

void vt_rss_filled(struct vt_rss *c, size_t n)
{
    vt_rss_put_word((unsigned char *)c->out.data + c->out.len, (uint32_t)n);
    c->out.len += 4 + n;
    c->sent += 4 + n;
    if (n == VT_RSS_CHUNK)          /* while the processor's cache has it */
        (void)vt_rss_flush(c);
}

void vt_rss_msg(struct vt_rss *c, uint32_t msg)
{
    if (has_room(c, 4))
        (void)!vt_rss_add_msg(&c->out, msg);
}

void vt_rss_text(struct vt_rss *c, const char *text)
{
    size_t n = strlen(text);
    if (n > TEXT_MAX)
        vt_rss_fail(c, VT_INVALID, 0, "a path of %zu bytes is too long", n);
    if (!has_room(c, 4 + n))
        return;
    (void)!vt_rss_add_packet(&c->out, text, (uint32_t)n);
    c->sent += 4 + n;
}

/* ---- telling ---- */

void vt_rss_tell_file(struct vt_rss *c, const char *path)
{
    set_path(c->r, path);
    if (c->rc == VT_OK && c->o->file != NULL && c->o->file(c->o->ctx, path) != 0)
        vt_rss_fail(c, VT_INTR, 0, "stopped");
}

void vt_rss_tell_moved(struct vt_rss *c)
{
    vt_time now = vt_now();
    if (c->rc != VT_OK || c->o->moved == NULL || now - c->told_at < TELL_EVERY)
        return;
    c->told_at = now;
    if (c->o->moved(c->o->ctx, vt_rss_counted(c), c->r->bytes) != 0)
        vt_rss_fail(c, VT_INTR, 0, "stopped");
}

/* ---- the connection ---- */

void vt_rss_begin(struct vt_rss *c, const struct vt_rss_options *o, struct vt_waiter *w, vt_time deadline,
                  struct vt_rss_result *r, struct vt_err *e)
{
    memset(r, 0, sizeof *r);
    c->o = o;
    c->r = r;
    c->w = w;
    c->e = e;
    c->deadline = deadline;
    c->stall = o->stall > 0 ? (vt_time)(o->stall * 1e9) : VT_FOREVER;
    c->moved_at = c->looked_up_at = c->told_at = vt_now();
    c->rc = VT_OK;
}

/* The server greets; the client answers with the chunk size and what it wants. */
static enum vt_rc greet(struct vt_rss *c, enum vt_rss_mode mode)
{
    if (vt_rss_next(c) != VT_RSS_GOT_MAGIC) {
        if (c->rc == VT_PROTO || c->rc == VT_TIMEOUT)
            c->doing = VT_RSS_GREETING;
        return c->rc;
    }
    vt_rss_msg(c, VT_RSS_CHUNK);
    if (mode != VT_RSS_MODE_NONE)
        vt_rss_msg(c, mode == VT_RSS_MODE_PUT ? VT_RSS_UPLOAD : VT_RSS_DOWNLOAD);
    return vt_rss_flush(c);
}

enum vt_rc vt_rss_open(const char *host, int port, enum vt_rss_mode mode, struct vt_waiter *w,
                       vt_time deadline, struct vt_rss **out, enum vt_rss_doing *doing, struct vt_err *e)
{
    struct vt_connected to = {.fd = -1};
    struct vt_rss_result r;
    static const struct vt_rss_options none;
    *doing = VT_RSS_CONNECTING;
    enum vt_rc rc = vt_connect(host, port, w, deadline, &to, e);
    if (rc != VT_OK)
        return rc;
    struct vt_rss *c = calloc(1, sizeof *c);
    if (c == NULL) {
        close(to.fd);
        return vt_fail(e, VT_NOMEM, VT_STAGE_CONNECT, 0, NULL);
    }
    c->fd = to.fd;
    vt_buf_init(&c->out, OUT_MAX);
    vt_rss_begin(c, &none, w, deadline, &r, e);
    rc = greet(c, mode);
    *doing = c->doing;
    if (rc == VT_OK)
        *out = c;
    else
        vt_rss_free(c);
    return rc;
}

enum vt_rss_doing vt_rss_doing_of(const struct vt_rss *c)
{
    return c->doing;
}

const char *vt_rss_said(const struct vt_rss *c, size_t *n)
{
    *n = c->parser.text_len;
    return c->parser.text;
}

uint64_t vt_rss_counted(const struct vt_rss *c)
{
    return c->sent + c->parser.counted;
}

void vt_rss_stop(struct vt_rss *c)
{
    __atomic_store_n(&c->stopped, true, __ATOMIC_RELAXED);
    shutdown(c->fd, SHUT_RDWR);
}

void vt_rss_free(struct vt_rss *c)
{
    if (c == NULL)
        return;
    close(c->fd);
    vt_buf_fini(&c->out);
    free(c);
}
