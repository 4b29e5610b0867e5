/* ssh_channel.c - channels of an SSH connection (RFC 4254): the shell as a transport, one
 * command, a subsystem. */
#include "transport/ssh_private.h"

#include <stdlib.h>
#include <string.h>

#define WINDOW (4 * 1024 * 1024)        /* 20 MB of output must not wait for adjusts */
#define WIDE_WINDOW (1024 * 1024 * 1024) /* subsystems: our requests bound what comes */
#define PACKET 32768
#define ROUNDS 16                       /* of a read that finds nothing for its channel */
#define CLOSE_GRACE VT_SEC              /* between the end of output and the channel's close */

/* RFC 4254 8: opcode, 4 bytes of argument; 53 is ECHO, 70 is OPOST. */
static const char modes[] = {53, 0, 0, 0, 0, 70, 0, 0, 0, 0, 0};

struct shell {
    struct vt_transport base;
    struct vt_ssh *ssh;
    LIBSSH2_CHANNEL *channel;
    char *held;                     /* what libssh2 was given and could not send yet: it must
                                     * get the same bytes again, whatever is written next */
    size_t held_len;
    bool ended, closed_by_peer;
    vt_time eof_at;                 /* end of output seen; 0: not yet */
};

static const struct vt_transport_ops shell_ops;

static struct shell *of(struct vt_transport *t)
{
    return (struct shell *)t;
}

/* ---- opening ---- */

static enum vt_rc open_channel(struct vt_ssh *ssh, unsigned window, struct vt_waiter *w, vt_time deadline,
                               LIBSSH2_CHANNEL **out, struct vt_err *e)
{
    static const char type[] = "session";
    while ((*out = libssh2_channel_open_ex(ssh->session, type, sizeof type - 1, window, PACKET, NULL, 0)) == NULL) {
        int rc = libssh2_session_last_errno(ssh->session);
        if (rc != LIBSSH2_ERROR_EAGAIN)
            return vt_ssh_failed(ssh, rc, VT_CHANNEL, VT_STAGE_CHANNEL, e);
        enum vt_rc waited = vt_ssh_wait(ssh, w, deadline);
        if (waited != VT_OK)
            return vt_ssh_stopped(ssh, waited, VT_STAGE_CHANNEL, "request for a channel", e);
    }
    return VT_OK;
}

static int ask_pty(LIBSSH2_CHANNEL *channel)
{
    return libssh2_channel_request_pty_ex(channel, "dumb", 4, modes, sizeof modes, 0, 0, 0, 0);
}

static int ask_shell(LIBSSH2_CHANNEL *channel)
{
    return libssh2_channel_process_startup(channel, "shell", 5, NULL, 0);
}

/* Both requests travel together, which saves a round trip; their answers come in order,
 * so neither may be looked at before both are on their way. */
static enum vt_rc start_shell(struct vt_ssh *ssh, LIBSSH2_CHANNEL *channel, struct vt_waiter *w,
                              vt_time deadline, struct vt_err *e)
{
    int pty, shell;
    ssh->ears = VT_EARS_SHUT;
    (void)ask_pty(channel);
    (void)ask_shell(channel);
    ssh->ears = VT_EARS_OPEN;
    VT_SSH_AWAIT(pty, ask_pty(channel), ssh, w, deadline, VT_STAGE_CHANNEL, "request for a pty", e);
    if (pty != 0)
        return vt_ssh_failed(ssh, pty, VT_CHANNEL, VT_STAGE_CHANNEL, e);
    VT_SSH_AWAIT(shell, ask_shell(channel), ssh, w, deadline, VT_STAGE_CHANNEL, "request for a shell", e);
    return shell == 0 ? VT_OK : vt_ssh_failed(ssh, shell, VT_CHANNEL, VT_STAGE_CHANNEL, e);
}

