/* sftp.c - requests out, answers in: one table of operations, indexed by request id. */
#include "transfer/sftp.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define PACKET_MAX (256 * 1024 + 1024)      /* OpenSSH's bound, and a header */
#define OUT_MAX ((size_t)64 * 1024 * 1024)
#define IN_ROOM (64 * 1024)
#define IN_MAX (PACKET_MAX + 1024 * 1024)
#define PIECE 32700                         /* libssh2 cuts what it is given there */
#define NONE UINT32_MAX

#define LOOK_UP (50 * VT_MS)

/* ---- operations ---- */

static void ignore(void *ctx, const struct vt_sftp_op *op, const struct vt_sftp_reply *reply)
{
    (void)ctx, (void)op, (void)reply;
}

static bool grow_ops(struct vt_sftp *s)
{
    uint32_t n = s->op_count == 0 ? 64 : s->op_count * 2;
    struct vt_sftp_op *ops = realloc(s->ops, n * sizeof *ops);
    if (ops == NULL)
        return false;
    for (uint32_t i = s->op_count; i < n; i++)
        ops[i] = (struct vt_sftp_op){.next_free = i + 1 < n ? i + 1 : NONE};
    s->op_free = s->op_count;
    s->ops = ops;
    s->op_count = n;
    return true;
}

static uint32_t take_op(struct vt_sftp *s, vt_sftp_fn fn, void *ctx, uint64_t offset, uint32_t size)
{
    if (s->op_free == NONE && !grow_ops(s))
        return NONE;
    uint32_t id = s->op_free;
    s->op_free = s->ops[id].next_free;
    s->ops[id] = (struct vt_sftp_op){.fn = fn, .ctx = ctx, .offset = offset, .size = size};
    s->outstanding++;
    return id;
}

static void free_op(struct vt_sftp *s, uint32_t id)
{
    s->ops[id] = (struct vt_sftp_op){.next_free = s->op_free};
    s->op_free = id;
    s->outstanding--;
}

static size_t alike(const char *a, const char *b)
{
    size_t n = 0;
    while (a[n] != '\0' && a[n] == b[n])
        n++;
    return n;
}

/* A guest may say the password that it was given.  Where its words were cut, a part of it is at their end. */
void vt_sftp_hide(const struct vt_sftp *s, char *text)
{
    char secret[1024];
    if (s->sudo_password == NULL || (s->sudo != VT_SUDO_ASKED && s->sudo != VT_SUDO_UNASKED))
        return;
    vt_show(s->sudo_password, strlen(s->sudo_password), secret, sizeof secret);
    for (char *at = text; *at != '\0'; at++) {
        size_t n = alike(at, secret);
        bool whole = n > 0 && secret[n] == '\0', cut = n >= 3 && (at[n] == '\0' || strcmp(at + n, ")") == 0);
        if (!whole && !cut)
            continue;
        size_t stars = n < 3 ? n : 3;
        memset(at, '*', stars);
        memmove(at + stars, at + n, strlen(at + n) + 1);
        at += stars - 1;
    }
}

void vt_sftp_stop(struct vt_sftp *s, enum vt_rc rc, int sys, const char *text)
{
    char shown[512];
    if (s->rc != VT_OK)
        return;
    snprintf(shown, sizeof shown, "%s", text != NULL ? text : "");
    vt_sftp_hide(s, shown);
    s->rc = vt_fail(s->e, rc, VT_STAGE_TRANSFER, sys, text != NULL ? "%s" : NULL, shown);
}

struct vt_packet vt_sftp_begin(struct vt_sftp *s, enum vt_fxp type, vt_sftp_fn fn, void *ctx,
                               uint64_t offset, uint32_t size)
{
    uint32_t id = take_op(s, fn, ctx, offset, size);
    struct vt_packet p = vt_packet_begin(&s->out, type, id);
    if (id == NONE)
        p.rc = VT_NOMEM;
    return p;
}

