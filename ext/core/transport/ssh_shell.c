/* ssh_shell.c - a shell on a pty as a transport (RFC 4254, 6). */
#include "transport/ssh_private.h"

#include <stdlib.h>
#include <string.h>

#define ROUNDS 16                       /* of a read that finds nothing for its channel */
/* A server of OpenSSH's answers what it writes to a terminal that does not echo with as many
 * bytes of nothing, in one packet, and libssh2 takes none over 40,000 bytes: no more than
 * this goes out before as much came back, or PATIENCE is over without a byte. */
#define BURST 16384
#define PATIENCE (100 * VT_MS)
#define PATIENCE_LESS (5 * VT_MS)       /* once nothing came back twice: nothing will */

/* RFC 4254 8: opcode, 4 bytes of argument; 53 is ECHO, 70 is OPOST. */
static const char modes[] = {53, 0, 0, 0, 0, 70, 0, 0, 0, 0, 0};

struct shell {
    struct vt_transport base;
    struct vt_ssh *ssh;
    LIBSSH2_CHANNEL *channel;
    char *pending;                  /* what libssh2 was given and could not send yet: it must
                                     * get the same bytes again, whatever is written next */
    size_t pending_len;
    bool ended, closed_by_peer;
    vt_time eof_at;                 /* end of output seen; 0: not yet */
    size_t unanswered;              /* bytes sent since as much came back, */
    uint64_t answered_from;         /* counted from there, */
    vt_time patient_until;          /* which is waited for so long */
    int silences;                   /* how often in a row it was waited for in vain */
    bool holding_back;              /* the last write had to wait for it */
};

static const struct vt_transport_ops shell_ops;

static struct shell *of(struct vt_transport *t)
{
    return (struct shell *)t;
}

/* ---- opening ---- */

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
static void ask_both(struct vt_ssh *ssh)
{
    ssh->recv_mode = VT_RECV_BLOCK;
    (void)ask_pty(ssh->shell);
    (void)ask_shell(ssh->shell);
    ssh->recv_mode = VT_RECV_NORMAL;
    ssh->shell_stage = VT_SHELL_ASKED;
}

/* From where it stands. */
static enum vt_rc start_shell(struct vt_ssh *ssh, struct vt_waiter *w, vt_time deadline, struct vt_err *e)
{
    int pty, shell;
    if (ssh->shell_stage == VT_SHELL_NEW)
        ask_both(ssh);
    if (ssh->shell_stage == VT_SHELL_ASKED) {
        VT_SSH_AWAIT(pty, ask_pty(ssh->shell), ssh, w, deadline, VT_STAGE_CHANNEL, "request for a pty", e);
        if (pty != 0)
            return vt_ssh_failed(ssh, pty, VT_CHANNEL, VT_STAGE_CHANNEL, e);
        ssh->shell_stage = VT_SHELL_HAS_PTY;
        vt_ssh_reached(ssh);
    }
    VT_SSH_AWAIT(shell, ask_shell(ssh->shell), ssh, w, deadline, VT_STAGE_CHANNEL, "request for a shell", e);
    return shell == 0 ? VT_OK : vt_ssh_failed(ssh, shell, VT_CHANNEL, VT_STAGE_CHANNEL, e);
}

static enum vt_rc get_shell(struct vt_ssh *ssh, struct vt_waiter *w, vt_time deadline, struct vt_err *e)
{
    if (ssh->shell == NULL) {
        enum vt_rc rc = vt_ssh_open_channel(ssh, VT_SSH_WINDOW, w, deadline, &ssh->shell, e);
        if (rc != VT_OK)
            return rc;
        libssh2_channel_handle_extended_data2(ssh->shell, LIBSSH2_CHANNEL_EXTENDED_DATA_MERGE);
        vt_ssh_reached(ssh);
    }
    return start_shell(ssh, w, deadline, e);
}