enum vt_rc vt_ssh_shell(struct vt_ssh *ssh, struct vt_waiter *w, vt_time deadline,
                        struct vt_transport **out, struct vt_err *e)
{
    struct shell *s = calloc(1, sizeof *s);
    if (s == NULL) {
        vt_ssh_free(ssh, false);
        return vt_fail(e, VT_NOMEM, VT_STAGE_CHANNEL, 0, NULL);
    }
    s->base.ops = &shell_ops;
    s->ssh = ssh;
    enum vt_rc rc = open_channel(ssh, WINDOW, w, deadline, &s->channel, e);
    if (rc == VT_OK) {
        libssh2_channel_handle_extended_data2(s->channel, LIBSSH2_CHANNEL_EXTENDED_DATA_MERGE);
        rc = start_shell(ssh, s->channel, w, deadline, e);
    }
    if (rc != VT_OK) {
        shell_ops.fini(&s->base, false);
        return rc;
    }
    *out = &s->base;
    return VT_OK;
}

struct vt_ssh *vt_ssh_of(struct vt_transport *t)
{
    return t->ops == &shell_ops ? of(t)->ssh : NULL;
}

/* ---- the shell as a transport ---- */

/* After the end of output: the exit status and the close follow at once, as a rule. */
static enum vt_rc read_end(struct shell *s)
{
    if (s->eof_at == 0)
        s->eof_at = vt_now();
    int rc = libssh2_channel_wait_closed(s->channel);
    if (rc == LIBSSH2_ERROR_EAGAIN && vt_now() - s->eof_at < CLOSE_GRACE)
        return VT_AGAIN;
    s->closed_by_peer = rc == 0;
    s->ended = true;
    return VT_EOF;
}

static enum vt_rc stop(struct shell *s)
{
    s->ended = true;
    return vt_ssh_stopped(s->ssh, s->ssh->ended, VT_STAGE_NONE, NULL, &s->base.err);
}

static enum vt_rc broke(struct shell *s, int rc)
{
    s->ended = true;
    return vt_ssh_failed(s->ssh, rc, VT_IO, VT_STAGE_NONE, &s->base.err);
}

/* Offers what is held to libssh2 again. */
static enum vt_rc push_held(struct shell *s)
{
    while (s->held_len > 0) {
        ssize_t n = libssh2_channel_write(s->channel, s->held, s->held_len);
        if (n == LIBSSH2_ERROR_EAGAIN || n == 0)
            return VT_AGAIN;
        if (n < 0)
            return broke(s, (int)n);
        memmove(s->held, s->held + n, s->held_len -= (size_t)n);
    }
    return VT_OK;
}

static enum vt_rc shell_read(struct vt_transport *t, void *data, size_t cap, size_t *got)
{
    struct shell *s = of(t);
    if (s->ssh->mute)
        return VT_CLOSED;
    for (int round = 0; round < ROUNDS; round++) {
        vt_ssh_renew(s->ssh);
        ssize_t n = libssh2_channel_read(s->channel, data, cap);
        if (s->held_len > 0)
            (void)push_held(s);     /* the window may have opened; a failure is found below */
        vt_ssh_flush(s->ssh);
        if (n > 0) {
            *got = (size_t)n;
            return VT_OK;
        }
        if (n == 0 && libssh2_channel_eof(s->channel))
            return read_end(s);
        if (n < 0 && n != LIBSSH2_ERROR_EAGAIN)
            return broke(s, (int)n);
        if (!s->ssh->starved)
            return s->ssh->ended != VT_OK ? stop(s) : VT_AGAIN;
    }
    return VT_AGAIN;                /* a flood of nothing: others have a turn */
}

/* Keeps what libssh2 could not send: it insists on the same bytes. */
static enum vt_rc hold(struct shell *s, const void *data, size_t n, size_t *put)
{
    if (s->held == NULL && (s->held = malloc(PACKET)) == NULL)
        return vt_fail(&s->base.err, VT_NOMEM, VT_STAGE_NONE, 0, NULL);
    *put = s->held_len = n < PACKET ? n : PACKET;
    memcpy(s->held, data, s->held_len);
    return VT_OK;
}

/* Sends what waits.  VT_OK: there is room for more, VT_AGAIN: not yet. */
static enum vt_rc make_room(struct shell *s)
{
    if (s->ssh->mute)
        return VT_CLOSED;
    vt_ssh_renew(s->ssh);
    vt_ssh_flush(s->ssh);
    enum vt_rc rc = push_held(s);
    return rc == VT_OK && vt_ssh_is_full(s->ssh) ? VT_AGAIN : rc;
}