void vt_sftp_end(struct vt_sftp *s, struct vt_packet *p)
{
    enum vt_rc rc = vt_packet_end(p);
    if (rc != VT_OK)
        vt_sftp_stop(s, rc, 0, NULL);
}

void vt_sftp_ask(struct vt_sftp *s, enum vt_fxp type, const char *path, vt_sftp_fn fn, void *ctx)
{
    struct vt_packet p = vt_sftp_begin(s, type, fn, ctx, 0, 0);
    vt_packet_text(&p, path);
    vt_sftp_end(s, &p);
}

void vt_sftp_ask_handle(struct vt_sftp *s, enum vt_fxp type, const void *handle, size_t n, vt_sftp_fn fn,
                        void *ctx)
{
    struct vt_packet p = vt_sftp_begin(s, type, fn, ctx, 0, 0);
    vt_packet_bytes(&p, handle, n);
    vt_sftp_end(s, &p);
}

void vt_sftp_rename(struct vt_sftp *s, const char *from, const char *to, vt_sftp_fn fn, void *ctx)
{
    enum vt_fxp type = s->has_posix_rename ? VT_FXP_EXTENDED : VT_FXP_RENAME;
    struct vt_packet p = vt_sftp_begin(s, type, fn, ctx, 0, 0);
    if (s->has_posix_rename)
        vt_packet_text(&p, "posix-rename@openssh.com");
    vt_packet_text(&p, from);
    vt_packet_text(&p, to);
    vt_sftp_end(s, &p);
}

void vt_sftp_rename_new(struct vt_sftp *s, const char *from, const char *to, vt_sftp_fn fn, void *ctx)
{
    struct vt_packet p = vt_sftp_begin(s, VT_FXP_RENAME, fn, ctx, 0, 0);
    vt_packet_text(&p, from);
    vt_packet_text(&p, to);
    vt_sftp_end(s, &p);
}

/* ---- bytes out ---- */

size_t vt_sftp_queued(const struct vt_sftp *s)
{
    return s->out.len - s->out_at;
}

/* Length of the packet at that place of the output, which is always whole. */
static size_t packet_at(const struct vt_sftp *s, size_t at)
{
    struct vt_cursor c = vt_cursor_of(s->out.data + at, 4);
    return (size_t)vt_take_u32(&c) + 4;
}

static void forget_sent(struct vt_sftp *s)
{
    while (s->out_packet < s->out.len && s->out_packet + packet_at(s, s->out_packet) <= s->out_at)
        s->out_packet += packet_at(s, s->out_packet);
    if (s->out_packet < s->out.len && s->out_packet < IN_ROOM)
        return;                     /* moving the rest would cost more */
    vt_buf_drop(&s->out, s->out_packet);
    s->out_at -= s->out_packet;
    s->out_packet = 0;
}

static void push(struct vt_sftp *s, bool *moved)
{
    while (s->rc == VT_OK && vt_sftp_queued(s) > 0 && !vt_ssh_is_full(s->ssh)) {
        size_t some = vt_sftp_queued(s) < PIECE ? vt_sftp_queued(s) : PIECE;
        ssize_t n = libssh2_channel_write(s->channel, s->out.data + s->out_at, some);
        if (n == LIBSSH2_ERROR_EAGAIN || n == 0)
            break;
        if (n < 0) {
            vt_sftp_stop(s, VT_EOF, 0, "the SFTP server no longer takes requests");
            break;
        }
        s->out_at += (size_t)n;
        *moved = true;
    }
    forget_sent(s);
}

/* ---- bytes in ---- */

