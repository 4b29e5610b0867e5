/* ssh_exec.c - one command on a channel of its own. */
#include "transport/ssh_private.h"

struct exec {
    struct vt_ssh *ssh;
    struct vt_ssh_exec *x;
    LIBSSH2_CHANNEL *channel;
    size_t sent;
    bool eof_sent;
    struct vt_err *e;
};

/* One pass over the input: VT_OK if something moved, VT_AGAIN, or a failure. */
static enum vt_rc feed_input(struct exec *c)
{
    if (c->eof_sent)
        return VT_AGAIN;
    if (c->sent < c->x->input_len) {
        if (vt_ssh_is_full(c->ssh))
            return VT_AGAIN;
        ssize_t n = libssh2_channel_write(c->channel, c->x->input + c->sent, c->x->input_len - c->sent);
        if (n == LIBSSH2_ERROR_CHANNEL_CLOSED) {
            c->eof_sent = true;     /* it does not want the rest */
            return VT_OK;
        }
        if (n < 0 && n != LIBSSH2_ERROR_EAGAIN)
            return vt_ssh_failed(c->ssh, (int)n, VT_IO, VT_STAGE_COMMAND, c->e);
        c->sent += n > 0 ? (size_t)n : 0;
        return n > 0 ? VT_OK : VT_AGAIN;
    }
    int rc = libssh2_channel_send_eof(c->channel);
    if (rc == LIBSSH2_ERROR_EAGAIN)
        return VT_AGAIN;
    if (rc != 0 && rc != LIBSSH2_ERROR_CHANNEL_CLOSED && rc != LIBSSH2_ERROR_CHANNEL_EOF_SENT)
        return vt_ssh_failed(c->ssh, rc, VT_IO, VT_STAGE_COMMAND, c->e);
    c->eof_sent = true;
    return VT_OK;
}

static enum vt_rc take_output(struct exec *c, int stream, struct vt_buf *into)
{
    char data[VT_SSH_PACKET];
    ssize_t n = libssh2_channel_read_ex(c->channel, stream, data, sizeof data);
    if (n == LIBSSH2_ERROR_EAGAIN || n == 0)
        return VT_AGAIN;
    if (n < 0)
        return vt_ssh_failed(c->ssh, (int)n, VT_IO, VT_STAGE_COMMAND, c->e);
    enum vt_rc rc = vt_buf_add(into, data, (size_t)n);
    if (c->x->limit > 0 && c->x->out->len + c->x->err->len > c->x->limit)
        rc = VT_TOOBIG;
    return rc == VT_OK ? VT_OK : vt_fail(c->e, rc, VT_STAGE_COMMAND, 0, "the command's output is too large");
}

static bool is_failure(enum vt_rc rc)
{
    return rc != VT_OK && rc != VT_AGAIN;
}

/* Moves what can be moved.  VT_EOF: all output is there. */
static enum vt_rc pass(struct exec *c)
{
    enum vt_rc in = feed_input(c), out, err;
    if (is_failure(in))
        return in;
    if (is_failure(out = take_output(c, 0, c->x->out)))
        return out;
    if (is_failure(err = take_output(c, SSH_EXTENDED_DATA_STDERR, c->x->err)))
        return err;
    if (out == VT_AGAIN && err == VT_AGAIN && libssh2_channel_eof(c->channel))
        return VT_EOF;
    return in == VT_OK || out == VT_OK || err == VT_OK ? VT_OK : VT_AGAIN;
}

static enum vt_rc converse(struct exec *c, struct vt_waiter *w, vt_time deadline)
{
    for (;;) {
        uint64_t before = c->ssh->received;
        vt_ssh_pass(c->ssh);
        enum vt_rc rc = pass(c);
        if (rc == VT_EOF)
            return VT_OK;
        if (is_failure(rc))
            return rc;
        rc = rc == VT_OK || c->ssh->received != before ? vt_wait_check(w, deadline)
                                                       : vt_ssh_wait(c->ssh, w, deadline);
        if (rc != VT_OK)
            return vt_ssh_stopped(c->ssh, rc, VT_STAGE_COMMAND, NULL, c->e);
    }
}

static enum vt_rc take_status(struct exec *c, struct vt_waiter *w, vt_time deadline)
{
    int rc;
    VT_SSH_AWAIT(rc, libssh2_channel_wait_closed(c->channel), c->ssh, w, deadline, VT_STAGE_COMMAND,
                 NULL, c->e);
    if (rc != 0)
        return vt_ssh_failed(c->ssh, rc, VT_IO, VT_STAGE_COMMAND, c->e);
    if (!vt_ssh_exit_signal(c->ssh, c->channel, c->x->signal, sizeof c->x->signal) && vt_ssh_has_status(c->channel))
        c->x->status = libssh2_channel_get_exit_status(c->channel);
    return VT_OK;
}

enum vt_rc vt_ssh_exec_run(struct vt_ssh *ssh, struct vt_ssh_exec *x, struct vt_waiter *w,
                           vt_time deadline, struct vt_err *e)
{
    struct exec c = {.ssh = ssh, .x = x, .e = e};
    x->status = -1;
    x->signal[0] = '\0';
    enum vt_rc rc = vt_ssh_channel(ssh, x->command, true, w, deadline, &c.channel, e);
    if (rc != VT_OK)
        return rc;
    rc = converse(&c, w, deadline);
    if (rc == VT_OK)
        rc = take_status(&c, w, deadline);
    vt_ssh_channel_free(ssh, c.channel);
    return rc;
}