static enum vt_rc shell_write(struct vt_transport *t, const void *data, size_t n, size_t *put)
{
    struct shell *s = of(t);
    enum vt_rc rc = make_room(s);
    if (rc != VT_OK)
        return rc;
    ssize_t some = libssh2_channel_write(s->channel, data, n);
    vt_ssh_flush(s->ssh);
    if (some > 0) {
        *put = (size_t)some;
        return VT_OK;
    }
    if (some == 0 || some == LIBSSH2_ERROR_EAGAIN)
        return hold(s, data, n, put);
    if (some == LIBSSH2_ERROR_CHANNEL_CLOSED || some == LIBSSH2_ERROR_CHANNEL_EOF_SENT)
        return VT_EOF;
    return broke(s, (int)some);
}

static enum vt_rc shell_resize(struct vt_transport *t, unsigned rows, unsigned columns)
{
    struct shell *s = of(t);
    enum vt_rc rc = make_room(s);
    if (rc != VT_OK)
        return rc;
    int told = libssh2_channel_request_pty_size_ex(s->channel, (int)columns, (int)rows, 0, 0);
    vt_ssh_flush(s->ssh);
    if (told == LIBSSH2_ERROR_EAGAIN)
        return VT_AGAIN;
    return told == 0 ? VT_OK : broke(s, told);
}

/* Input that libssh2 holds raises no event: then the socket is asked for what it nearly
 * always is, writable, so that the poll ends at once. */
static int shell_want(struct vt_transport *t, bool writing, short *events)
{
    struct shell *s = of(t);
    if (s->ended || s->ssh->mute)
        return -1;
    s->ssh->is_dry = false;         /* what comes from now on ends the wait */
    bool out = vt_ssh_has_output(s->ssh) || (writing && s->held_len == 0);
    bool in = vt_ssh_has_input(s->ssh) || libssh2_poll_channel_read(s->channel, 0);
    *events = (short)(POLLIN | (out || in ? POLLOUT : 0));
    return s->ssh->fd;
}

static int signal_number(const char *name)
{
    static const struct { const char *name; int number; } known[] = {
        {"HUP", 1}, {"INT", 2}, {"QUIT", 3}, {"ILL", 4}, {"ABRT", 6}, {"FPE", 8}, {"KILL", 9},
        {"USR1", 10}, {"SEGV", 11}, {"USR2", 12}, {"PIPE", 13}, {"ALRM", 14}, {"TERM", 15},
    };
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (strcmp(known[i].name, name) == 0)
            return known[i].number;
    return 15;
}

/* The name of the signal that ended the channel's process; false if none did. */
static bool exit_signal(struct vt_ssh *ssh, LIBSSH2_CHANNEL *channel, char *out, size_t cap)
{
    char *name = NULL;
    size_t n = 0;
    libssh2_channel_get_exit_signal(channel, &name, &n, NULL, NULL, NULL, NULL);
    if (name == NULL)
        return false;
    n = n < cap - 1 ? n : cap - 1;
    memcpy(out, name, n);
    out[n] = '\0';
    libssh2_free(ssh->session, name);
    return true;
}

static bool shell_status(struct vt_transport *t, int *status)
{
    struct shell *s = of(t);
    char name[16];
    if (!s->closed_by_peer || s->ssh->session == NULL)
        return false;               /* cut off: libssh2 would say 0 */
    if (exit_signal(s->ssh, s->channel, name, sizeof name))
        *status = -signal_number(name);
    else
        *status = libssh2_channel_get_exit_status(s->channel);
    return true;
}

static void shell_close(struct vt_transport *t)
{
    struct shell *s = of(t);
    vt_ssh_bye(s->ssh);
    vt_ssh_unlink(s->ssh);                  /* a closed session holds no descriptor */
    s->ended = true;
}

static void shell_fini(struct vt_transport *t, bool silent)
{
    struct shell *s = of(t);
    vt_ssh_free(s->ssh, silent);            /* frees the channel too */
    free(s->held);
    free(s);
}