static void answer(struct vt_sftp *s, struct vt_cursor c)
{
    struct vt_sftp_reply r = {.type = vt_take_u8(&c)};
    uint32_t id = vt_take_u32(&c);
    if (c.bad || id >= s->op_count || s->ops[id].fn == NULL) {
        vt_sftp_stop(s, VT_PROTO, 0, "the SFTP server answered what nobody asked");
        return;
    }
    if (r.type == VT_FXP_STATUS) {
        r.status = vt_take_u32(&c);
        if (c.bad) {
            vt_sftp_stop(s, VT_PROTO, 0, "the SFTP server sent a damaged status");
            return;
        }
        r.message = c.p < c.end ? vt_take_bytes(&c) : (struct vt_span){c.p, 0};
    }
    r.body = c;
    struct vt_sftp_op op = s->ops[id];
    free_op(s, id);
    op.fn(op.ctx, &op, &r);
}

/* Some servers' start-up files print text, which is no packet. */
static void no_packet(struct vt_sftp *s)
{
    char said[80], text[160];
    size_t n = s->in.len - s->in_at;
    vt_show(s->in.data + s->in_at, n < 60 ? n : 60, said, sizeof said);
    snprintf(text, sizeof text, "the SFTP server sent no packet but: %s", said);
    vt_sftp_stop(s, VT_PROTO, 0, text);
}

static void dispatch(struct vt_sftp *s)
{
    while (s->rc == VT_OK && s->in_at < s->in.len) {
        size_t length = 0;
        const char *at = s->in.data + s->in_at;
        enum vt_rc rc = vt_packet_length(at, s->in.len - s->in_at, PACKET_MAX, &length);
        if (rc == VT_AGAIN)
            break;
        if (rc != VT_OK) {
            no_packet(s);
            break;
        }
        s->in_at += length;
        struct vt_cursor c = vt_cursor_of(at + 4, length - 4);
        if (s->is_ready)
            answer(s, c);
        else
            vt_sftp_take_version(s, c);
    }
}

/* Keeps what is not dispatched at the buffer's start once its end is near. */
static void compact(struct vt_sftp *s)
{
    if (s->in_at == s->in.len) {
        vt_buf_clear(&s->in);
        s->in_at = 0;
    } else if (s->in.len + IN_ROOM > IN_MAX / 2 && s->in_at > 0) {
        vt_buf_drop(&s->in, s->in_at);
        s->in_at = 0;
    }
}

static void pull(struct vt_sftp *s, bool *moved)
{
    while (s->rc == VT_OK) {
        enum vt_rc rc = vt_buf_reserve(&s->in, IN_ROOM);
        if (rc != VT_OK) {
            vt_sftp_stop(s, rc, 0, NULL);
            return;
        }
        ssize_t n = libssh2_channel_read(s->channel, s->in.data + s->in.len, s->in.cap - s->in.len);
        if (n == LIBSSH2_ERROR_EAGAIN)
            return;
        if (n <= 0) {
            if (n < 0 || libssh2_channel_eof(s->channel))
                vt_sftp_stop(s, VT_EOF, 0, "the SFTP server ended");
            return;
        }
        s->in.len += (size_t)n;
        *moved = true;
        dispatch(s);
        compact(s);
    }
}

const char *vt_sftp_in_words(enum vt_rc rc)
{
    return rc == VT_TIMEOUT ? "the time for the transfer is over"
         : rc == VT_EOF || rc == VT_IO ? "the connection ended during the transfer" : NULL;
}

static void wait_more(struct vt_sftp *s)
{
    vt_time stalled = s->stall == VT_FOREVER ? VT_FOREVER : s->moved_at + s->stall;
    vt_time until = stalled < s->deadline ? stalled : s->deadline;
    enum vt_rc rc = vt_ssh_wait(s->ssh, s->w, until);
    if (rc == VT_OK || s->rc != VT_OK)
        return;
    if (rc == VT_TIMEOUT && until < s->deadline)
        vt_sftp_stop(s, rc, 0, "the transfer stalled: no byte moved");
    else
        vt_sftp_stop(s, rc, 0, vt_sftp_in_words(rc));
}

/* While bytes move there is no wait that would notice a signal, a close or the deadline. */
static void look_up(struct vt_sftp *s)
{
    s->looked_up_at = vt_now();
    enum vt_rc rc = vt_sleep(s->w, s->looked_up_at);
    if (rc != VT_TIMEOUT || vt_expired(s->deadline))
        vt_sftp_stop(s, rc, 0, vt_sftp_in_words(rc));
}

