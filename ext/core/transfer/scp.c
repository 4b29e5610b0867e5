/* scp.c - bytes to and from an scp on the server. */
#include "transfer/scp.h"

#include "transfer/sudo.h"

#include <stdio.h>
#include <string.h>

#define PIECE 32700                 /* libssh2 cuts what it is given there */
#define IN_ROOM (256 * 1024)
#define OUT_MAX (16 * 1024 * 1024)
#define SAID_MAX 1024

/* ---- the channel ---- */

enum vt_rc vt_scp_open(struct vt_scp *c, struct vt_sftp *s, const char *command)
{
    *c = (struct vt_scp){.s = s};
    vt_buf_init(&c->out, OUT_MAX);
    vt_buf_init(&c->in, 2 * IN_ROOM);
    vt_buf_init(&c->said, SAID_MAX + 1);
    s->rc = vt_ssh_channel(s->ssh, command, true, s->w, s->deadline, &c->channel, s->e);
    return s->rc != VT_OK ? s->rc : vt_sudo_send_password(s, true, c->channel);
}

/* The next command of the connection must not begin before this one has ended. */
static void settle(struct vt_scp *c)
{
    struct vt_sftp *s = c->s;
    enum vt_rc rc = s->rc == VT_OK && c->at_end ? vt_ssh_channel_settle(s->ssh, c->channel, s->w, s->deadline) : VT_OK;
    if (rc == VT_INTR || rc == VT_CLOSED)
        vt_sftp_stop(s, rc, 0, NULL);
}

void vt_scp_close(struct vt_scp *c)
{
    if (c->channel != NULL) {
        settle(c);
        vt_ssh_channel_free(c->s->ssh, c->channel);
    }
    vt_buf_fini(&c->out);
    vt_buf_fini(&c->in);
    vt_buf_fini(&c->said);
    *c = (struct vt_scp){0};
}

size_t vt_scp_queued(const struct vt_scp *c)
{
    return c->out.len - c->out_at;
}

void vt_scp_send(struct vt_scp *c, const void *data, size_t n)
{
    enum vt_rc rc = c->at_end ? VT_OK : vt_buf_add(&c->out, data, n);
    if (rc != VT_OK)
        vt_sftp_stop(c->s, rc, 0, NULL);
}

static void push(struct vt_scp *c, bool *moved)
{
    while (vt_scp_queued(c) > 0 && !vt_ssh_is_full(c->s->ssh)) {
        size_t some = vt_scp_queued(c) < PIECE ? vt_scp_queued(c) : PIECE;
        ssize_t n = libssh2_channel_write(c->channel, c->out.data + c->out_at, some);
        if (n == LIBSSH2_ERROR_EAGAIN || n == 0)
            break;
        if (n < 0) {                /* it no longer listens; what it said is still to be read */
            c->out_at = c->out.len;
            break;
        }
        c->out_at += (size_t)n;
        *moved = true;
    }
    if (c->out_at == c->out.len) {
        vt_buf_clear(&c->out);
        c->out_at = 0;
    } else if (c->out_at > IN_ROOM) {
        vt_buf_drop(&c->out, c->out_at);
        c->out_at = 0;
    }
}

static void pull_said(struct vt_scp *c, bool *moved)
{
    char data[1024];
    ssize_t n;
    while ((n = libssh2_channel_read_ex(c->channel, SSH_EXTENDED_DATA_STDERR, data, sizeof data)) > 0) {
        size_t room = SAID_MAX - c->said.len;
        if (vt_buf_add(&c->said, data, (size_t)n < room ? (size_t)n : room) != VT_OK)
            vt_sftp_stop(c->s, VT_NOMEM, 0, NULL);
        *moved = true;
    }
}

static void pull(struct vt_scp *c, bool *moved)
{
    vt_buf_drop(&c->in, c->in_at);
    c->in_at = 0;
    while (!c->at_end && c->in.len < IN_ROOM) {
        enum vt_rc rc = vt_buf_reserve(&c->in, IN_ROOM - c->in.len);
        if (rc != VT_OK) {
            vt_sftp_stop(c->s, rc, 0, NULL);
            return;
        }
        ssize_t n = libssh2_channel_read(c->channel, c->in.data + c->in.len, IN_ROOM - c->in.len);
        if (n == LIBSSH2_ERROR_EAGAIN)
            return;
        if (n <= 0) {
            c->at_end = n < 0 || libssh2_channel_eof(c->channel);
            return;
        }
        c->in.len += (size_t)n;
        *moved = true;
    }
}

enum vt_rc vt_scp_turn(struct vt_scp *c)
{
    uint64_t before = vt_ssh_received(c->s->ssh);
    bool moved = false;
    if (c->s->rc != VT_OK)
        return c->s->rc;
    vt_ssh_pass(c->s->ssh);
    push(c, &moved);
    pull_said(c, &moved);
    pull(c, &moved);
    if (c->at_end)
        pull_said(c, &moved);
    vt_sftp_pause(c->s, moved || c->at_end || c->in_at < c->in.len, before);
    return c->s->rc;
}

void vt_scp_forget(struct vt_scp *c)
{
    vt_buf_clear(&c->out);
    c->out_at = 0;
}

void vt_scp_finish(struct vt_scp *c, vt_time deadline)
{
    vt_time before = c->s->deadline;
    if (deadline < c->s->deadline)
        c->s->deadline = deadline;
    while (c->s->rc == VT_OK && !c->at_end && vt_scp_queued(c) > 0)
        (void)!vt_scp_turn(c);
    if (c->s->rc == VT_OK && !c->at_end)
        (void)libssh2_channel_send_eof(c->channel);
    while (c->s->rc == VT_OK && !c->at_end) {
        c->in_at = c->in.len;
        (void)!vt_scp_turn(c);
    }
    settle(c);
    c->s->deadline = before;
}

void vt_scp_complaint(const struct vt_scp *c, const char *what, char *text, size_t cap)
{
    char said[120] = "";
    const char *line = c->said.data != NULL ? c->said.data : "";
    size_t n = c->said.len;
    while (n > 0 && (line[n - 1] == '\n' || line[n - 1] == '\r'))
        n--;
    size_t at = n;                  /* the last line tells most */
    while (at > 0 && line[at - 1] != '\n')
        at--;
    vt_show(line + at, n - at, said, sizeof said);
    snprintf(text, cap, "%s%s%s", what, said[0] != '\0' ? ": " : "", said);
}
