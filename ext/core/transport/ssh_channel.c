/* ssh_channel.c - channels of an SSH connection (RFC 4254): opening, status, end. */
#include "transport/ssh_private.h"

#include <string.h>

#define WIDE_WINDOW (1024 * 1024 * 1024) /* subsystems: our requests bound what comes */

enum vt_rc vt_ssh_open_channel(struct vt_ssh *ssh, unsigned window, struct vt_waiter *w, vt_time deadline,
                               LIBSSH2_CHANNEL **out, struct vt_err *e)
{
    static const char type[] = "session";
    while ((*out = libssh2_channel_open_ex(ssh->session, type, sizeof type - 1, window, VT_SSH_PACKET,
                                           NULL, 0)) == NULL) {
        int rc = libssh2_session_last_errno(ssh->session);
        if (rc != LIBSSH2_ERROR_EAGAIN)
            return vt_ssh_failed(ssh, rc, VT_CHANNEL, VT_STAGE_CHANNEL, e);
        enum vt_rc waited = vt_ssh_wait(ssh, w, deadline);
        if (waited != VT_OK)
            return vt_ssh_stopped(ssh, waited, VT_STAGE_CHANNEL, "request for a channel", e);
    }
    return VT_OK;
}

void vt_ssh_channel_free(struct vt_ssh *ssh, LIBSSH2_CHANNEL *channel)
{
    enum vt_recv before = ssh->recv_mode;
    ssh->recv_mode = VT_RECV_FAIL;               /* libssh2 would wait for the server's close */
    (void)libssh2_channel_free(channel);
    ssh->recv_mode = before;
    vt_ssh_flush(ssh);
}

enum vt_rc vt_ssh_channel_settle(struct vt_ssh *ssh, LIBSSH2_CHANNEL *channel, struct vt_waiter *w,
                                 vt_time deadline)
{
    enum vt_rc rc = VT_OK;
    vt_time soon = vt_sooner(deadline, VT_SSH_CLOSE_GRACE);
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
    enum vt_rc opened = vt_ssh_open_channel(ssh, is_command ? VT_SSH_WINDOW : WIDE_WINDOW, w, deadline, &channel, e);
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

/* ---- how its process ended ---- */

/* libssh2 says 0 for a status that was not sent; newer ones can be asked. */
extern int libssh2_channel_has_exit_status(LIBSSH2_CHANNEL *) __attribute__((weak));

bool vt_ssh_has_status(LIBSSH2_CHANNEL *channel)
{
    return libssh2_channel_has_exit_status == NULL || libssh2_channel_has_exit_status(channel) != 0;
}

bool vt_ssh_exit_signal(struct vt_ssh *ssh, LIBSSH2_CHANNEL *channel, char *out, size_t cap)
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