void vt_sftp_pause(struct vt_sftp *s, bool moved, uint64_t received_before)
{
    if (moved)
        s->moved_at = vt_now();
    /* What was received may be the leave to write on, which the read has swallowed. */
    if (s->rc == VT_OK && !moved && vt_ssh_received(s->ssh) == received_before)
        wait_more(s);
    else if (s->rc == VT_OK && vt_now() - s->looked_up_at > LOOK_UP)
        look_up(s);
}

enum vt_rc vt_sftp_turn(struct vt_sftp *s)
{
    uint64_t before = vt_ssh_received(s->ssh);
    size_t in_at = s->in_at;
    dispatch(s);                    /* what had come when all was stopped, and is wanted again */
    bool moved = s->in_at != in_at;
    vt_ssh_pass(s->ssh);
    push(s, &moved);
    pull(s, &moved);
    vt_sftp_pause(s, moved, before);
    return s->rc;
}

/* ---- beginning and end ---- */

void vt_sftp_init(struct vt_sftp *s, struct vt_ssh *ssh, vt_time stall, struct vt_waiter *w,
                  vt_time deadline, struct vt_err *e)
{
    *s = (struct vt_sftp){.ssh = ssh, .w = w, .deadline = deadline, .stall = stall, .e = e,
                          .op_free = NONE, .moved_at = vt_now()};
    vt_buf_init(&s->out, OUT_MAX);
    vt_buf_init(&s->in, IN_MAX);
}

void vt_sftp_close(struct vt_sftp *s)
{
    if (s->channel != NULL)
        vt_ssh_channel_free(s->ssh, s->channel);
    vt_buf_fini(&s->out);
    vt_buf_fini(&s->in);
    free(s->ops);
    *s = (struct vt_sftp){0};
}

/* ---- after the end ---- */

/* What was not sent is never answered.  The rest of a packet that was begun must follow. */
static void drop_unsent(struct vt_sftp *s)
{
    size_t keep = s->out_at > s->out_packet ? s->out_packet + packet_at(s, s->out_packet) : s->out_at;
    for (size_t at = keep; at < s->out.len; at += packet_at(s, at)) {
        struct vt_cursor c = vt_cursor_of(s->out.data + at + 5, 4);
        uint32_t id = vt_take_u32(&c);
        if (id < s->op_count && s->ops[id].fn != NULL)
            free_op(s, id);
    }
    s->out.len = keep;
}

bool vt_sftp_revive(struct vt_sftp *s, struct vt_waiter *w, vt_time deadline)
{
    if (s->channel == NULL || !s->is_ready || s->rc == VT_EOF || s->rc == VT_IO || s->rc == VT_PROTO)
        return false;
    for (uint32_t i = 0; i < s->op_count; i++)
        if (s->ops[i].fn != NULL)
            s->ops[i].fn = ignore;
    drop_unsent(s);
    s->rc = VT_OK;
    s->e = NULL;                    /* the first failure is the one to tell */
    s->w = w;
    s->deadline = deadline;
    s->stall = VT_FOREVER;
    return true;
}

bool vt_sftp_is(struct vt_sftp *s, const struct vt_sftp_reply *reply, enum vt_fxp type)
{
    if (reply->type == type)
        return true;
    vt_sftp_stop(s, VT_PROTO, 0, "the SFTP server gave an answer of the wrong kind");
    return false;
}

void vt_sftp_take_real(const struct vt_sftp_reply *reply, char real[4096])
{
    struct vt_cursor c = reply->body;
    memset(real, 0, 4096);
    if (reply->type != VT_FXP_NAME)
        return;
    (void)vt_take_u32(&c);
    struct vt_span text = vt_take_bytes(&c);
    if (!c.bad && text.n < 4096)
        memcpy(real, text.p, text.n);
}