enum vt_rc vt_ssh_shell(struct vt_ssh *ssh, const struct vt_ssh_options *o, struct vt_waiter *w, vt_time deadline,
                        struct vt_transport **out, struct vt_err *e)
{
    struct shell *s = calloc(1, sizeof *s);
    enum vt_rc rc = s != NULL ? get_shell(ssh, w, deadline, e) : vt_fail(e, VT_NOMEM, VT_STAGE_CHANNEL, 0, NULL);
    if (rc == VT_OK) {
        s->base.ops = &shell_ops;
        s->ssh = ssh;
        s->channel = ssh->shell;
        *out = &s->base;
        return VT_OK;
    }
    free(s);
    if (rc == VT_TIMEOUT && o != NULL && o->hedge && o->places != NULL)
        vt_ssh_keep_half(ssh, o);
    else
        vt_ssh_free(ssh, false);
    return rc;
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
    if (rc == LIBSSH2_ERROR_EAGAIN && vt_now() - s->eof_at < VT_SSH_CLOSE_GRACE)
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
static enum vt_rc push_pending(struct shell *s)
{
    while (s->pending_len > 0) {
        ssize_t n = libssh2_channel_write(s->channel, s->pending, s->pending_len);
        if (n == LIBSSH2_ERROR_EAGAIN || n == 0)
            return VT_AGAIN;
        if (n < 0)
            return broke(s, (int)n);
        memmove(s->pending, s->pending + n, s->pending_len -= (size_t)n);
    }
    return VT_OK;
}

static enum vt_rc shell_read(struct vt_transport *t, void *data, size_t cap, size_t *got)
{
    struct shell *s = of(t);
    if (s->ssh->send_closed)
        return VT_CLOSED;
    for (int round = 0; round < ROUNDS; round++) {
        vt_ssh_renew(s->ssh);
        ssize_t n = libssh2_channel_read(s->channel, data, cap);
        if (s->pending_len > 0)
            (void)push_pending(s);  /* the window may have opened; a failure is found below */
        vt_ssh_flush(s->ssh);
        if (n > 0) {
            *got = (size_t)n;
            return VT_OK;
        }
        if (n == 0 && libssh2_channel_eof(s->channel))
            return read_end(s);
        if (n < 0 && n != LIBSSH2_ERROR_EAGAIN)
            return broke(s, (int)n);
        if (!s->ssh->over_budget)
            return s->ssh->ended != VT_OK ? stop(s) : VT_AGAIN;
    }
    return VT_AGAIN;                /* a flood of nothing: others have a turn */
}

/* Keeps what libssh2 could not send: it insists on the same bytes. */
static enum vt_rc hold(struct shell *s, const void *data, size_t n, size_t *put)
{
    if (s->pending == NULL && (s->pending = malloc(VT_SSH_PACKET)) == NULL)
        return vt_fail(&s->base.err, VT_NOMEM, VT_STAGE_NONE, 0, NULL);
    *put = s->pending_len = n < VT_SSH_PACKET ? n : VT_SSH_PACKET;
    memcpy(s->pending, data, s->pending_len);
    return VT_OK;
}

/* Sends what waits.  VT_OK: there is room for more, VT_AGAIN: not yet. */
static enum vt_rc make_room(struct shell *s)
{
    if (s->ssh->send_closed)
        return VT_CLOSED;
    vt_ssh_renew(s->ssh);
    vt_ssh_flush(s->ssh);
    enum vt_rc rc = push_pending(s);
    return rc == VT_OK && vt_ssh_is_full(s->ssh) ? VT_AGAIN : rc;
}

/* See BURST. */
static bool must_hold_back(struct shell *s)
{
    bool answered = s->ssh->received - s->answered_from >= s->unanswered;
    bool over = s->unanswered > 0 && vt_expired(s->patient_until);
    if (answered || (over && s->unanswered >= BURST)) {
        s->silences = answered ? 0 : s->silences + 1;
        s->answered_from = s->ssh->received;
        s->unanswered = 0;
    }
    return s->unanswered >= BURST;
}

static void sent(struct shell *s, size_t n)
{
    s->unanswered += n;
    s->patient_until = vt_now() + (s->silences >= 2 ? PATIENCE_LESS : PATIENCE);
}

static vt_time shell_due(struct vt_transport *t)
{
    struct shell *s = of(t);
    if (s->eof_at != 0 && !s->ended)
        return s->eof_at + VT_SSH_CLOSE_GRACE;
    return s->holding_back ? s->patient_until : VT_FOREVER;
}

static enum vt_rc shell_write(struct vt_transport *t, const void *data, size_t n, size_t *put)
{
    struct shell *s = of(t);
    enum vt_rc rc = make_room(s);
    s->holding_back = rc == VT_OK && must_hold_back(s);
    if (rc != VT_OK || s->holding_back)
        return rc != VT_OK ? rc : VT_AGAIN;
    n = n < BURST ? n : BURST;
    ssize_t some = libssh2_channel_write(s->channel, data, n);
    vt_ssh_flush(s->ssh);
    if (some > 0) {
        sent(s, *put = (size_t)some);
        return VT_OK;
    }
    if (some == 0 || some == LIBSSH2_ERROR_EAGAIN) {
        sent(s, n < VT_SSH_PACKET ? n : VT_SSH_PACKET);
        return hold(s, data, n, put);
    }
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
    if (s->ended || s->ssh->send_closed)
        return -1;
    s->ssh->would_block = false;         /* what comes from now on ends the wait */
    bool out = vt_ssh_has_output(s->ssh) || (writing && s->pending_len == 0 && !s->holding_back);
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

static bool shell_status(struct vt_transport *t, int *status)
{
    struct shell *s = of(t);
    char name[16];
    if (!s->closed_by_peer || s->ssh->session == NULL)
        return false;               /* cut off: libssh2 would say 0 */
    bool by_signal = vt_ssh_exit_signal(s->ssh, s->channel, name, sizeof name);
    if (!by_signal && !vt_ssh_has_status(s->channel))
        return false;
    *status = by_signal ? -signal_number(name) : libssh2_channel_get_exit_status(s->channel);
    return true;
}

static void shell_close(struct vt_transport *t)
{
    struct shell *s = of(t);
    vt_ssh_disconnect(s->ssh);
    vt_ssh_io_fini(s->ssh);                  /* a closed session holds no descriptor */
    s->ended = true;
}

static void shell_fini(struct vt_transport *t, bool silent)
{
    struct shell *s = of(t);
    vt_ssh_free(s->ssh, silent);            /* frees the channel too */
    free(s->pending);
    free(s);
}

/* The pty modes ask for silence; an odd server may ignore them, which login finds out. */
static const struct vt_transport_ops shell_ops = {
    .name = "ssh", .echo = false, .crlf = false,
    .read = shell_read, .write = shell_write, .want = shell_want, .resize = shell_resize,
    .due = shell_due, .status = shell_status, .close = shell_close, .fini = shell_fini,
};