/* The pty modes ask for silence; an odd server may ignore them, which login finds out. */
static const struct vt_transport_ops shell_ops = {
    .name = "ssh", .echo = false, .crlf = false,
    .read = shell_read, .write = shell_write, .want = shell_want, .resize = shell_resize,
    .status = shell_status, .close = shell_close, .fini = shell_fini,
};

/* ---- channels for others ---- */

void vt_ssh_channel_free(struct vt_ssh *ssh, LIBSSH2_CHANNEL *channel)
{
    enum vt_ears before = ssh->ears;
    ssh->ears = VT_EARS_GONE;               /* libssh2 would wait for the server's close */
    (void)libssh2_channel_free(channel);
    ssh->ears = before;
    vt_ssh_flush(ssh);
}

enum vt_rc vt_ssh_channel_settle(struct vt_ssh *ssh, LIBSSH2_CHANNEL *channel, struct vt_waiter *w,
                                 vt_time deadline)
{
    enum vt_rc rc = VT_OK;
    vt_time soon = vt_sooner(deadline, CLOSE_GRACE);
    while (rc == VT_OK && libssh2_channel_eof(channel) > 0
           && libssh2_channel_wait_closed(channel) == LIBSSH2_ERROR_EAGAIN)
        rc = vt_ssh_wait(ssh, w, soon);
    return rc;
}

/* After EAGAIN: the channel was closed, so the answer to the request never comes, which
 * libssh2 does not see. */
static bool is_closed_unanswered(LIBSSH2_CHANNEL *channel)
{
    return libssh2_channel_eof(channel) > 0;
}

enum vt_rc vt_ssh_channel(struct vt_ssh *ssh, const char *what, bool is_command, struct vt_waiter *w,
                          vt_time deadline, LIBSSH2_CHANNEL **out, struct vt_err *e)
{
    const char *request = is_command ? "exec" : "subsystem";
    LIBSSH2_CHANNEL *channel;
    int rc;
    enum vt_rc opened = open_channel(ssh, is_command ? WINDOW : WIDE_WINDOW, w, deadline, &channel, e);
    if (opened != VT_OK)
        return opened;
    while ((rc = libssh2_channel_process_startup(channel, request, (unsigned)strlen(request), what,
                                                 (unsigned)strlen(what))) == LIBSSH2_ERROR_EAGAIN
           && !is_closed_unanswered(channel) && (opened = vt_ssh_wait(ssh, w, deadline)) == VT_OK)
        ;
    if (opened == VT_OK && rc == LIBSSH2_ERROR_EAGAIN)
        opened = vt_fail(e, VT_CHANNEL, VT_STAGE_CHANNEL, 0, "the server closed the channel without an answer");
    else if (opened != VT_OK)
        vt_ssh_stopped(ssh, opened, VT_STAGE_CHANNEL, "request to run it", e);
    else if (rc != 0)
        opened = vt_ssh_failed(ssh, rc, is_command ? VT_CHANNEL : VT_UNSUPPORTED, VT_STAGE_CHANNEL, e);
    if (opened == VT_OK)
        *out = channel;
    else
        vt_ssh_channel_free(ssh, channel);
    return opened;
}

/* ---- one command ---- */

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
    c->eof_sent = true;
    return VT_OK;
}

static enum vt_rc take_output(struct exec *c, int stream, struct vt_buf *into)
{
    char data[PACKET];
    ssize_t n = libssh2_channel_read_ex(c->channel, stream, data, sizeof data);
    if (n == LIBSSH2_ERROR_EAGAIN || n == 0)
        return VT_AGAIN;
    if (n < 0)
        return vt_ssh_failed(c->ssh, (int)n, VT_IO, VT_STAGE_COMMAND, c->e);
    enum vt_rc rc = vt_buf_add(into, data, (size_t)n);
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
        if (rc == VT_OK || c->ssh->received != before)
            continue;
        if ((rc = vt_ssh_wait(c->ssh, w, deadline)) != VT_OK)
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
    if (!exit_signal(c->ssh, c->channel, c->x->signal, sizeof c->x->signal))
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
